"""The dispatch patches on LiveKit's own classes, in this process, with claims in memory."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import JobContext, JobRequest
from livekit.protocol import agent, models

from runguard_otel.adapters.agents_v1 import dispatch
from runguard_otel.adapters.agents_v1.claim_reports import facts_of
from runguard_otel.adapters.agents_v1.job_entry import Entry
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.claims.current import current_claim
from runguard_otel.claims.desk import ClaimDesk
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.memory import MemoryRegistry, MemoryStore
from runguard_otel.claims.registry import Holder, RegistryUnavailable
from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings
from tests.kit.host import REJECTS_FOR_GOOD, job_proc
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit


QUICK = {"claims_ttl_seconds": 2.0, "claims_heartbeat_seconds": 0.5}


class Bench:
    """Patched LiveKit classes over claims in memory; one per simulated process."""

    def __init__(self, store: MemoryStore, **settings: Any) -> None:
        self.down = False
        self.recorder = MemoryRecorder()
        self.services = Services(Settings.load(**settings), self.recorder)
        self.registry = Switchable(store, self)
        self.services.claims = ClaimDesk(
            self.services.settings, lambda: self.services.worker, lambda *_: self.registry
        )
        self.table = dispatch.patches(self.services)
        self.patches = PatchSet(self.table)
        self.answers: list[str] = []

    def __enter__(self) -> Bench:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    async def connect(self, connected: Any, context: Any) -> None:
        """`JobContext.connect` as patched, around a stand-in for what LiveKit does."""
        (patch,) = (p for p in self.table if p.owner is JobContext)
        await patch.wrapper(connected, context, (), {})

    def request(self, job: agent.Job, fails: BaseException | None = None) -> JobRequest:
        async def on_reject(terminate: bool | None = None) -> None:
            self.answers.append("rejected" + (" for good" if terminate else ""))

        async def on_accept(arguments: Any) -> None:
            if fails is not None:
                raise fails
            self.answers.append("accepted")

        return JobRequest(job=job, on_reject=on_reject, on_accept=on_accept)


class Switchable(MemoryRegistry):
    def __init__(self, store: MemoryStore, bench: Bench) -> None:
        super().__init__(store)
        self._bench = bench

    async def acquire(self, *args: Any, **kwargs: Any) -> Any:
        if self._bench.down:
            raise RegistryUnavailable("down")
        return await super().acquire(*args, **kwargs)


class Context:
    """What the claim needs of a JobContext."""

    def __init__(self, job: agent.Job, fake: bool = False) -> None:
        self.job = job
        self._info = SimpleNamespace(fake_job=fake, url="ws://livekit.test")
        self.callbacks: list[Any] = []
        self.reasons: list[str] = []

    def add_shutdown_callback(self, callback: Any) -> None:
        assert callback.__code__.co_argcount == 1  # LiveKit reads it
        self.callbacks.append(callback)

    def shutdown(self, reason: str = "") -> None:
        self.reasons.append(reason)

    async def end(self) -> None:
        for callback in self.callbacks:
            await callback("over")


def job(job_id: str, room: str = "room-a", agent_name: str = "") -> agent.Job:
    return agent.Job(id=job_id, agent_name=agent_name, room=models.Room(name=room, sid="RM_1"))


async def run_job(context: Context) -> list[int]:
    """Run an entrypoint as `_JobProc` would; the tokens it saw, empty if it never ran."""
    ran: list[int] = []

    async def entrypoint(ctx: Any) -> None:
        claim = current_claim()
        ran.append(claim.token if claim is not None else 0)

    made = job_proc(entrypoint)
    guarded: Any = made._job_entrypoint_fnc
    await asyncio.create_task(guarded(context))  # LiveKit runs it in a task of its own, too
    return ran


@pytest.fixture(autouse=True)
def url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://livekit.test")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def bench(store: MemoryStore) -> Iterator[Bench]:
    with Bench(store, **QUICK) as made:
        yield made


@pytest.fixture
async def rival(store: MemoryStore) -> AsyncIterator[Context]:
    """A job of another worker that holds room-a."""
    with Bench(store, **QUICK) as other:
        context = Context(job("AJ_rival"))
        assert await run_job(context)
        other.patches.undo()  # its process is not this one
        yield context


async def test_the_first_job_is_accepted_and_claimed_for(bench: Bench, store: MemoryStore) -> None:
    await bench.request(job("AJ_1")).accept()
    assert bench.answers == ["accepted"]
    assert bench.recorder.signatures() == [("job_claim:acquired", "allowed")]
    assert [lease.who.job_id for lease in store.leases.values()] == ["AJ_1"]


async def test_a_duplicate_is_rejected_for_good_with_one_trip(rival: Context, bench: Bench) -> None:
    await bench.request(job("AJ_2")).accept()
    assert bench.answers == ["rejected for good" if REJECTS_FOR_GOOD else "rejected"]
    assert bench.recorder.signatures() == [("job_claim:refused", "refused")]
    (trip,) = bench.recorder.trips
    assert (trip.signature, trip.action, trip.key) == ("job_claim:refused", "refuse_job", "room-a")
    assert "room-a" not in trip.explain()
    assert bench.recorder.count("runguard.job.claims", result="refused", backend="sqlite") == 1
    assert bench.recorder.count("runguard.jobs.ended", job_outcome="refused") == 1
    assert [v[0] for v in bench.recorder.values] == ["runguard.job.claim.duration"]


async def test_another_agent_name_is_none_of_our_business(rival: Context, bench: Bench) -> None:
    await bench.request(job("AJ_2", agent_name="translator")).accept()
    assert bench.answers == ["accepted"]


@pytest.mark.parametrize("error", [RuntimeError("no process"), asyncio.CancelledError()])
async def test_an_accept_that_fails_releases_and_passes_the_error_unchanged(
    bench: Bench, store: MemoryStore, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        await bench.request(job("AJ_1"), fails=error).accept()
    if isinstance(error, RuntimeError):
        assert caught.value is error
    for _ in range(10):
        await asyncio.sleep(0)
    assert [lease.held for lease in store.leases.values()] == [False]


async def test_an_unreachable_registry_accepts_and_says_so(bench: Bench) -> None:
    bench.down = True
    await bench.request(job("AJ_1")).accept()
    assert bench.answers == ["accepted"]
    assert bench.recorder.signatures() == [("job_claim:unverified", "allowed")]
    assert bench.recorder.trips == []


async def test_fail_closed_rejects_but_lets_another_worker_try(store: MemoryStore) -> None:
    with Bench(store, claims_unreachable="closed") as bench:
        bench.down = True
        await bench.request(job("AJ_1")).accept()
        assert bench.answers == ["rejected"]
        assert bench.recorder.trips == []  # an outage is not a duplicate


async def test_an_error_of_ours_leaves_the_host_as_it_was(store: MemoryStore) -> None:
    with Bench(store) as bench:
        bench.recorder.tolerant = True

        async def broken(*_: Any) -> Any:
            raise ValueError("a bug")

        bench.services.claims.claim_for_worker = broken  # type: ignore[union-attr,method-assign]
        bench.services.claims.claim_for_job = broken  # type: ignore[union-attr,method-assign]
        await bench.request(job("AJ_1")).accept()
        assert bench.answers == ["accepted"]
        assert await run_job(Context(job("AJ_1"))) == [0]
        assert [where for where, _ in bench.recorder.errors] == [
            "JobRequest.accept",
            "_JobProc.entrypoint",
        ]


async def test_the_job_takes_over_its_workers_claim_and_releases_it(
    bench: Bench, store: MemoryStore
) -> None:
    await bench.request(job("AJ_1")).accept()
    (before,) = store.leases.values()
    context = Context(job("AJ_1"))
    (token,) = await run_job(context)
    assert token > before.token
    assert bench.recorder.signatures()[-1] == ("job_claim:handed_off", "allowed")
    await context.end()
    assert [lease.held for lease in store.leases.values()] == [False]
    assert bench.recorder.signatures()[-1] == ("job_claim:released", "allowed")


async def test_a_refused_job_shuts_down_and_its_entrypoint_never_runs(
    rival: Context, store: MemoryStore
) -> None:
    with Bench(store, **QUICK) as bench:
        context = Context(job("AJ_2"))
        assert await run_job(context) == []
        assert context.reasons == ["runguard: another job serves this room"]
        assert context.callbacks == []
        assert bench.recorder.signatures() == [("job_claim:refused", "refused")]
        assert bench.recorder.trips[0].evidence[0].detail == "holder_alive"


@pytest.mark.parametrize("connected", [False, True])
async def test_a_job_that_fails_before_it_is_in_its_room_keeps_nobody_out_of_it(
    connected: bool, bench: Bench, store: MemoryStore
) -> None:
    """Up to 1.3 such a job never ends; one that is in the room may still serve it."""

    async def entrypoint(ctx: Any) -> None:
        raise LookupError("a defect of the application")

    context = Context(job("AJ_1"))
    context.room = SimpleNamespace(isconnected=lambda: connected)  # type: ignore[attr-defined]
    guarded: Any = job_proc(entrypoint)._job_entrypoint_fnc
    with pytest.raises(LookupError, match="a defect of the application"):
        await asyncio.create_task(guarded(context))
    assert [lease.held for lease in store.leases.values()] == [connected]
    assert context.reasons == [], "whether it ends is up to the host"
    await context.end()
    assert [kind for kind, _ in bench.recorder.signatures()] == [
        "job_claim:acquired",
        "job_claim:released",
    ]


async def test_observe_reports_the_same_and_keeps_nobody_waiting(
    rival: Context, store: MemoryStore
) -> None:
    with Bench(store, mode=Mode.OBSERVE, **QUICK) as bench:
        await bench.request(job("AJ_2")).accept()
        context = Context(job("AJ_2"))
        assert await run_job(context) == [0]
        assert bench.recorder.events == []  # it ran before the verdict on it, which comes later:
        await until(lambda: bench.recorder.trips)
        assert bench.recorder.signatures() == [("job_claim:refused", "observed")]
        assert bench.recorder.trips[0].action == "none"
        assert (bench.answers, context.reasons) == (["accepted"], [])
        await context.end()


async def test_proof_of_another_holder_ends_the_job_in_enforce_only(store: MemoryStore) -> None:
    for mode, reasons in (
        (Mode.ENFORCE, ["runguard: claim lost (superseded)"]),
        (Mode.OBSERVE, []),
    ):
        store.leases.clear()
        with Bench(store, mode=mode, **QUICK) as bench:
            context = Context(job("AJ_1"))
            await run_job(context)
            await until(lambda: bench.recorder.signatures())
            store.leases.clear()  # the registry lost its data, and a rival was quicker
            await MemoryRegistry(store).acquire(
                claim_key(facts_of(job("AJ_1"), "ws://livekit.test")), Holder("AJ_2", "i", "w"), 60
            )
            await until(lambda: len(bench.recorder.signatures()) > 1)
            assert bench.recorder.signatures()[-1][0] == "job_claim:lost"
            assert context.reasons == reasons
            await context.end()


def participant(**attributes: str) -> Any:
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return SimpleNamespace(attributes=named)


async def in_room(bench: Bench, *present: Any) -> tuple[Context, Any, list[dict[str, str]]]:
    """A job that has its claim and has connected to a room with these participants in it."""
    published: list[dict[str, str]] = []

    async def set_attributes(attributes: dict[str, str]) -> None:
        published.append(attributes)

    room: Any = rtc.EventEmitter()
    room.local_participant = SimpleNamespace(set_attributes=set_attributes)
    room.remote_participants = dict(enumerate(present))
    context = Context(job("AJ_1", agent_name="support"))
    context.room = room  # type: ignore[attr-defined]

    async def entrypoint(ctx: Any) -> None:
        await bench.connect(connected, ctx)
        await asyncio.sleep(0)

    async def connected() -> None:
        """What LiveKit's own connect would do."""

    made = job_proc(entrypoint)
    guarded: Any = made._job_entrypoint_fnc
    await asyncio.create_task(guarded(context))
    return context, room, published


