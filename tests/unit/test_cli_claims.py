"""``runguard-otel claims`` on SQLite files: who looks makes nothing, and sees what can be used."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runguard_otel.claims.guard import JobDispatchGuard
from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.claims.registry import Granted, Holder
from runguard_otel.cli.claims.commands import app

pytestmark = pytest.mark.unit

KEY = "rg:v1:{0123456789abcdef0123456789abcdef}:RM_abcdefghijkl"
WHO = Holder("AJ_one", "instance", "worker-uuid")


def run(*words: str, answer: str | None = None) -> Any:
    env = {"COLUMNS": "80", "NO_COLOR": "1", "RUNGUARD_CLAIMS_URL": ""}
    return CliRunner().invoke(app, list(words), input=answer, env=env)


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The host's default file, in a temporary directory where nobody used it yet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    from runguard_otel.claims.registries.sqlite import default_path

    assert tmp_path in default_path().parents
    return default_path()


def claim(path: Path, key: str = KEY) -> Granted:
    async def take() -> Granted:
        registry = SqliteRegistry(path)
        answer = await registry.acquire(key, WHO, 60)
        await registry.aclose()
        assert isinstance(answer, Granted)
        return answer

    return asyncio.run(take())


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--json"), ("show", "--key", KEY), ("release", "--key", KEY)]
)
def test_looking_into_a_file_that_is_not_there_fails_and_makes_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = run(*words, "--url", f"sqlite://{tmp_path}/nodir/nofile.db")
    assert done.exit_code == 1
    assert "no such file" in done.stderr and "nofile.db" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE orders (id INTEGER)")
    db.close()
    before = path.read_bytes()
    done = run("list", "--url", f"sqlite://{path}")
    assert done.exit_code == 1
    assert "no claims are kept in this file" in done.stderr
    assert path.read_bytes() == before


def test_looking_purges_no_released_claim(tmp_path: Path) -> None:
    path = tmp_path / "claims.db"
    claim(path)
    db = sqlite3.connect(path)
    db.execute("UPDATE runguard_claim SET held = 0, at = 0")
    db.commit()
    db.close()
    assert KEY in run("list", "--all", "--json", "--url", f"sqlite://{path}").stdout


def test_of_the_default_file_that_nobody_used_it_is_said_in_words(default: Path) -> None:
    done = run("list")
    assert done.exit_code == 0
    assert "no room has been claimed" in done.stdout
    assert json.loads(run("list", "--json").stdout) == []
    shown = run("show", "--key", KEY)
    assert shown.exit_code == 1
    assert "no room has been claimed" in shown.stderr
    assert not default.parent.exists()


def test_an_existing_file_is_listed_shown_and_released(default: Path) -> None:
    granted = claim(default)
    assert f"key: {KEY}\n" in run("list").stdout
    (shown,) = json.loads(run("show", "--key", KEY, "--json").stdout)
    assert shown["token"] == granted.token
    assert run("release", "--key", KEY, "--yes").exit_code == 0
    assert json.loads(run("list", "--json").stdout) == []


def test_the_claim_of_a_guard_by_hand_is_found_without_a_host(tmp_path: Path) -> None:
    path = tmp_path / "claims.db"

    async def hold() -> None:
        registry = SqliteRegistry(path)
        guard = JobDispatchGuard("a room", "worker-1", registry, agent_name="clerk")
        assert await guard.claim()
        await registry.aclose()

    asyncio.run(hold())
    words = ("show", "a room", "--url", f"sqlite://{path}", "--agent-name", "clerk")
    missed = run(*words, "--host", "wss://calls.example.com")
    assert missed.exit_code == 1
    assert "--no-host" in missed.stderr
    (shown,) = json.loads(run(*words, "--no-host", "--json").stdout)
    assert shown["job_id"] == "worker-1"


def test_without_the_drivers_of_postgres_the_default_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("psycopg", "psycopg_pool", "asyncpg"):
        monkeypatch.setitem(sys.modules, name, None)
    done = run("list", "--url", "postgresql://app@127.0.0.1:1/db")
    assert done.exit_code == 2
    assert "runguard-otel[postgres]" in done.stderr
    assert "psycopg" in done.stderr and "asyncpg" not in done.stderr


def test_init_makes_the_file(tmp_path: Path) -> None:
    assert run("init", "--url", f"sqlite://{tmp_path}/new/claims.db").exit_code == 0
    assert (tmp_path / "new" / "claims.db").is_file()
