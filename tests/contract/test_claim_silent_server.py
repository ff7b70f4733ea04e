"""A registry's server that accepts a connection and takes its time, or says nothing at all."""

from __future__ import annotations

import asyncio
import socket
import sys
import uuid

import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registry import Granted, RegistryUnavailable
from tests.kit.faultproxy import Fault, FaultProxy
from tests.kit.process import Server
from tests.kit.registries import holder
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract

ENDS_WITHOUT_CLOSING = """
import asyncio, sys
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import Holder, RegistryUnavailable
from runguard_otel.settings import Settings

async def main():
    registry = open_registry(sys.argv[1], Settings())
    for wait in 0.3, 0.0:  # an attempt that was under way, and one that has just begun
        try:
            await asyncio.wait_for(registry.acquire("k", Holder("j", "i", "w"), 9), 0.25)
        except (RegistryUnavailable, asyncio.TimeoutError):
            print("unanswered", flush=True)
        await asyncio.sleep(wait)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{port}",
        "postgresql://u@127.0.0.1:{port}/d?driver=psycopg",
        "postgresql://u@127.0.0.1:{port}/d?driver=asyncpg",
        "postgresql://u@127.0.0.1:{port}/d?mode=advisory",
        "dynamodb://t?region=us-east-1&endpoint=http://127.0.0.1:{port}",
    ],
)
async def test_a_process_ends_while_its_registry_is_silent(url: str) -> None:
    """Even one that nobody told to close: whatever we started takes its cancellation."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ENDS_WITHOUT_CLOSING,
            url.format(port=silent.getsockname()[1]),
            stdout=asyncio.subprocess.PIPE,
            env={"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), 20)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (process.returncode, out.split()) == (0, [b"unanswered", b"unanswered"])


ENDS_IN_MID_CALL = """
import asyncio, sys
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registry import Holder
from runguard_otel.settings import Settings

async def main():
    registry = open_registry(sys.argv[1], Settings())
    who = Holder("j", "i", "w")
    granted = await registry.acquire(sys.argv[2], who, 60)
    print("held", flush=True)
    sys.stdin.readline()
    renewing = asyncio.ensure_future(registry.renew(sys.argv[2], who, granted.token, 60))
    await asyncio.sleep(0.1)
    assert not renewing.done()

asyncio.run(main())
"""


@pytest.mark.parametrize("options", ["driver=psycopg", "driver=asyncpg", "mode=advisory"])
async def test_a_process_ends_at_once_while_its_statement_is_not_answered(
    postgres_server: Server, options: str
) -> None:
    async with FaultProxy(postgres_server.port) as proxy:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ENDS_IN_MID_CALL,
            postgres_url(proxy.port, options=f"?{options}"),
            f"rg:v1:{{{uuid.uuid4().hex}}}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin and process.stdout
        assert await process.stdout.readline() == b"held\n"
        proxy.arm(Fault.HALF_OPEN)
        process.stdin.write(b"go\n")
        try:
            assert await asyncio.wait_for(process.wait(), 3) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_handshake_longer_than_a_claim_may_take_delays_only_the_first_claim(
    postgres_server: Server, driver: str
) -> None:
    async with FaultProxy(postgres_server.port) as proxy:
        url = postgres_url(proxy.port, options=f"?driver={driver}")
        registry = PostgresRegistry(url)
        await registry.open()  # whoever creates the table is slower still
        await registry.aclose()
        bounded = BoundedRegistry(registry, registry.default_timeout, Circuit(), lambda *_: None)
        proxy.accepted = 0
        proxy.delay_replies(0.3)
        key = f"rg:v1:{{{uuid.uuid4().hex}}}"
        with pytest.raises(RegistryUnavailable):
            await bounded.acquire(key, holder(), 9)
        await asyncio.sleep(1)
        proxy.delay_replies(0)
        assert isinstance(await registry.acquire(key, holder(), 9), Granted)
        assert proxy.accepted == 1
        await registry.aclose()
