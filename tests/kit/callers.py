"""Callers on a real LiveKit server who leave and come back, and what they get for it.

A caller has an agent when one has started its session for her, or has answered her. Agents write a
line for each of that; callers make sounds, or write when they have no microphone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from livekit import api, rtc

from runguard_otel.claims.registries.sqlite import SqliteRegistry
from tests.kit.livekit_server import SAMPLE_RATE, server_api, token, until, url
from tests.kit.workers import Crew

AGENT = Path(__file__).with_name("caller_agent.py")
GREETED_WITHIN = 60.0
WATCH_SECONDS = 4.0
"""How long a caller who has an agent is watched for a second one."""
PATIENCE = 15.0
"""How long a caller waits for an agent before it counts as nobody."""
NOBODY = float("inf")
REACHED = ("serving", "answered")


@dataclass
class Outcome:
    """What one run gave.

    Args:
        reached: Seconds from the dispatch until the caller had an agent; infinite if never.
        both: Seconds in which two agents served the room.
        twice: Sounds of the caller that two agents answered.
        missed: Sounds, or calls, that nobody answered.
        lease_left: Seconds for which a dead agent's claim was still held at the dispatch.
        broken: What went wrong with the run itself, which then says nothing.
    """

    reached: float = 0.0
    both: float = 0.0
    twice: int = 0
    missed: int = 0
    lease_left: float = 0.0
    broken: str = ""


class Caller:
    """A participant that makes sounds.

    Args:
        room: The room.
        identity: Who it is; anybody if not given.
    """

    def __init__(self, room: str, identity: str = "") -> None:
        self.name, self.identity = room, identity or f"caller-{uuid.uuid4().hex[:6]}"
        self.room = rtc.Room()
        self.sounds: list[float] = []
        self._source: rtc.AudioSource | None = None
        self._track: rtc.LocalAudioTrack | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._loud = False

    async def join(self, *, microphone: bool) -> None:
        """Enter the room."""
        await self.room.connect(url(), token(self.name, self.identity))
        if microphone:
            self._source = source = rtc.AudioSource(SAMPLE_RATE, 1)
            self._track = track = rtc.LocalAudioTrack.create_audio_track("mic", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await self.room.local_participant.publish_track(track, options)
            self._feeding = asyncio.create_task(self._feed(source))

    def hold(self, on: bool) -> None:
        """Put the agent on hold: her microphone is muted; or come back."""
        assert self._track is not None
        if on:
            self._track.mute()
        else:
            self._track.unmute()

    async def leave(self) -> None:
        """Hang up."""
        if self._feeding is not None:
            self._feeding.cancel()
        await self.room.disconnect()
        if self._source is not None:
            await self._source.aclose()  # a thread for each that is open

    async def sound(self, seconds: float = 0.4) -> None:
        """Say something: aloud with a microphone, else in writing."""
        self.sounds.append(time.time())
        if self._source is None:
            await self.room.local_participant.send_text("are you there", topic="lk.chat")
            return
        self._loud = True
        await asyncio.sleep(seconds)
        self._loud = False

    async def _feed(self, source: rtc.AudioSource) -> None:
        step = SAMPLE_RATE // 10
        wave = (8000 * np.sin(np.arange(step) * 2 * np.pi * 400 / SAMPLE_RATE)).astype(np.int16)
        while True:
            samples = wave if self._loud else np.zeros(step, np.int16)
            await source.capture_frame(rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, step))


@dataclass
class Side:
    """Workers with our guards, or without.

    Args:
        name: The agent name they serve.
        folder: Where their steps and logs are.
        instrument: ``module`` or ``no``.
        per: ``room`` or ``publisher``.
        environment: More variables for the workers.
        crew: The workers.
    """

    name: str
    folder: Path
    instrument: str
    per: str = "room"
    environment: dict[str, str] = field(default_factory=dict)
    crew: Crew = field(init=False)
    _read: int = field(default=0, init=False)
    _steps: dict[str, list[dict[str, Any]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.crew = Crew(self.folder, agent=AGENT)

    async def add(self, count: int = 1) -> None:
        """Start workers and wait until the server knows them."""
        wanted = self.crew.registered() + count
        await self.crew.start(
            count,
            self.instrument,
            RG_AGENT=self.name,
            RG_PER=self.per,
            **{"RUNGUARD_METRICS_PORT": "0", **self.environment},
        )
        await until(lambda: self.crew.registered() >= wanted, 300, f"{wanted} workers registered")

    def steps(self, room: str, what: str = "") -> list[dict[str, Any]]:
        """What the agents of one room did."""
        self._catch_up()
        return [s for s in self._steps.get(room, ()) if what in ("", s["step"])]

    async def reaches(
        self, room: str, since: float, timeout: float, what: tuple[str, ...] = REACHED
    ) -> float:
        """Wait until an agent reaches the caller; seconds from ``since``, infinite if none does."""
        while time.time() - since < timeout:
            done = [s["at"] for s in self.steps(room) if s["step"] in what and s["at"] > since]
            if done:
                return float(min(done)) - since
            await asyncio.sleep(0.05)
        return NOBODY

    def served(self, room: str, killed: dict[int, float]) -> list[tuple[float, float]]:
        """When each agent of the room served it: from its session's start to its end's begin."""
        steps, spans = self.steps(room), []
        for start in (s for s in steps if s["step"] == "serving"):
            ends = [
                s["at"]
                for s in steps
                if s.get("job") == start["job"] and s["step"] in ("closing", "disconnected", "left")
            ]
            if start["pid"] in killed:
                ends.append(killed[start["pid"]])
            spans.append((start["at"], min(ends, default=time.time())))
        return spans

    def pids(self, room: str = "") -> set[int]:
        """The processes of a room's jobs, or of all."""
        self._catch_up()
        known = self._steps.values() if not room else [self._steps.get(room, [])]
        return {step["pid"] for steps in known for step in steps}

    def _catch_up(self) -> None:
        """Read what is new: many look at once, every 50 ms, and each line costs them all."""
        file = self.folder / "steps"
        if not file.exists():
            return
        with file.open("rb") as steps:
            steps.seek(self._read)
            news = steps.read()
        whole = news[: news.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            step = json.loads(line)
            self._steps.setdefault(step.get("room", ""), []).append(step)


@contextlib.asynccontextmanager
async def side(
    folder: Path, instrument: str, workers: int = 1, per: str = "room", **environment: str
) -> AsyncIterator[Side]:
    """Workers of one side, running; ended with their jobs."""
    made = Side(f"callers-{uuid.uuid4().hex[:6]}", folder, instrument, per, environment)
    try:
        if workers:
            await made.add(workers)
        yield made
    finally:
        await end(made)


async def end(made: Side) -> None:
    """End workers, and what is left of their jobs: some of them never would."""
    for process in made.crew.processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    _kill(made.pids())


async def dispatch(client: api.LiveKitAPI, name: str, room: str, on_exit: float = 0) -> float:
    """Ask for an agent; when, in seconds since the epoch."""
    at = time.time()
    request = api.CreateAgentDispatchRequest(agent_name=name, room=room, metadata=f"{on_exit:g}")
    await client.agent_dispatch.create_dispatch(request)
    return at


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Scene:
    """One room of one run, and who is in it.

    Args:
        client: The server's API.
        here: The workers.
        room: The room's name.
        guests: All callers.
    """

    client: api.LiveKitAPI
    here: Side
    room: str
    guests: list[Caller] = field(default_factory=list)

    async def caller(self, identity: str = "", *, microphone: bool = True) -> Caller:
        """Somebody joins."""
        made = Caller(self.room, identity)
        self.guests.append(made)
        await made.join(microphone=microphone)
        return made

    async def dispatch(self, on_exit: float = 0) -> float:
        """See :func:`dispatch`."""
        return await dispatch(self.client, self.here.name, self.room, on_exit)

    async def first_call(self, *, microphone: bool, on_exit: float) -> Caller:
        """A caller who has her agent."""
        caller = await self.caller("caller", microphone=microphone)
        at = await self.dispatch(on_exit)
        greeted = await self.here.reaches(self.room, at, GREETED_WITHIN, ("greeted",))
        assert greeted < NOBODY, "the first call is not served"
        await asyncio.sleep(0.5)
        return caller

    async def end(self) -> None:
        """Everybody hangs up; agents that would never end are ended."""
        for guest in self.guests:
            await guest.leave()
        with contextlib.suppress(api.TwirpError):
            await self.client.room.delete_room(api.DeleteRoomRequest(room=self.room))


@contextlib.asynccontextmanager
async def scene(here: Side, what: str, *, on_exit: float = 0) -> AsyncIterator[Scene]:
    """A room of its own, empty and deleted in the end, whatever happens.

    Args:
        here: The workers.
        what: How its name begins.
        on_exit: What its agents need to leave; those that never would are killed.
    """
    async with server_api() as client:
        made = Scene(client, here, f"{what}-{uuid.uuid4().hex[:10]}")
        try:
            yield made
        finally:
            await made.end()
            if on_exit < 0:
                _kill(here.pids(made.room))


async def watched(
    here: Side, caller: Caller, since: float, killed: dict[int, float] | None = None
) -> Outcome:
    """What the caller gets from a dispatch on, while she keeps asking."""
    began = time.time()
    asking = asyncio.create_task(_keep_asking(caller))
    try:
        reached = await here.reaches(caller.name, since, PATIENCE)
        await asyncio.sleep(WATCH_SECONDS)
        if reached < NOBODY:  # on a busy machine her first answer takes longer than the watch
            await here.reaches(caller.name, since, PATIENCE, ("answered",))
    finally:
        asking.cancel()
    spans = here.served(caller.name, killed or {})
    answers = [(s["at"], s["job"]) for s in here.steps(caller.name, "answered")]
    return Outcome(
        reached=reached,
        both=_overlap([(max(a, began), b) for a, b in spans if b > began]),
        twice=_twice(caller, answers, 1.4),
        missed=int(reached < NOBODY and not any(at > since for at, _ in answers)),
    )


def _twice(caller: Caller, answers: list[tuple[float, str]], within: float) -> int:
    """How many of the caller's sounds two agents answered, each within so many seconds."""
    return sum(len({j for t, j in answers if at < t < at + within}) > 1 for at in caller.sounds)


async def _keep_asking(caller: Caller) -> None:
    while True:
        await asyncio.sleep(0.3)
        await caller.sound()
        await asyncio.sleep(1.2)


def _overlap(spans: list[tuple[float, float]]) -> float:
    """Seconds in which at least two spans run."""
    edges = sorted([(a, 1) for a, b in spans if b > a] + [(b, -1) for a, b in spans if b > a])
    total, running, before = 0.0, 0, 0.0
    for at, change in edges:
        if running > 1:
            total += at - before
        running, before = running + change, at
    return total


async def left(
    here: Side, delay: float, *, microphone: bool, on_exit: float, anew: bool = True
) -> Outcome:
    """The caller leaves and comes back.

    Args:
        here: The workers.
        delay: Seconds between.
        microphone: Whether she publishes one.
        on_exit: What the agent needs to leave.
        anew: Whether she comes back under another identity.
    """
    async with scene(here, "left", on_exit=on_exit) as room:
        caller = await room.first_call(microphone=microphone, on_exit=on_exit)
        await caller.leave()
        await asyncio.sleep(delay)
        back = await room.caller("" if anew else "caller", microphone=microphone)
        return await watched(here, back, await room.dispatch(on_exit))


async def removed(
    here: Side, delay: float, *, microphone: bool = True, on_exit: float = 0
) -> Outcome:
    """An operator removes the agent and dispatches another one; arguments as for :func:`left`."""
    async with scene(here, "removed", on_exit=on_exit) as room:
        caller = await room.first_call(microphone=microphone, on_exit=on_exit)
        (agent,) = here.steps(room.room, "serving")
        who = api.RoomParticipantIdentity(room=room.room, identity=agent["identity"])
        await room.client.room.remove_participant(who)
        await asyncio.sleep(delay)
        return await watched(here, caller, await room.dispatch(on_exit))


async def killed(here: Side, delay: float, *, microphone: bool = True) -> Outcome:
    """The job's process is killed, and somebody dispatches again."""
    async with scene(here, "killed") as room:
        caller = await room.first_call(microphone=microphone, on_exit=0)
        (agent,) = here.steps(room.room, "serving")
        os.kill(agent["pid"], signal.SIGKILL)
        died = {agent["pid"]: time.time()}
        await asyncio.sleep(delay)
        return await watched(here, caller, await room.dispatch(), died)


async def worker_killed(here: Side, delays: Sequence[float], *, microphone: bool) -> list[Outcome]:
    """A worker dies with all its jobs, and another one is asked to take over.

    Args:
        here: A side without workers.
        delays: Seconds from the death to each room's dispatch.
        microphone: Whether the callers publish one.
    """
    await here.add()
    (dying,) = here.crew.processes[-1:]
    async with contextlib.AsyncExitStack() as stack:
        rooms = [await stack.enter_async_context(scene(here, "orphan")) for _ in delays]
        guests = await asyncio.gather(
            *(room.first_call(microphone=microphone, on_exit=0) for room in rooms)
        )
        await here.add()
        jobs = [here.steps(room.room, "serving")[0] for room in rooms]
        dying.kill()
        _kill(job["pid"] for job in jobs)
        died = dict.fromkeys((job["pid"] for job in jobs), time.time())
        leases = await _leases(here)

        async def again(room: Scene, caller: Caller, job: dict[str, Any], delay: float) -> Outcome:
            await asyncio.sleep(delay)
            at = await room.dispatch()
            outcome = await watched(here, caller, at, died)
            outcome.lease_left = max(0.0, leases.get(job["job"], at) - at)
            return outcome

        dispatched = (again(*which) for which in zip(rooms, guests, jobs, delays, strict=True))
        return list(await asyncio.gather(*dispatched))


async def _leases(here: Side) -> dict[str, float]:
    """When the lease of each job ends, in seconds since the epoch; nothing without our guards."""
    file = here.folder / "claims.sqlite3"
    if not file.exists():
        return {}
    registry = SqliteRegistry(file)
    try:
        records = await registry.inspect()
    finally:
        await registry.aclose()
    return {r.job_id: time.time() + (r.remaining or 0.0) for r in records if r.state != "released"}


async def doubled(here: Side, delay: float) -> Outcome:
    """The agent is dispatched twice; ``reached`` is the first one's, which must go on alone."""
    async with scene(here, "double") as room:
        caller = await room.caller()
        at = await room.dispatch()
        await asyncio.sleep(delay)
        await room.dispatch()
        reached = await here.reaches(room.room, at, GREETED_WITHIN)
        asking = asyncio.create_task(_keep_asking(caller))
        await asyncio.sleep(12)  # as long as a job may stand by, and more
        asking.cancel()
        answers = [(s["at"], s["job"]) for s in here.steps(room.room, "answered")]
        return Outcome(
            reached,
            _overlap(here.served(room.room, {})),
            _twice(caller, answers, 1.4),
            missed=int(not answers),
        )


async def back_to_back(here: Side, calls: int) -> Outcome:
    """Calls in one room name, with gaps of 0 to 2 s: how many were not greeted, the slowest."""
    slowest, missed = 0.0, 0
    async with scene(here, "calls") as room:
        for n in range(calls):
            caller = await room.caller()
            at = await room.dispatch()
            reached = await here.reaches(room.room, at, PATIENCE, ("greeted",))
            missed += reached == NOBODY
            slowest = max(slowest, reached)
            await asyncio.sleep(0.5)
            await caller.leave()
            await asyncio.sleep(n % 5 * 0.5)
        return Outcome(slowest, _overlap(here.served(room.room, {})), missed=missed)


async def published(here: Side, delay: float) -> Outcome:
    """One job per publisher: she hangs up and calls back while her old job writes its summary."""
    async with scene(here, "publisher") as room:
        caller = await room.first_call(microphone=True, on_exit=6)
        await caller.leave()
        await asyncio.sleep(delay)
        at = time.time()
        back = await room.caller("caller")
        reached = await here.reaches(room.room, at, PATIENCE)
        await here.reaches(room.room, at, PATIENCE, ("greeted",))
        for _ in range(5):
            await back.sound()
            await asyncio.sleep(2)
        answers = [(s["at"], s["job"]) for s in here.steps(room.room, "answered")]
        missed = [at for at in back.sounds if not any(at < t < at + 2.4 for t, _ in answers)]
        return Outcome(reached, twice=_twice(back, answers, 2.4), missed=len(missed))


Scenario = Callable[[Side], Awaitable[Outcome]]
