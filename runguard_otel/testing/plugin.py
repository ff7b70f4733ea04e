"""The pytest plugin: the fixtures ``runguard`` and ``stage``, and the marker ``runguard``.

pytest finds it by itself, in every project that has this package; so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runguard_otel.testing.recorder import Recording
    from runguard_otel.testing.stage import Stage

__all__ = ["runguard", "stage"]

_MARKER = "runguard(**settings): what the fixture `runguard` gives instrument(), as mode='observe'"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that ``--strict-markers`` knows it."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def runguard(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """The guards, installed for this test, and what they see; nothing leaves the process.

    ``@pytest.mark.runguard(mode="observe")`` sets what ``instrument()`` takes. The environment is
    not read, claims are kept in memory, and no ``/metrics`` is served.
    """
    from runguard_otel.testing.recorder import recording

    # Of a class or module as well; the nearest to the test has the last word.
    settings = {}
    for mark in reversed(list(request.node.iter_markers("runguard"))):
        settings.update(mark.kwargs)
    with recording(**settings) as made:
        yield made


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A LiveKit server without a server: ``rtc.Room`` connects to it for the length of a test."""
    from runguard_otel.testing.stage import Stage

    with Stage() as server:
        yield server
