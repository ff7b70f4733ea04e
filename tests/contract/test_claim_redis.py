"""Claims in Redis: least rights, TLS, sentinel, replicas, and clients given to us."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import Granted, Holder, RegistryUnavailable, Renewed
from runguard_otel.cli.claims.init import REDIS_ACL
from runguard_otel.errors import SettingsError
from tests.kit import servers
from tests.kit.fixtures import running
from tests.kit.ports import free_port
from tests.kit.process import Server
from tests.kit.redis_claims import KEY, ask, life_of_a_claim
from tests.kit.registries import holder

pytestmark = pytest.mark.contract


async def test_the_documented_acl_user_can_claim_and_nothing_else(redis_server: Server) -> None:
    admin = redis.asyncio.from_url(f"redis://127.0.0.1:{redis_server.port}")
    words = REDIS_ACL.replace("PASSWORD", "p@ss/word").split()
    await ask(admin, *words)
    login = f"redis://runguard:p%40ss%2Fword@127.0.0.1:{redis_server.port}"
    await life_of_a_claim(RedisRegistry(login), "rg:v1:{acl}")
    with pytest.raises(RegistryUnavailable, match="NoPermission"):
        await RedisRegistry(login).acquire("session:1", holder(), 5)
    async with redis.asyncio.from_url(login) as user:
        for command in (
            ("FLUSHALL",),
            ("GET", "rg:v1:{acl}"),
            ("KEYS", "*"),
            ("CONFIG", "GET", "*"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await ask(user, *command)
    await ask(admin, "ACL", "DELUSER", "runguard")
    await admin.aclose()


async def test_a_wrong_password_is_unavailable_and_is_not_quoted(redis_server: Server) -> None:
    registry = RedisRegistry(f"redis://nobody:hunter22@127.0.0.1:{redis_server.port}")
    with pytest.raises(RegistryUnavailable, match="AuthenticationError") as caught:
        await registry.acquire(KEY, holder(), 5)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None
    await registry.aclose()


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem"),
               "--tls-key-file", str(folder / "key.pem"), "--tls-auth-clients", "no"]  # fmt: skip
    for server in running(lambda: servers.redis_server(*options)):
        server.directory.joinpath("tls-port").write_text(str(port))
        yield server, folder / "cert.pem"


async def test_tls_is_verified_certificate_and_host_name(tls_server: tuple[Server, Path]) -> None:
    server, certificate = tls_server
    port = server.directory.joinpath("tls-port").read_text()
    # Reading the machine's own certificates can take longer than a claim would wait.
    patient = "socket_connect_timeout=10&socket_timeout=10"
    await life_of_a_claim(
        RedisRegistry(f"rediss://localhost:{port}?{patient}&ssl_ca_certs={certificate}")
    )
    for distrusted in (
        f"rediss://localhost:{port}?{patient}",
        f"rediss://127.0.0.1:{port}?{patient}&ssl_ca_certs={certificate}",
    ):
        with pytest.raises(RegistryUnavailable, match="certificate verify failed"):
            await RedisRegistry(distrusted).acquire(KEY, holder(), 5)


async def test_a_unix_socket_works(redis_server: Server) -> None:
    await life_of_a_claim(RedisRegistry(f"unix://{redis_server.directory}/s"), "rg:v1:{unix}")


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Server, Server]]:
    """A primary and its replica, in sync."""
    with (
        servers.redis_server("--repl-diskless-sync-delay", "0") as primary,
        servers.redis_server("--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        async with redis.asyncio.from_url(f"redis://127.0.0.1:{replica.port}") as client:
            while (await client.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.05)
        yield primary, replica


async def test_sentinel_finds_the_primary_and_the_claim_survives_its_failover(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    primary, _ = pair

    def argv(port: int, directory: Path) -> list[str]:
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        return [servers.binary("redis-server", "redis-server"), str(config), "--sentinel"]

    with Server("sentinel", argv).start() as sentinel:
        registry = RedisRegistry(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        who = holder("AJ_a")
        granted = await registry.acquire(KEY, who, 30)
        assert isinstance(granted, Granted)
        async with redis.asyncio.from_url(sentinel.url.replace("http", "redis")) as watch:
            while not await ask(watch, "SENTINEL", "REPLICAS", "main"):
                await asyncio.sleep(0.1)
        async with redis.asyncio.from_url(primary.url.replace("http", "redis")) as client:
            await client.set("written-after-the-claim", "")
            assert await client.wait(1, 10_000) == 1, "the replica has what was written"
        primary.kill()
        for _ in range(150):
            try:
                answer = await registry.renew(KEY, who, granted.token, 30)
                break
            except RegistryUnavailable:
                await asyncio.sleep(0.1)
        assert answer == Renewed()
        await registry.aclose()


async def test_a_stale_replica_grants_the_claim_twice_but_its_token_still_fences(
    pair: tuple[Server, Server],
) -> None:
    """The residual window of Redis: promotion without the last writes. Tokens stay ordered."""
    primary, replica = pair
    first, second = (RedisRegistry(f"redis://127.0.0.1:{s.port}") for s in pair)
    async with redis.asyncio.from_url(f"redis://127.0.0.1:{replica.port}") as client:
        await ask(client, "REPLICAOF", "127.0.0.1", free_port())  # cut off from its primary
        granted = await first.acquire(KEY, holder("AJ_a"), 30)
        primary.kill()
        await ask(client, "REPLICAOF", "NO", "ONE")
    rival = await second.acquire(KEY, holder("AJ_b"), 30)
    assert isinstance(granted, Granted) and isinstance(rival, Granted)
    assert rival.token > granted.token
    await first.aclose()
    await second.aclose()


async def test_wait_replicas_counts_a_grant_only_when_a_replica_has_it(
    pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more patience than ships: how long a busy machine's replica takes is not the point."""
    monkeypatch.setattr("runguard_otel.claims.registries.redis.registry.WAIT_MS", 1000)
    primary, replica = pair
    url = f"redis://127.0.0.1:{primary.port}?socket_timeout=5"
    registry = RedisRegistry(url, wait_replicas=1)
    assert isinstance(await registry.acquire("rg:v1:{w1}", holder("AJ_a"), 30), Granted)
    replica.pause()
    with pytest.raises(RegistryUnavailable, match="0 of 1 replicas"):
        await registry.acquire("rg:v1:{w2}", holder("AJ_a"), 30)
    replica.resume()
    await registry.aclose()
    with pytest.raises(SettingsError, match="cluster"):
        RedisRegistry("redis+cluster://127.0.0.1:1", wait_replicas=1)


