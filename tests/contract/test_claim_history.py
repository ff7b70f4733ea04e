"""Histories under faults are linearizable, beliefs never overlap, and known mistakes are caught.

Each run prints its seed's outcome; the mutants at the end prove that the checks can fail.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from runguard_otel.claims.circuit import BoundedRegistry, Circuit
from runguard_otel.claims.clock import boottime
from runguard_otel.claims.holder import LeaseHolder
from runguard_otel.claims.registries.redis import scripts as redis_scripts
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registry import ClaimRegistry, Granted, Held, Holder, Observation
from runguard_otel.claims.state import Timing
from tests.contract.test_claim_faults import make as make_registry
from tests.kit.claim_history import INFINITY, Belief, Operation, linearizable, overlapping
from tests.kit.contest import Seen, contest
from tests.kit.faultproxy import FaultProxy
from tests.kit.outcomes import Outcomes
from tests.kit.process import Server

pytestmark = pytest.mark.contract

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes(
        "Histories (non-linearizable keys; overlapping beliefs)",
        "registry", "seed", "operations", "unanswered", "takeovers", "bad keys", "overlaps",
    )  # fmt: skip
    yield from table.printed(request)


def verdict(
    seen: Seen, outcomes: Outcomes, name: str, seed: int, *, clockless: bool = False
) -> tuple[int, int]:
    bad = sum(not linearizable(h, clockless=clockless) for h in seen.histories.values())
    overlaps = sum(len(overlapping(b)) for b in seen.beliefs.values())
    outcomes.add(
        name, str(seed), str(seen.operations), str(seen.count("")), str(seen.count("takeover")),
        str(bad), str(overlaps),
    )  # fmt: skip
    return bad, overlaps


@pytest.mark.parametrize("backend", ["redis", "valkey", "psycopg", "asyncpg", "dynalite"])
async def test_histories_with_faults_are_linearizable_and_beliefs_never_overlap(
    request: pytest.FixtureRequest, backend: str, outcomes: Outcomes
) -> None:
    fixture = {f"{n}": f"{n}_server" for n in ("redis", "valkey", "dynalite")}
    server: Server = request.getfixturevalue(fixture.get(backend, "postgres_server"))
    name = "redis" if backend == "valkey" else backend
    slow = backend == "dynalite"
    unanswered = takeovers = 0
    for seed in (*SEEDS, *range(100, 110)):  # longer where a busy machine let no lease run out
        if seed >= 100 and unanswered and takeovers:
            break
        seen = await contest(
            lambda port: make_registry(name, port),
            server.port,
            seed=seed,
            ttl=0.12 if slow else 0.08,
            timeout=0.15 if slow else 0.1,
            faults=True,
            keys=4 if slow else 8,
            careless=0.5 if slow else 0.25,
        )
        assert verdict(seen, outcomes, backend, seed, clockless=slow) == (0, 0)
        unanswered += seen.count("")
        takeovers += seen.count("takeover")
    assert unanswered > 0, "no fault struck"
    assert takeovers > 0, "no lease ran out"


# -- the mutants: what the checks must catch ---------------------------------------------------


class GetThenSet(RedisRegistry):
    """Looks, then writes, as two commands."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        found = await self.inspect(key)
        record = found[0] if found else None
        if record and record.state == "held" and record.remaining and record.job_id != who.job_id:
            return Held(record.token, record.version, record.instance, record.job_id, 0.0)
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.delete(key)
            await self._acquire(
                keys=[key], args=[who.job_id, who.instance, "w", int(ttl * 1000), 1000], client=pipe
            )
            _, (_, token, _) = await pipe.execute()
        how: Any = "takeover" if record and record.state == "held" else "new"
        return Granted(int(token), how)


def changed(source: str, old: str, new: str) -> str:
    assert old in source, "the mutant no longer fits the script"
    return source.replace(old, new)


class PlainDelete(RedisRegistry):
    """Releases whatever is there."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._release = self._register("return redis.call('DEL', KEYS[1])")


class NoBump(RedisRegistry):
    """Hands out the same token again."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        old = "token = math.max(tonumber(r[1]) + 1, now)"
        self._acquire = self._register(
            changed(redis_scripts.ACQUIRE, old, "token = tonumber(r[1])")
        )


