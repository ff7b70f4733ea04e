"""``runguard_otel.testing`` as users meet it: every storm breaks loose, is seen, and costs less."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession

from runguard_otel import current_session_cost
from runguard_otel.testing import (
    Call,
    Recording,
    ScriptedLLM,
    Stage,
    call,
    recording,
    running_job,
    settle,
    simulate_storm,
    until,
)

pytestmark = pytest.mark.livekit

WISH = "a table for two please"
QUICK = {"claims_ttl_seconds": 2.0, "claims_heartbeat_seconds": 0.5}


async def test_noise_never_reaches_the_model_and_the_bill_says_so() -> None:
    priced = ScriptedLLM(provider="openai", model="gpt-4.1-mini")
    with recording() as seen:
        async with call(model=priced) as phone:
            await simulate_storm("misfire", phone)
            assert phone.asked == []
            await phone.hear(WISH)
            await phone.quiet()
            trip = seen.assert_tripped("vad_misfire", action="suppress")
            cost = current_session_cost()
        assert phone.asked == [WISH]
        assert trip.count == 5
        assert seen.signatures["vad_misfire:low_confidence"] == {"suppressed": 3}
        assert seen.signatures["vad_misfire:empty_transcript"] == {"suppressed": 3}
        assert seen.cost(component="llm") > 0
        assert cost is not None
        (span,) = seen.spans()
        assert span["runguard.trip.count"] == 5


async def test_without_guards_the_same_storm_reaches_the_model() -> None:
    """The control: the storm itself is one, and the recording is what stops it."""
    with recording(mode="observe") as seen:
        async with call() as phone:
            await simulate_storm("misfire", phone)
            await phone.quiet()
        assert {words for words in phone.asked if words} == {"uh", "mm", "hm"}
        seen.assert_tripped("vad_misfire", action="none")
        assert seen.wasted() >= 0


async def test_an_echo_storm_is_the_agents_own_sentence() -> None:
    with recording() as seen:
        async with call(voice=True, answer="Your table for two is booked for eight") as phone:
            await phone.hear(WISH)
            await phone.quiet()
            asked = len(phone.asked)
            await simulate_storm("echo", phone)
            await phone.quiet()
            assert len(phone.asked) == asked + 1, "one may be a user who confirms"
        seen.assert_tripped("vad_misfire")


async def test_a_healthy_call_is_quiet_and_a_storm_is_not() -> None:
    with recording() as seen:
        async with call() as phone:
            await phone.hear(WISH)
            await phone.quiet()
            seen.assert_quiet()
            await simulate_storm("misfire", phone)
        with pytest.raises(AssertionError, match=r"tripped: vad_misfire tripped: 5 x"):
            seen.assert_quiet()
        with pytest.raises(AssertionError, match="tripped: vad_misfire"):
            seen.assert_tripped("room_reconnect")


class Stubborn:
    """An application that joins again whenever it loses its room."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.refused = stage, 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        room = rtc.Room()
        room.on("disconnected", lambda _: self.tasks.add(asyncio.ensure_future(self.join())))
        try:
            await room.connect("wss://anywhere", self.stage.token("lobby", "agent"))
        except rtc.ConnectError:
            self.refused += 1


async def test_a_reconnect_loop_is_refused(stage: Stage) -> None:
    with recording() as seen:
        agent = Stubborn(stage)
        await agent.join()
        await simulate_storm("reconnect", stage)
        await settle()
        assert seen.counted("runguard.room.connects", connect="refused") == agent.refused == 1
        seen.assert_tripped("room_reconnect", action="refuse_connect")
        assert seen.avoided() >= 0


async def test_flapping_tracks_share_a_stream(stage: Stage) -> None:
    phone = Call()  # for its recogniser only
    opened: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def transcribe(track: rtc.Track) -> None:
        opened.append(phone.stt.stream())
        async for event in rtc.AudioStream(track, sample_rate=16_000, num_channels=1):
            opened[-1].push_frame(event.frame)

    with recording() as seen:
        room = rtc.Room()
        room.on(
            "track_subscribed", lambda t, *_: tasks.append(asyncio.ensure_future(transcribe(t)))
        )
        await room.connect("wss://anywhere", stage.token("lobby", "transcriber"))
        stage.join("lobby", "caller")
        await simulate_storm("tracks", stage)
        seen.assert_tripped("track_subscribe", action="reuse_stream")
        assert len(opened) == 5
        assert len(phone.stt.streams) < 5  # type: ignore[attr-defined]  # scripted
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in opened:
            await stream.aclose()
        await room.disconnect()


class Clerk:
    """An agent's entrypoint, and how often it ran."""

    def __init__(self) -> None:
        self.served = 0

    async def __call__(self, ctx: Any) -> None:
        self.served += 1
        await ctx.connect()
        session: AgentSession[None] = AgentSession(llm=ScriptedLLM())
        await session.start(Agent(instructions="Be brief."), room=ctx.room)


async def test_a_second_job_for_the_same_room_never_begins(stage: Stage) -> None:
    with recording(**QUICK) as seen:  # type: ignore[arg-type]  # a dict of one type
        clerk = Clerk()
        async with running_job(stage, clerk) as job:
            await until(lambda: job.task.done())
            await simulate_storm("dispatch", stage, entrypoint=clerk)
            assert clerk.served == 1
            assert job.reached
        seen.assert_tripped("job_dispatch", action="refuse_job")


async def test_an_agent_that_stays_alone_is_seen(stage: Stage) -> None:
    with recording(session_overrun_left_seconds=1) as seen:
        clerk = Clerk()
        async with running_job(stage, clerk) as job:
            await until(lambda: job.task.done())
            stage.join("lobby", "caller")
            await stage.settle()
            seen.assert_quiet()
            await simulate_storm("overrun", stage)
            await until(lambda: seen.trips, 10)
        assert seen.assert_tripped("session_overrun").signature == "session_overrun:agent_alone"


@pytest.mark.parametrize(
    ("name", "on", "says"),
    [
        ("tornado", "stage", "there are reconnect, misfire"),
        ("misfire", "stage", "a call: call"),
        ("reconnect", "call", "a stage: Stage"),
        ("dispatch", "stage", "entrypoint="),
        ("echo", "call", "said three words"),
    ],
)
async def test_a_storm_says_what_it_needs(name: Any, on: str, says: str, stage: Stage) -> None:
    target: Any = stage if on == "stage" else Call()
    with pytest.raises(ValueError, match=says):
        await simulate_storm(name, target)


@pytest.mark.runguard(mode="observe", vad_misfire_limit=3)
async def test_the_fixture_takes_settings_from_a_marker(runguard: Recording) -> None:
    assert str(runguard.guard.settings.mode) == "observe"
    assert runguard.guard.settings.vad_misfire_limit == 3
    assert runguard.guard.settings.claims_url == "memory://"


async def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has RUNGUARD_MODE=observe in his shell has the same tests as everybody else."""
    monkeypatch.setenv("RUNGUARD_MODE", "observe")
    with recording() as seen:
        assert str(seen.guard.settings.mode) == "enforce"
