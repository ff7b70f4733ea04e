"""The few connections a PostgreSQL registry keeps."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from runguard_otel.claims.registries.postgres.connections import CONNECTIONS, Connections
from runguard_otel.claims.registries.postgres.driver import Row

pytestmark = pytest.mark.unit


class Session:
    """A connection to nowhere."""

    def __init__(self) -> None:
        self.open = True
        self.closed = 0

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        raise NotImplementedError

    def alive(self) -> bool:
        return self.open

    def close(self) -> None:
        self.open = False
        self.closed += 1


class Server:
    """Accepts connections after a while; or refuses them."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.attempts = 0
        self.handshake = 0.0
        self.refuses = False

    async def connect(self) -> Session:
        self.attempts += 1
        await asyncio.sleep(self.handshake)
        if self.refuses:
            raise ConnectionRefusedError("nobody there")
        self.sessions.append(Session())
        return self.sessions[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def connections(server: Server) -> Connections:
    return Connections(server.connect)


async def use(connections: Connections, seconds: float = 0.0) -> None:
    async with connections.one(1):
        await asyncio.sleep(seconds)


async def test_one_connection_serves_one_after_another(
    connections: Connections, server: Server
) -> None:
    for _ in range(3):
        await use(connections)
    assert server.attempts == 1


async def test_there_are_never_more_than_allowed(connections: Connections, server: Server) -> None:
    await asyncio.gather(*(use(connections, 0.001) for _ in range(50)))
    assert server.attempts == CONNECTIONS
    assert all(session.open for session in server.sessions)


async def test_a_dead_one_is_replaced(connections: Connections, server: Server) -> None:
    await use(connections)
    server.sessions[0].open = False
    await use(connections)
    assert server.attempts == 2
    assert server.sessions[0].closed == 1


async def test_one_that_dies_in_use_makes_room_for_who_waits(
    connections: Connections, server: Server
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            await stack.enter_async_context(connections.one(1))
        waiting = asyncio.ensure_future(use(connections))
        await asyncio.sleep(0)
        server.sessions[-1].open = False
    await asyncio.wait_for(waiting, 30)


async def test_who_waits_too_long_for_the_first_is_told(
    connections: Connections, server: Server
) -> None:
    server.handshake = 60
    with pytest.raises(OSError, match=r"no connection within 0\.01 s"):
        async with connections.one(0.01):
            pass
    connections.close()


async def test_who_waits_for_his_turn_waits_as_long_as_his_caller_lets_him(
    connections: Connections,
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            await stack.enter_async_context(connections.one(1))
        waiting = asyncio.ensure_future(use(connections, 0.01))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    await waiting


async def test_every_one_who_waits_learns_why_nobody_connects(
    connections: Connections, server: Server
) -> None:
    server.refuses = True
    results = await asyncio.gather(
        *(use(connections) for _ in range(3 * CONNECTIONS)), return_exceptions=True
    )
    assert {type(result) for result in results} == {ConnectionRefusedError}
    server.refuses = False
    await use(connections)


async def test_a_handshake_longer_than_the_patience_serves_the_next(
    connections: Connections, server: Server
) -> None:
    server.handshake = 0.05
    with pytest.raises(OSError, match="no connection"):
        async with connections.one(0.01):
            pass
    await asyncio.sleep(0.06)
    async with connections.one(0.01):
        assert server.attempts == 1


async def test_a_caller_who_is_cancelled_leaves_his_connection_to_the_next(
    connections: Connections, server: Server
) -> None:
    for turns in range(1, 6):  # at every point on the way
        first = asyncio.ensure_future(use(connections, 0.01))
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
    await asyncio.gather(*(use(connections, 0.001) for _ in range(20)))
    assert server.attempts <= CONNECTIONS


async def test_close_ends_what_is_idle_what_comes_back_and_what_is_under_way(
    connections: Connections, server: Server
) -> None:
    async with connections.one(1):
        await use(connections)
        server.handshake = 60
        async with connections.one(1):
            waiting = [asyncio.ensure_future(use(connections)) for _ in range(2)]
            await asyncio.sleep(0.01)
            connections.close()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(result) for result in results} == {ConnectionAbortedError}
    assert [session.closed for session in server.sessions] == [1, 1]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(OSError, match="closed"):
        await use(connections)