async def test_the_agent_with_the_lower_token_leaves_and_only_that_one(bench: Bench) -> None:
    context, room, published = await in_room(bench)
    ((fence),) = (mine["runguard.claim"] for mine in published)
    claim, _, token = fence.partition(":")
    lower, higher = f"{claim}:{int(token) - 1}", f"{claim}:{int(token) + 1}"
    for harmless in (
        participant(lk_agent_name="support", runguard_claim=lower),
        participant(lk_agent_name="translator", runguard_claim=higher),
        participant(lk_agent_name="support", runguard_claim=f"another claim:{int(token) + 1}"),
        participant(lk_agent_name="support", runguard_claim="nonsense"),
        participant(lk_agent_name="support"),
        participant(),
    ):
        room.emit("participant_connected", harmless)
    avatar = participant(lk_agent_name="support", runguard_claim=higher)
    avatar.attributes["lk.publish_on_behalf"] = "agent-1"
    room.emit("participant_connected", avatar)
    assert context.reasons == []
    duplicate = participant(lk_agent_name="support", runguard_claim=higher)
    room.emit("participant_attributes_changed", {"runguard.claim": higher}, duplicate)
    room.emit("participant_connected", duplicate)
    assert context.reasons == ["runguard: claim lost (outranked)"]
    await context.end()


