"""From a URL to a registry: every mistake has a message for people, none shows a secret."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from runguard_otel.claims.redact import scrub
from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.open import SCHEMES, backend_of, open_registry
from runguard_otel.claims.registries.postgres.driver import split_options
from runguard_otel.claims.registry import RegistryUnavailable
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

pytestmark = pytest.mark.unit


def opened(url: str) -> Any:
    return open_registry(url, Settings())


def test_empty_means_the_hosts_file_and_sqlite_paths_are_absolute() -> None:
    assert opened("")._path.name == "claims.sqlite3"
    assert str(opened("sqlite:///var/lib/a%20b/claims.db")._path) == "/var/lib/a b/claims.db"
    assert str(opened("sqlite:////var/lib/claims.db")._path) == "/var/lib/claims.db"


def test_memory_of_one_name_is_shared_in_the_process() -> None:
    assert opened("memory://x")._store is opened("memory://x")._store
    assert opened("memory://x")._store is not opened("memory://y")._store


@pytest.mark.parametrize("url", ["mysql://user:hunter2@db/x", "nonsense", "://"])
def test_an_unknown_scheme_names_the_allowed_ones_and_no_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        opened(url)
    assert all(f"{scheme}://" in str(caught.value) for scheme in SCHEMES)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://claims.db", "sqlite:///"])
def test_a_sqlite_url_without_an_absolute_path_is_explained(url: str) -> None:
    if url == "sqlite://":
        assert opened(url)._path.name == "claims.sqlite3"
        return
    with pytest.raises(SettingsError, match="three slashes"):
        opened(url)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://u:hunter2@db/x", "postgres", "runguard-otel[postgres]"),
        ("dynamodb://claims?region=eu-west-1", "dynamodb", "runguard-otel[dynamodb]"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"runguard_otel.claims.registries.{module}.registry"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, name, None)  # importing it raises ImportError
    with pytest.raises(SettingsError) as caught:
        opened(url)
    assert f"pip install '{extra}'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_backend_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    real = builtins.__import__

    def watch(name: str, *args: Any, **kwargs: Any) -> Any:
        imported.append(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watch)
    opened("memory://z")
    assert not [n for n in imported if n.split(".")[0] in ("redis", "psycopg", "aiobotocore")]


@pytest.mark.parametrize(
    ("url", "backend"),
    [
        ("", "sqlite"),
        ("sqlite:///x", "sqlite"),
        ("memory://", "memory"),
        ("rediss+cluster://h", "redis"),
        ("postgres://h", "postgres"),
        ("dynamodb://t", "dynamodb"),
    ],
)
def test_the_backend_is_a_metric_label(url: str, backend: str) -> None:
    assert backend_of(url) == backend


@pytest.mark.parametrize(
    "url",
    [
        "redis:/:hunter22@h:6379",
        "redis//:hunter22@h:6379",
        "redis:user:hunter22@h:6379",
        "postgresql:/u:hunter22@h/db",
        "postgresql://u:hunter[22@h/db",
        "postgresql://u:[hunter22@h/db?mode=advisory",
        "dynamodb://u:[hunter22@t?region=r",
    ],
)
def test_a_slip_of_the_pen_is_a_settings_error_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot be (used|read)") as caught:
        open_registry(url, Settings())
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter22" not in scrub(f"cannot reach {url}", url)


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("redis:/:hunter22", "claims_url 'redis...' cannot"),
        ("postgresql:u:hunter22?host=h", "claims_url 'postgresql...' cannot"),
        ("mysql://u:x@h/hunter22", "claims_url 'mysql://...' cannot"),
        ("u:hunter22@h", "claims_url cannot"),
        ("hunter22", "claims_url cannot"),
    ],
)
def test_of_a_url_nobody_can_use_no_more_than_its_scheme_is_shown(url: str, begins: str) -> None:
    with pytest.raises(SettingsError) as caught:
        opened(url)
    assert str(caught.value).startswith(begins)
    assert "hunter22" not in str(caught.value)


def test_registries_made_by_hand_refuse_what_cannot_be_parsed_in_the_same_words() -> None:
    for make, url in (
        (DynamoRegistry, "dynamodb://u:[hunter22@t"),
        (split_options, "postgresql://u:[hunter22@h/d"),
    ):
        with pytest.raises(SettingsError, match="percent-encode") as caught:
            make(url)
        assert "hunter22" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?no_such_option=hunter22",
        "redis://h:port/0",
        "redis://h?socket_timeout=hunter22",
        "redis+sentinel://h:port/service/0",
        "redis+sentinel://h/service/zero",
        "redis+cluster://h:port",
        "unix://",
        "postgresql://u:hunter22@h:port/d?driver=hunter22x",
        "dynamodb://t?endpoint=nonsense",
        "dynamodb://t?endpoint=[hunter22",
    ],
)
async def test_an_odd_url_is_one_line_and_no_traceback(url: str) -> None:
    """Found when it is opened, or at the first call at the latest; in a call it is an outage."""
    with pytest.raises((SettingsError, RegistryUnavailable)) as caught:
        registry = opened(url)
        try:
            await registry.open()
        finally:
            await registry.aclose()
    assert "hunter22@" not in str(caught.value)


def test_a_driver_that_no_extra_brings_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingsError, match="pip install asyncpg"):
        opened("postgresql://h/d?driver=asyncpg")
