"""Session fixtures of the real servers. A missing server skips its tests, except under CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from tests.kit import servers
from tests.kit.process import NotInstalled, Server


def running(start: Callable[[], Server]) -> Iterator[Server]:
    """Start a server for a fixture and stop it afterwards.

    Skips with the command that installs it; fails instead where ``CI`` is set, because there a
    check that was left out would pass unseen.
    """
    try:
        server = start()
    except NotInstalled as missing:
        leave_out(missing)
    with server:
        yield server


def leave_out(missing: NotInstalled) -> NoReturn:
    """Skip what needs that server or library; see :func:`running`."""
    if os.environ.get("CI"):
        pytest.fail(str(missing))
    pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    yield from running(servers.redis_server)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    yield from running(servers.valkey_server)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    yield from running(servers.postgres_server)


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: Server) -> Iterator[Server]:
    yield from running(lambda: servers.pgbouncer(postgres_server.port))


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Made-up credentials for the DynamoDB-compatible servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.AWS_TEST_ENV.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def dynalite_server(aws_environment: None) -> Iterator[Server]:
    yield from running(servers.dynalite_server)


@pytest.fixture(scope="session")
def moto_server(aws_environment: None) -> Iterator[Server]:
    yield from running(servers.moto_server)


@pytest.fixture(scope="session")
def victoria_metrics_server() -> Iterator[Server]:
    yield from running(servers.victoria_metrics_server)