class BlindRenew(RedisRegistry):
    """Renews without comparing token and instance."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        old = "if r[1] ~= ARGV[2] or r[2] ~= ARGV[1] or r[3] == '0' then"
        self._renew = self._register(changed(redis_scripts.RENEW, old, "if false then"))


class KeepsAnEndingClaim(RedisRegistry):
    """Refuses others although the holder ends."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        old = "local ending = r[6] == r[1]"
        self._acquire = self._register(changed(redis_scripts.ACQUIRE, old, "local ending = false"))


class MarkOutlivesItsHolder(RedisRegistry):
    """The mark says nothing of whose it is, and a grant does not clear it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        blind = changed(
            redis_scripts.ACQUIRE,
            "local ending = r[6] == r[1]",
            "local ending = r[6] and r[6] ~= '0'",
        )
        self._acquire = self._register(changed(blind, ", 'ending', '0')", ")"))


@pytest.mark.parametrize(
    "mutant",
    [GetThenSet, PlainDelete, NoBump, BlindRenew, KeepsAnEndingClaim, MarkOutlivesItsHolder],
)
async def test_a_known_mistake_is_caught(
    redis_server: Server, mutant: Callable[[str], ClaimRegistry], outcomes: Outcomes
) -> None:
    name = f"mutant {cast('type', mutant).__name__}"
    for seed in range(1, 21):  # a race needs luck; one catch is proof
        seen = await contest(
            lambda port: mutant(f"redis://127.0.0.1:{port}"),
            redis_server.port, seed=seed, ttl=0.03, timeout=0.1, faults=False, keys=3, careless=0.6,
        )  # fmt: skip
        if any(verdict(seen, outcomes, name, seed)):
            return
    pytest.fail(f"{name} went unnoticed")


class CountsFromReply(LeaseHolder):
    """Measures its lease from when the answer came, not from before the request was sent."""

    def _granted(self, answer: Granted, sent: float, waited: float) -> None:
        super()._granted(answer, self._clock(), waited)


class Unheard:
    """A listener that nobody asks."""

    def claim_event(self, event: object) -> None:
        pass

    def claim_lost(self, cause: str) -> None:
        pass

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        pass


@pytest.mark.parametrize("lease", [LeaseHolder, CountsFromReply])
async def test_a_late_answer_does_not_stretch_the_lease(
    redis_server: Server, lease: type[LeaseHolder]
) -> None:
    """The holder stops believing before a rival can be granted; the mutant does not."""
    key, timing = f"rg:v1:{{{uuid.uuid4().hex}}}", Timing(ttl=1.2, heartbeat=0.6, timeout=0.59)
    async with FaultProxy(redis_server.port) as proxy:
        slow, direct = (
            RedisRegistry(f"redis://127.0.0.1:{port}") for port in (proxy.port, redis_server.port)
        )
        slow._client.connection_pool.connection_kwargs["socket_timeout"] = 1
        await slow.open()
        proxy.delay_replies(0.5)  # longer than the guard band of 250 ms
        bounded = BoundedRegistry(slow, timing.timeout, Circuit(), lambda *_: None)
        holder = lease(bounded, key, Holder("AJ_a", "i", "w"), Unheard(), timing=timing)
        assert await holder.claim()
        start = boottime()
        end = start + holder.left()
        while True:
            answer = await direct.acquire(key, Holder("AJ_b", "j", "w"), 1)
            if isinstance(answer, Granted):
                break
            await asyncio.sleep(0.01)
        rival = Belief(boottime(), boottime() + 1, answer.token)
        caught = overlapping([Belief(start, end, holder.token), rival])
        assert bool(caught) == (lease is CountsFromReply)
        await slow.aclose()
        await direct.aclose()


# -- the checker itself ------------------------------------------------------------------------


def op(
    kind: Any, called: float, answered: float, who: str, answer: str, token: int = 0
) -> Operation:
    return Operation(kind, called, answered, f"J{who}", f"I{who}", 10, token, answer)


def end(called: float, answered: float, who: str, token: int, answer: str = "renewed") -> Operation:
    return replace(op("renew", called, answered, who, answer, token), ending=True)


LEGAL = {
    "passed on while it ended": [
        op("acquire", 0, 1, "a", "new", 5),
        end(2, 3, "a", 5),
        op("acquire", 4, 5, "b", "passed_on", 6),
        op("renew", 6, 7, "a", "superseded", 5),
    ],
    "an end without an answer may have been heard": [
        op("acquire", 0, 1, "a", "new", 5),
        end(2, INFINITY, "a", 5, ""),
        op("acquire", 3, 4, "b", "held", 5),
        op("acquire", 5, 6, "b", "passed_on", 6),
    ],
    "it served again before anybody came": [
        op("acquire", 0, 1, "a", "new", 5),
        end(2, 3, "a", 5),
        op("renew", 4, 5, "a", "renewed", 5),
        op("acquire", 6, 7, "b", "held", 5),
    ],
    "one after another": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 2, 3, "b", "held", 5),
        op("release", 4, 5, "a", "released", 5),
        op("acquire", 6, 7, "b", "new", 6),
    ],
    "concurrent, the later call won": [
        op("acquire", 0, 9, "a", "held", 5),
        op("acquire", 1, 2, "b", "new", 5),
    ],
    "an unanswered acquire had won": [
        op("acquire", 0, INFINITY, "a", ""),
        op("acquire", 2, 3, "b", "held", 5),
        op("acquire", 4, 5, "a", "reentrant", 5),
    ],
    "an unanswered release never arrived": [
        op("acquire", 0, 1, "a", "new", 5),
        op("release", 2, INFINITY, "a", "", 5),
        op("acquire", 3, 4, "b", "held", 5),
    ],
    "taken over at the lease end": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 10, 10.5, "b", "takeover", 6),
        op("renew", 11, 12, "a", "superseded", 5),
    ],
    "re-claimed after the data was lost": [
        op("acquire", 0, 1, "a", "new", 5),
        op("forget", 2, 2, "", "done"),
        op("renew", 3, 4, "a", "missing", 5),
        op("acquire", 5, 6, "a", "new", 6),
    ],
}
ILLEGAL = {
    "refused while it ended": [
        op("acquire", 0, 1, "a", "new", 5),
        end(2, 3, "a", 5),
        op("acquire", 4, 5, "b", "held", 5),
    ],
    "passed on by one that serves": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 4, 5, "b", "passed_on", 6),
    ],
    "passed on by the next holder": [
        op("acquire", 0, 1, "a", "new", 5),
        end(2, 3, "a", 5),
        op("acquire", 4, 5, "b", "passed_on", 6),
        op("acquire", 6, 7, "c", "passed_on", 7),
    ],
    "two winners": [op("acquire", 0, 1, "a", "new", 5), op("acquire", 2, 3, "b", "new", 6)],
    "taken over before the lease end": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 8, 9, "b", "takeover", 6),
    ],
    "taken over although renewed": [
        op("acquire", 0, 1, "a", "new", 5),
        op("renew", 6, 7, "a", "renewed", 5),
        op("acquire", 11, 12, "b", "takeover", 6),
    ],
    "refused after the lease end": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 20, 21, "b", "held", 5),
    ],
    "a token that does not increase": [
        op("acquire", 0, 1, "a", "new", 5),
        op("release", 2, 3, "a", "released", 5),
        op("acquire", 4, 5, "b", "new", 5),
    ],
    "renewed after it was taken over": [
        op("acquire", 0, 1, "a", "new", 5),
        op("acquire", 12, 13, "b", "takeover", 6),
        op("renew", 14, 15, "a", "renewed", 5),
    ],
    "released twice": [
        op("acquire", 0, 1, "a", "new", 5),
        op("release", 2, 3, "a", "released", 5),
        op("release", 4, 5, "a", "released", 5),
    ],
    "a data loss nobody caused": [
        op("acquire", 0, 1, "a", "new", 5),
        op("renew", 3, 4, "a", "missing", 5),
    ],
}


@pytest.mark.parametrize("name", LEGAL)
def test_the_checker_accepts(name: str) -> None:
    assert linearizable(LEGAL[name])


@pytest.mark.parametrize("name", ILLEGAL)
def test_the_checker_rejects(name: str) -> None:
    assert not linearizable(ILLEGAL[name])
