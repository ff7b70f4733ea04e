"""The embedded registries keep the contract, and SQLite also keeps it across processes."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.registries.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.claims.registry import (
    Granted,
    Held,
    Holder,
    RegistryUnavailable,
    Renewed,
    Superseded,
)
from tests.contract.registry_contract import *  # noqa: F403 - the suite
from tests.kit.registries import Bench, holder

pytestmark = pytest.mark.contract


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    clock = FakeClock()
    if request.param == "memory":
        store = MemoryStore(clock)

        async def forget() -> None:
            store.leases.clear()

        yield Bench(lambda: MemoryRegistry(store), clock.advance, forget=forget)
        return
    path = tmp_path / "claims" / "claims.sqlite3"

    async def wipe() -> None:
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM runguard_claim")

    def spoil(change: str) -> Callable[[str], Awaitable[None]]:
        async def put(key: str) -> None:
            with sqlite3.connect(path) as db:
                db.execute(f"UPDATE runguard_claim SET {change} WHERE k = ?", (key,))

        return put

    yield Bench(
        lambda: SqliteRegistry(path, clock),
        clock.advance,
        forget=wipe,
        spoil=(spoil("tok = 'seven', n = x'ff'"), spoil("ends = 'soon', at = x'00'")),
    )


CONTENDER = """
import asyncio, json, sys, uuid
from runguard_otel.claims.registry import Granted, Holder
from runguard_otel.claims.registries.sqlite import SqliteRegistry

async def main(path, rooms):
    registry = SqliteRegistry(path)
    await registry.open()
    print("ready", flush=True)
    sys.stdin.readline()
    won = []
    for room in range(rooms):
        answer = await registry.acquire(f"rg:v1:{room}", Holder(uuid.uuid4().hex, "i", "w"), 60)
        if isinstance(answer, Granted):
            won.append(room)
    print(json.dumps(won), flush=True)
    await registry.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_processes_share_the_file_and_every_room_has_exactly_one_winner(
    tmp_path: Path,
) -> None:
    path, rooms = tmp_path / "claims.sqlite3", 200
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CONTENDER,
            str(path),
            str(rooms),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    won: list[int] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        await process.stdin.drain()
    for process in processes:
        out, _ = await process.communicate()
        assert process.returncode == 0
        won += json.loads(out)
    assert sorted(won) == list(range(rooms))


async def test_file_and_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "claims.sqlite3"
    registry = SqliteRegistry(path)
    await registry.acquire("rg:v1:{x}", holder(), 9)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    await registry.aclose()


async def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trap" / "claims.sqlite3"
    path.parent.mkdir()
    monkeypatch.setattr("runguard_otel.claims.registries.claims_file.default_path", lambda: path)
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1 if path.exists() else 12345)
    registry = SqliteRegistry(path)
    with pytest.raises(RegistryUnavailable, match="belongs to somebody else"):
        await registry.open()
    await registry.aclose()


def aside(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if ".damaged-" in p.name)


@pytest.mark.parametrize("damage", ["no database", "a torn page"])
async def test_a_damaged_file_is_set_aside_and_made_anew_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path, who = tmp_path / "claims.sqlite3", holder("AJ_a")
    before = SqliteRegistry(path)
    granted = await before.acquire("rg:v1:{x}", who, 9)
    await before.aclose()
    data = bytearray(path.read_bytes())
    data[0 if damage == "no database" else 100 :] = b"noise" * 2000
    path.write_bytes(data)
    registries = [SqliteRegistry(path) for _ in range(3)]
    answers = [await r.acquire("rg:v1:{x}", holder(f"AJ_{n}"), 9) for n, r in enumerate(registries)]
    assert [isinstance(answer, Granted) for answer in answers] == [True, False, False]
    assert isinstance(granted, Granted) and answers[0].token > granted.token
    assert len(aside(path)) == 1
    assert len([r for r in caplog.records if "set aside" in r.message]) == 1
    for registry in registries:
        await registry.aclose()


async def test_a_file_of_the_users_that_is_none_of_sqlite_is_left_alone(tmp_path: Path) -> None:
    """A slip of the pen in the URL must not move an agent's source away."""
    path = tmp_path / "agent.py"
    path.write_text("import livekit\n" * 100)
    registry = SqliteRegistry(path)
    with pytest.raises(RegistryUnavailable, match="must name a file of its own"):
        await registry.acquire("rg:v1:{x}", holder(), 9)
    assert path.read_text().startswith("import livekit") and aside(path) == []
    await registry.aclose()


