"""``runguard-otel claims`` against real registries, as an operator types it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from runguard_otel.claims.key import claim_key
from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import (
    ClaimRegistry,
    Granted,
    Holder,
    RegistryUnavailable,
)
from runguard_otel.cli.claims.commands import app
from runguard_otel.core.ports import JobFacts
from tests.kit.process import Server
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

HOST = "wss://calls.example.com"


@pytest.fixture
def room() -> str:
    return f"+49 30 {uuid.uuid4().int % 10**8}"


@pytest.fixture(params=["redis", "postgres", "dynalite"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server: Server = request.getfixturevalue(f"{request.param}_server")
    monkeypatch.setenv("LIVEKIT_URL", HOST)
    yield {
        "redis": f"redis://127.0.0.1:{server.port}",
        "postgres": postgres_url(server.port),
        "dynalite": f"dynamodb://cli?region=us-east-1&endpoint={server.url}&create=true",
    }[request.param]


def run(*words: str, answer: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), input=answer, env={"COLUMNS": "300"})
    return done.exit_code, done.output


def claim(url: str, room: str, sid: str = "") -> Granted:
    from runguard_otel.claims.registries.open import open_registry
    from runguard_otel.settings import Settings

    async def take(registry: ClaimRegistry) -> Granted:
        await registry.open()
        key = claim_key(JobFacts(HOST, room, "", "JT_ROOM", "", "", room_sid=sid))
        answer = await registry.acquire(key, Holder("AJ_one", "instance", "worker-uuid"), 60)
        await registry.aclose()
        assert isinstance(answer, Granted)
        return answer

    return asyncio.run(take(open_registry(url, Settings())))


def test_an_operator_finds_a_claim_by_room_name_and_releases_it(url: str, room: str) -> None:
    granted = claim(url, room, "RM_one")
    status, out = run("show", room, "--url", url)
    assert status == 0
    assert ":RM_one" in out
    assert "AJ_one" in out and str(granted.token) in out
    assert room not in out  # only the hash is shown

    status, out = run("release", room, "--url", url, answer="n\n")
    assert status == 1
    (shown,) = json.loads(run("show", room, "--url", url, "--json")[1])
    assert shown["state"] == "held"

    status, out = run("release", room, "--url", url, answer="y\n")
    assert status == 0 and f"token {granted.token}" in out
    (shown,) = json.loads(run("show", room, "--url", url, "--json")[1])
    assert (shown["state"], shown["token"]) == ("released", granted.token)
    assert "nothing to do" in run("release", room, "--url", url, "--yes")[1]


def test_of_a_room_that_was_opened_twice_the_operator_says_which(url: str, room: str) -> None:
    claim(url, room, "RM_one")
    claim(url, room, "RM_two")
    shown = json.loads(run("show", room, "--url", url, "--json")[1])
    assert sorted(row["key"][-7:] for row in shown) == [":RM_one", ":RM_two"]
    status, out = run("release", room, "--url", url, "--yes")
    assert status == 1
    assert "say which with --key" in out and "RM_one" in out and "RM_two" in out
    assert run("release", "--key", shown[0]["key"], "--url", url, "--yes")[0] == 0
    assert run("release", room, "--url", url, "--yes")[0] == 0, "one is left"


def test_a_release_whose_answer_is_late_is_told_as_what_it_became(
    url: str, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(url, room)
    registries: dict[str, Any] = {
        "redis": RedisRegistry,
        "postgresql": PostgresRegistry,
        "dynamodb": DynamoRegistry,
    }
    registry = registries[url.split(":")[0]]
    release: Any = registry.release

    async def late(self: Any, *args: Any) -> bool:
        await release(self, *args)
        raise RegistryUnavailable("timed out")

    monkeypatch.setattr(registry, "release", late)
    status, out = run("release", room, "--url", url, "--yes")
    assert (status, "released rg:v1:" in out) == (0, True)


def test_list_shows_held_claims_and_all_on_request(url: str, room: str) -> None:
    claim(url, room)
    key = claim_key(JobFacts(HOST, room, "", "JT_ROOM", "", ""))
    assert key in {row["key"] for row in json.loads(run("list", "--url", url, "--json")[1])}
    assert run("release", "--key", key, "--url", url, "-y")[0] == 0
    assert key not in {row["key"] for row in json.loads(run("list", "--url", url, "--json")[1])}
    everything = json.loads(run("list", "--all", "--url", url, "--json")[1])
    assert key in {row["key"] for row in everything}


def test_a_room_nobody_claimed_is_an_error_that_says_what_the_key_depends_on(
    url: str, room: str
) -> None:
    claim(url, "some other room" + room)
    status, out = run("show", room, "--url", url)
    assert status == 1
    assert "agent name" in out and "RUNGUARD_CLAIMS_NAMESPACE" in out


@pytest.mark.parametrize(
    "bad",
    [
        "redis://:hunter22@127.0.0.1:1/0",
        "postgresql://app:hunter22@127.0.0.1:1/db",
        "postgresql://app:hunter22@127.0.0.1:1/db?driver=asyncpg",
        "redis+sentinel://:hunter22@127.0.0.1:1/main",
        "redis+cluster://:hunter22@127.0.0.1:1",
        "carrier-pigeon://app:hunter22@loft",
    ],
)
def test_no_failure_prints_a_password(bad: str) -> None:
    status, out = run("list", "--url", bad)
    assert status in (1, 2)
    assert out.startswith("error")
    assert "hunter22" not in out


def test_init_makes_the_tables_and_can_say_beforehand_what_it_would_do(url: str) -> None:
    status, planned = run("init", "--print", "--url", url)
    assert status == 0
    assert any(word in planned for word in ("ACL SETUSER", "CREATE TABLE", "AttributeDefinitions"))
    assert run("init", "--url", url)[0] == 0
    assert run("init", "--url", url)[0] == 0  # twice is once


@pytest.mark.parametrize("words", [("show",), ("show", "a room", "--key", "rg:v1:{0}")])
def test_show_takes_a_room_or_a_key(words: tuple[str, ...]) -> None:
    status, out = run(*words, "--url", "memory://")
    assert status == 2
    assert "either a room name or --key" in out


def test_registries_show_no_credentials() -> None:
    assert "hunter22" not in repr(RedisRegistry("redis://u:hunter22@h"))
    assert "hunter22" not in repr(PostgresRegistry("postgresql://u:hunter22@h/d"))
