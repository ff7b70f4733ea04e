"""Claims: latency beside the raw server in the same run, and exactly one winner at scale."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.builds import before, now, probe
from bench.harness import Result, figure, interleaved
from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import ClaimRegistry, Granted, Holder
from runguard_otel.claims.service import ClaimService
from runguard_otel.core.ports import ClaimEvent, JobFacts
from runguard_otel.settings import Settings
from tests.kit import servers
from tests.kit.contenders import Contenders
from tests.kit.process import NotInstalled, Server

SECONDS = 2.0
"""Length of one measurement; five are made, the best counts (the machine is shared)."""
ROUNDS = 5
BLOCKS = {"memory": 300, "SQLite": 60}
"""Claims of one block."""
OPERATIONS = {"acquire": "a claim", "renew": "a heartbeat", "release": "giving it back"}


def run(soak: bool) -> list[Result]:
    results: list[Result] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        results += _cpu(stack, folder, 60 if soak else 25)
        default = f"sqlite://{folder}/claims.sqlite3"
        results.append(asyncio.run(_job_start("SQLite (default)", default)))
        if redis := _started(stack, servers.redis_server):
            results += asyncio.run(_redis(redis))
            results.append(asyncio.run(_job_start("Redis", f"redis://127.0.0.1:{redis.port}")))
            results += asyncio.run(_contest(f"redis://127.0.0.1:{redis.port}", "Redis", soak))
        if postgres := _started(stack, servers.postgres_server):
            results += asyncio.run(_postgres(postgres))
            url = servers.postgres_url(postgres.port)
            results.append(asyncio.run(_job_start("PostgreSQL", url)))
            results += asyncio.run(_contest(url, "PostgreSQL", soak))
        if dynalite := _started(stack, servers.dynalite_server):
            results += asyncio.run(_dynamo(dynalite))
    return results


def _started(stack: ExitStack, start: Callable[[], Server]) -> Server | None:
    try:
        return stack.enter_context(start())
    except NotInstalled as missing:
        print(f"left out: {missing}")
        return None


def _cpu(stack: ExitStack, folder: str, rounds: int) -> Iterator[Result]:
    """CPU of a claim beside that of the build before, block by block in turns."""
    builds = [build for build in (now(), before()) if build is not None]
    for name, times in BLOCKS.items():
        probes = {}
        for n, build in enumerate(builds):
            where = [f"{folder}/cpu-{n}.sqlite3"] if name == "SQLite" else []
            made = probes[build.name] = stack.enter_context(probe(build, "claims", *where))
            made.ask("block", times=times)  # warms up
        work = {of: partial(made.ask, "block", times=times) for of, made in probes.items()}
        found = interleaved(work, rounds)
        ours = found.pop(builds[0].name)
        for operation in ours[0]:
            spent = statistics.median(block[operation] for block in ours)
            title = f"{name}: CPU of {OPERATIONS[operation]}"
            for of, theirs in found.items():
                ratio = figure(
                    [a[operation] / b[operation] for a, b in zip(ours, theirs, strict=True)]
                )
                note = f"of {of}: {ratio.text('x')}, {rounds} pairs; {spent:.0f} us"
                yield Result(title, ratio.value, 1, "x", note=note)


async def _pairs(registry: ClaimRegistry, seconds: float) -> tuple[list[float], float]:
    """Acquire and release fresh claims, one in flight.

    Returns:
        Milliseconds of each acquire, and pairs per second.
    """
    who, samples = Holder("AJ_a", uuid.uuid4().hex, "w"), list[float]()
    run_id, began = uuid.uuid4().hex, time.perf_counter()
    while time.perf_counter() - began < seconds:
        key = f"rg:v1:{{{run_id}{len(samples)}}}"
        start = time.perf_counter()
        answer = await registry.acquire(key, who, 9)
        samples.append((time.perf_counter() - start) * 1e3)
        assert isinstance(answer, Granted)
        await registry.release(key, who, answer.token)
    return samples, len(samples) / (time.perf_counter() - began)


async def _best(registry: ClaimRegistry) -> tuple[float, float, str]:
    await registry.open()
    await _pairs(registry, 0.3)
    rounds = [await _pairs(registry, SECONDS) for _ in range(ROUNDS)]
    medians = [statistics.median(samples) for samples, _ in rounds]
    samples = min(rounds, key=lambda found: statistics.median(found[0]))[0]
    p99 = statistics.quantiles(samples, n=100)[98]
    spread = f"{min(medians):.3f}..{max(medians):.3f}"
    note = f"best of {ROUNDS} medians ({spread}), p99 {p99:.2f} ms, prewarmed, loopback"
    await registry.aclose()
    return min(medians), max(rate for _, rate in rounds), note


async def _cold(make: Callable[[], ClaimRegistry]) -> float:
    """Milliseconds of a first claim that also connects; the median of nine."""
    samples = []
    for _ in range(9):
        registry = make()
        start = time.perf_counter()
        await registry.open()
        await registry.acquire(f"rg:v1:{{{uuid.uuid4().hex}}}", Holder("AJ_a", "i", "w"), 9)
        samples.append((time.perf_counter() - start) * 1e3)
        await registry.aclose()
    return statistics.median(samples)


def _redis_benchmark(port: int) -> float:
    """Commands per second of ``SET NX`` at one in flight, by redis-benchmark."""
    exe = servers.binary("redis-benchmark", "redis-tools")
    words = ["-p", str(port), "-c", "1", "-n", "20000", "-r", "100000000", "--csv"]
    command = ["SET", "k:__rand_int__", "v", "NX", "EX", "15"]
    done = subprocess.run([exe, *words, *command], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))


async def _bare_client(url: str) -> float:
    """Commands per second of ``SET NX`` and ``DEL`` through redis-py itself, one in flight."""
    import redis.asyncio

    async with redis.asyncio.from_url(url) as client:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < 1:
            await client.set(f"k:{count}", "v", nx=True, ex=15)
            await client.delete(f"k:{count}")
            count += 2
        return count / (time.perf_counter() - began)


class _Nobody:
    """Hears what becomes of a claim, and does nothing."""

    def claim_event(self, event: ClaimEvent) -> None: ...

    def registry_call(self, operation: str, result: str, seconds: float) -> None: ...

    def claim_lost(self, cause: str) -> None: ...


async def _job_start(name: str, url: str, jobs: int = 300) -> Result:
    """What a job waits for before the user's entrypoint runs: its claim, in a warmed process."""
    service = ClaimService(Settings.load(claims_url=url), lambda: "bench")
    waited, unproven = [], 0
    for n in range(jobs):
        await (
            service.warm()
        )  # as the process does while it is idle: each job has a process of its own
        job = JobFacts("wss://bench", f"room-{n}", "support", "JT_ROOM", "", f"AJ_{n}")
        began = time.perf_counter()
        answer = await service.claim_for_job(job, _Nobody())
        waited.append((time.perf_counter() - began) * 1e3)
        unproven += answer.handle is None or not answer.handle.verified
        if answer.handle is not None:
            await answer.handle.release()
    service.close()
    note = f"p99 {sorted(waited)[int(jobs * 0.99)]:.2f} ms over {jobs} jobs, holder included"
    if unproven:
        note += f"; {unproven} not answered in time: the machine was loaded"
    return Result(f"{name}: job start delayed, p50", statistics.median(waited), 5, "ms", note=note)