async def test_a_duplicate_that_is_already_there_is_seen(bench: Bench, store: MemoryStore) -> None:
    key = claim_key(facts_of(job("x", agent_name="support"), "ws://livekit.test"))
    theirs = f"{key.partition('{')[2][:12]}:{10**18}"
    there = participant(lk_agent_name="support", runguard_claim=theirs)
    context, _, _ = await in_room(bench, there)
    assert context.reasons == ["runguard: claim lost (outranked)"]
    await context.end()


async def until(reached: Callable[[], object], seconds: float = 10) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not reached():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.02)


async def test_fake_jobs_are_left_alone(bench: Bench, store: MemoryStore) -> None:
    context = Context(job("mock-job-1"), fake=True)
    assert await run_job(context) == [0]
    assert (store.leases, context.callbacks, bench.recorder.events) == ({}, [], [])


async def test_off_touches_nothing(store: MemoryStore) -> None:
    with Bench(store, job_dispatch_mode=Mode.OFF) as bench:
        await bench.request(job("AJ_1")).accept()
        assert await run_job(Context(job("AJ_1"))) == [0]
        assert (store.leases, bench.answers) == ({}, ["accepted"])


async def test_uninstrument_also_disarms_entrypoints_that_were_wrapped(
    store: MemoryStore,
) -> None:
    bench = Bench(store)
    with bench:
        made = job_proc(_entrypoint)
    context = Context(job("AJ_1"))
    guarded: Any = made._job_entrypoint_fnc
    await guarded(context)
    assert (store.leases, context.callbacks) == ({}, [])


async def _entrypoint(ctx: Any) -> None:
    """The user's words."""


brought_up: list[dict[str, Any]] = []


def _bring_up(payload: dict[str, Any]) -> None:
    brought_up.append(payload)


def test_an_entry_is_picklable_looks_like_the_original_and_instruments_where_it_lands() -> None:
    known: dict[str, Any] = {"worker": "w"}
    entry = Entry(_entrypoint, _bring_up, lambda: dict(known))
    known["extras"] = {"hub": "address"}  # learned after the pool was built
    landed = pickle.loads(pickle.dumps(entry))
    assert brought_up == [{"worker": "w", "extras": {"hub": "address"}}]
    assert landed.__qualname__ == "_entrypoint"
    assert landed.__doc__ == "The user's words."
    again = pickle.loads(pickle.dumps(landed))
    assert again._entrypoint is _entrypoint