@pytest.mark.parametrize("way", ["deleted", "deleted with its log", "replaced"])
async def test_two_holders_do_not_renew_for_ever_when_the_file_goes_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Mutant: the file's identity is not compared. Both then renew, each in a file of its own."""
    path, first, second = tmp_path / "claims.sqlite3", holder("AJ_a"), holder("AJ_b")
    old, new = SqliteRegistry(path), SqliteRegistry(path)
    granted = await old.acquire("rg:v1:{x}", first, 9)
    assert isinstance(granted, Granted)
    if way == "replaced":
        other = SqliteRegistry(tmp_path / "other.sqlite3")
        await other.open()
        await other.aclose()
        (tmp_path / "other.sqlite3").rename(path)
    else:
        path.unlink()
        if way == "deleted with its log":
            for part in ("-wal", "-shm"):
                (tmp_path / f"claims.sqlite3{part}").unlink(missing_ok=True)
    rival = await new.acquire("rg:v1:{x}", second, 9)
    kept = await old.renew("rg:v1:{x}", first, granted.token, 9)
    if isinstance(rival, Granted):
        assert rival.token > granted.token
        assert kept == Superseded(rival.token, "AJ_b", second.instance)
        again = await old.acquire("rg:v1:{x}", first, 9)
        assert isinstance(again, Held)
    else:
        assert kept == Renewed()  # what the log still held was not lost
    assert await new.renew("rg:v1:{x}", second, rival.token, 9) == (
        Renewed()
        if isinstance(rival, Granted)
        else Superseded(granted.token, "AJ_a", first.instance)
    )
    replaced = [r for r in caplog.records if "deleted or replaced" in r.message]
    assert len(replaced) <= 1
    await old.aclose()
    await new.aclose()


async def test_a_file_that_was_emptied_has_one_holder_all_the_same(tmp_path: Path) -> None:
    """What its log still holds comes back; and if nothing does, the first who asks has it."""
    path, who, rival = tmp_path / "claims.sqlite3", holder("AJ_a"), holder("AJ_b")
    old, new = SqliteRegistry(path), SqliteRegistry(path)
    granted = await old.acquire("rg:v1:{x}", who, 9)
    assert isinstance(granted, Granted)
    os.truncate(path, 0)
    kept = await old.renew("rg:v1:{x}", who, granted.token, 9)
    answer = await new.acquire("rg:v1:{x}", rival, 9)
    assert isinstance(answer, Held if kept == Renewed() else Granted)
    await old.aclose()
    await new.aclose()


async def test_a_write_of_another_process_is_waited_for_and_no_outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the CPU is starved, whoever holds the lock may not run for longer than a call may take.

    Mutant: a locked file is unavailable.
    """
    path = tmp_path / "claims.sqlite3"
    registry = SqliteRegistry(path)
    await registry.open()
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.5, blocker.execute, "COMMIT")
    bounded = BoundedRegistry(registry, 0.25, Circuit(), lambda *_: None)
    assert isinstance(await bounded.acquire("rg:v1:{x}", holder(), 9), Granted)
    assert caplog.records == []
    blocker.close()
    await registry.aclose()


async def test_a_long_write_of_another_process_is_unavailable_within_the_bound(
    tmp_path: Path,
) -> None:
    path = tmp_path / "claims.sqlite3"
    registry = SqliteRegistry(path)
    await registry.open()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(RegistryUnavailable, match="locked"):
        await registry.acquire("rg:v1:{x}", holder(), 9)
    assert loop.time() - started < 2
    blocker.execute("ROLLBACK")
    blocker.close()
    assert isinstance(await registry.acquire("rg:v1:{x}", holder(), 9), Granted)
    await registry.aclose()


async def test_a_lease_from_before_a_reboot_is_over(tmp_path: Path) -> None:
    path, key = tmp_path / "claims.sqlite3", "rg:v1:{x}"
    before, after = SqliteRegistry(path), SqliteRegistry(path)
    before._boot = "an earlier boot"
    first = await before.acquire(key, holder("AJ_a"), 1e9)
    second = await after.acquire(key, holder("AJ_b"), 9)
    assert isinstance(first, Granted) and isinstance(second, Granted)
    assert second.how == "takeover"
    assert second.token > first.token
    await before.aclose()
    await after.aclose()


async def test_sqlite_leaves_the_event_loop_free_while_it_waits(tmp_path: Path) -> None:
    path = tmp_path / "claims.sqlite3"
    registry = SqliteRegistry(path)
    await registry.open()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(registry.acquire("rg:v1:{x}", holder(), 9))
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns >= 5  # 0.2 s of waiting in the other thread
    with pytest.raises(RegistryUnavailable):
        waiting.result()
    blocker.close()
    await registry.aclose()


async def test_a_registry_inherited_by_a_fork_opens_its_own_connection(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path / "claims.sqlite3")
    first = Holder("AJ_a", uuid.uuid4().hex, "w")
    await registry.acquire("rg:v1:{x}", first, 60)
    registry._pid = -1  # as in a child of fork()
    assert isinstance(await registry.acquire("rg:v1:{x}", holder("AJ_b"), 60), Held)
    await registry.aclose()