async def _redis(server: Server) -> list[Result]:
    url = f"redis://127.0.0.1:{server.port}"
    median, _, note = await _best(RedisRegistry(url))
    cold = await _cold(lambda: RedisRegistry(url))
    registry = RedisRegistry(url)
    await registry.open()
    raws, bares, ours = [], [], []
    for _ in range(ROUNDS):  # in turns, because the machine's load changes from second to second
        raws.append(_redis_benchmark(server.port))
        bares.append(await _bare_client(url))
        ours.append(2 * (await _pairs(registry, 1))[1])
    await registry.aclose()
    of_raw = statistics.median(o / r for o, r in zip(ours, raws, strict=True))
    of_bare = statistics.median(o / b for o, b in zip(ours, bares, strict=True))
    rates = [f"{statistics.median(rates):,.0f}" for rates in (ours, raws, bares)]
    raw_note = f"commands/s, one in flight: {rates[0]} of {rates[1]} by redis-benchmark SET NX"
    client_note = f"commands/s, one in flight: {rates[0]} of {rates[2]} by redis-py SET NX, DEL"
    return [
        Result("Redis: acquire p50", median, 1, "ms", note=note),
        Result("Redis: share of the raw server", of_raw, 0.25, "x", True, raw_note),
        Result("Redis: share of its client", of_bare, 0.5, "x", True, client_note),
        Result("Redis: first claim, connecting", cold, 25, "ms", note="median of 9"),
    ]