@pytest.mark.parametrize("decode", [False, True])
async def test_a_users_client_is_taken_as_it_is_and_left_open(
    redis_server: Server, decode: bool
) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}"
    client = redis.asyncio.from_url(url, decode_responses=decode)
    await life_of_a_claim(RedisRegistry(client=client), f"rg:v1:{{client{decode}}}")
    assert await client.ping()
    await client.aclose()


async def test_a_server_that_may_evict_claims_is_reported(
    redis_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}"
    async with redis.asyncio.from_url(url) as admin:
        await admin.config_set("maxmemory", "100mb")
        await admin.config_set("maxmemory-policy", "volatile-lru")
        try:
            registry = RedisRegistry(url)
            await registry.open()
            await registry.aclose()
        finally:
            await admin.config_set("maxmemory", "0")
            await admin.config_set("maxmemory-policy", "noeviction")
    assert "may evict claims" in caplog.text


async def test_scripts_that_the_server_forgot_are_sent_again(redis_server: Server) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}"
    registry = RedisRegistry(url)
    await registry.open()
    async with redis.asyncio.from_url(url) as admin:
        await admin.script_flush()
    who = Holder("AJ_a", "i", "w")
    assert isinstance(await registry.acquire("rg:v1:{flushed}", who, 5), Granted)
    await registry.aclose()


@pytest.mark.parametrize("url", ["redis://h:port", "redis+sentinel://h", "redis+cluster://"])
def test_a_url_that_cannot_be_read_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match="not a Redis URL"):
        RedisRegistry(url)