_PGBENCH = """\\set n random(1, 1000000000)
INSERT INTO bench_upsert VALUES (:n, 1) ON CONFLICT (k) DO UPDATE SET v = bench_upsert.v + 1;
"""


def _pgbench(server: Server) -> float:
    """Milliseconds of a single-row upsert at one in flight, by pgbench."""
    import psycopg

    url = servers.postgres_url(server.port)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_upsert (k bigint PRIMARY KEY, v int)")
    script = server.directory / "upsert.sql"
    script.write_text(_PGBENCH)
    script.chmod(0o644)
    exe = servers.postgres_bin("pgbench")
    words = ["-n", "-c", "1", "-T", "3", "-f", str(script), "-h", "127.0.0.1"]
    done = subprocess.run(
        [exe, *words, "-p", str(server.port), "-U", "postgres", "postgres"],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    return float(re.findall(r"latency average = ([\d.]+) ms", done.stdout)[0])


async def _postgres(server: Server) -> list[Result]:
    results = []
    raw = _pgbench(server)
    for driver in ("psycopg", "asyncpg"):
        url = servers.postgres_url(server.port, options=f"?driver={driver}")
        median, _, note = await _best(PostgresRegistry(url))
        note = f"{note}; {median / raw:.1f} x a pgbench upsert ({raw:.2f} ms)"
        results.append(Result(f"PostgreSQL ({driver}): acquire p50", median, 2, "ms", note=note))
    return results


async def _dynamo(server: Server) -> list[Result]:
    with _aws():
        url = f"dynamodb://bench?region=us-east-1&endpoint={server.url}&create=true"
        median, _, note = await _best(DynamoRegistry(url))
    return [Result("DynamoDB (dynalite): acquire p50", median, 20, "ms", note=note)]


@contextmanager
def _aws() -> Iterator[None]:
    import os

    before = {name: os.environ.get(name) for name in servers.AWS_TEST_ENV}
    os.environ.update(servers.AWS_TEST_ENV)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _contest(url: str, name: str, soak: bool) -> list[Result]:
    """One winner among 1,000 (soak: ten rounds), and every one of 10,000 rooms exactly once."""
    contenders, rounds, rooms = (1000, 10, 10_000) if soak else (1000, 2, 1000)
    async with Contenders(url, 4) as processes:
        found = [await processes.rush(contenders) for _ in range(rounds)]
    async with Contenders(url, 3) as processes:
        grants, distinct, seconds = await processes.sweep(rooms)
    wrong = sum(winners != 1 for winners, _ in found)
    slowest = max(seconds for _, seconds in found)
    missed = abs(rooms - distinct) + (grants - distinct)
    note = f"4 processes; all answered within {slowest:.2f} s"
    return [
        _none(
            f"{name}: rounds of {contenders:,} x {rounds} without exactly one winner", wrong, note
        ),
        _none(f"{name}: rooms of {rooms:,} x 3 not won exactly once", missed, f"{seconds:.1f} s"),
    ]


def _none(name: str, count: int, note: str) -> Result:
    """A count that must be zero; shown as one more than it is, because a ratio needs a goal."""
    return Result(name, count + 1, 1, "(1 = none)", note=note)
