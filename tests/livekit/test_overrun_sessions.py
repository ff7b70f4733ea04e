"""Sessions that go on too long, with LiveKit's own ``AgentSession``; clocks jump.

First what must trip, then what must never, each named with the change it fails for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent

from runguard_otel.adapters.livekit.facts import room as room_facts
from runguard_otel.core.verdict import Mode
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import final
from runguard_otel.testing.realtime import ScriptedRealtimeModel
from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import settle, until
from tests.kit.facts import since
from tests.kit.overrun import Stage, come, connected, go, on_stage
from tests.kit.realtime import realtime_call

pytestmark = pytest.mark.livekit

ALONE, SILENT, HUNG, OLD = (
    "session_overrun:agent_alone",
    "session_overrun:silent_caller",
    "session_overrun:close_hung",
    "session_overrun:duration",
)
HELLO = "I would like a table for two"
HALF_AN_HOUR = 1800


@asynccontextmanager
async def on_the_line(
    mode: Mode = Mode.OBSERVE, speaks: bool = True, **settings: Any
) -> AsyncIterator[tuple[Stage, rtc.Room]]:
    """A room with a caller in it, whose microphone is open if she speaks."""
    with on_stage(mode, **settings) as stage:
        room = await connected(stage)
        await come(stage)
        if speaks:
            stage.server.publish("lobby", "caller")
            await stage.server.settle()
        try:
            yield stage, room
        finally:
            await room.disconnect()


def never(stage: Stage, seconds: float = HALF_AN_HOUR) -> None:
    """So much time passes, a minute at a time, and nothing trips."""
    for _ in range(int(seconds / 60)):
        stage.wait(60)
    assert stage.tripped == []


# -- must trip ----------------------------------------------------------------------------------


async def test_a_caller_who_says_nothing_to_the_second() -> None:
    async with on_the_line() as (stage, _), call():
        stage.wait(599)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == [SILENT]


async def test_a_phone_line_that_was_never_hung_up() -> None:
    """A SIP leg that stays: fails if a participant who came by phone is no caller."""
    async with on_the_line() as (stage, room), call():
        phone: Any = room.remote_participants["caller"]
        phone._info.kind = rtc.ParticipantKind.PARTICIPANT_KIND_SIP
        assert len(room_facts.callers(room)) == 1
        stage.wait(600)
        assert stage.tripped == [SILENT]
        assert stage.alone() == 0


async def test_genuine_speech_is_a_sign_of_life_and_noise_is_none() -> None:
    """Fails if every final counts: a line with a radio on it would stay for ever."""
    async with on_the_line(vad_misfire_mode="observe") as (stage, _), call() as c:
        stage.wait(500)
        await c.hear(final(HELLO))
        for _ in range(5):
            stage.wait(100)
            await c.hear(final("uh", 0.2))
        assert stage.tripped.count(SILENT) == 0
        stage.wait(100)
        assert stage.tripped.count(SILENT) == 1


async def test_what_the_application_asks_for_and_keys_are_signs_of_life() -> None:
    async with on_the_line() as (stage, room), call() as c:
        stage.wait(500)
        c.session.generate_reply(user_input="typed, not spoken")
        await settle()
        stage.wait(500)
        room.emit("sip_dtmf_received", SimpleNamespace(code=1, digit="1"))
        stage.wait(599)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == [SILENT]


async def test_what_livekit_asks_for_because_of_a_silence_is_none() -> None:
    """IVR detection asks after each silence, without end: fails if that keeps a dead line alive."""
    ivr = pytest.importorskip("livekit.agents.voice.ivr", reason="since 1.3")
    async with on_the_line() as (stage, _):
        c = Call(user_away_timeout=0.01)
        detection = ivr.IVRActivity(c.session, max_silence_duration=0.01)
        await detection.start()  # as a session does it, before the first state
        await c.start()
        await until(lambda: len(c.llm.calls) >= 3)
        stage.wait(599)
        assert stage.tripped == []
        await until(lambda: len(c.llm.calls) >= 6)
        stage.wait(1)
        assert stage.tripped == [SILENT]
        await detection.aclose()
        await c.session.aclose()


async def test_enforce_says_goodbye_closes_the_session_and_lets_the_job_go() -> None:
    goodbye = "Nobody seems to be there. Goodbye."
    async with on_the_line(Mode.ENFORCE, session_overrun_say=goodbye) as (stage, _):
        c = Call(voice=True)
        closed: list[Any] = []
        c.session.on("close", closed.append)
        await c.start()
        stage.wait(600)
        await until(lambda: bool(stage.asked))
        assert c.tts is not None
        assert " ".join(c.tts.said) == goodbye
        assert len(closed) == 1
        assert stage.asked == [f"runguard: {SILENT}"]


async def test_alone_after_a_transfer() -> None:
    """The caller was moved to a colleague's room; the agent was not."""
    async with on_the_line(Mode.ENFORCE) as (stage, _), call():
        await go(stage)
        stage.wait(29)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == [ALONE]
        await until(lambda: bool(stage.asked))
        assert stage.asked == [f"runguard: {ALONE}"]


async def test_a_caller_who_was_lost_counts_as_one_who_left() -> None:
    """Her process was killed: the server says so 21 s later, from when on the agent is alone."""
    async with on_the_line() as (stage, room), call():
        lost = SimpleNamespace(disconnect_reason=rtc.DisconnectReason.CONNECTION_TIMEOUT)
        room._remote_participants.clear()
        room.emit("participant_disconnected", lost)
        stage.wait(30)
        assert stage.tripped == [ALONE]
        watch = stage.guard.current()
        assert watch is not None
        watch.ending("room_gone")
        assert stage.services.ends == {"AJ_1": "alone"}  # says more than that she was lost


class Stays(Agent):
    """Never exits."""

    async def on_exit(self) -> None:
        await asyncio.sleep(3600)


async def closing_for_ever() -> asyncio.Task[None]:
    """A session that has begun to close."""
    c = Call(agent=Stays(instructions="Be brief."))
    await c.start()
    closing = asyncio.create_task(c.session.aclose())
    await settle()
    assert not closing.done()
    return closing


waits_for_on_exit = pytest.mark.skipif(
    not since(1, 1), reason="1.0 closes without waiting for on_exit"
)


@waits_for_on_exit
async def test_a_session_that_never_closes() -> None:
    """Fails if only the job's end is watched: another participant may keep the room."""
    async with on_the_line(Mode.ENFORCE) as (stage, _):
        closing = await closing_for_ever()
        stage.wait(29)
        assert stage.tripped == []
        await asyncio.to_thread(stage.wait, 1)
        assert stage.tripped == [HUNG]
        assert stage.lifecycle.outcomes == ["hung"]
        closing.cancel()


@waits_for_on_exit
@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ENFORCE])
async def test_a_session_that_hangs_when_its_job_is_asked_to_end_a_second_later(mode: Mode) -> None:
    """One hang: fails if the job is said to have hung once more, or not to have hung at all."""
    async with on_the_line(mode) as (stage, _):
        closing = await closing_for_ever()
        stage.wait(1)
        watch = stage.guard.current()
        assert watch is not None
        watch.ending("asked")
        await asyncio.to_thread(stage.wait, 29)
        assert stage.tripped == [HUNG]
        assert stage.services.ends == {"AJ_1": "hung"}
        assert stage.lifecycle.outcomes == (["hung"] if mode is Mode.ENFORCE else [])
        await asyncio.to_thread(stage.wait, 31)
        assert stage.tripped == [HUNG]
        assert stage.recorder.open_guards["session_overrun"] == 1
        closing.cancel()
        await settle()
        watch.over()
        assert stage.recorder.open_guards["session_overrun"] == 0


async def test_a_session_older_than_it_may_get() -> None:
    async with on_the_line(Mode.ENFORCE, session_overrun_session_seconds=900) as (stage, _):
        async with call() as c:
            for _ in range(3):
                stage.wait(299)
                await c.hear(final(HELLO))
            assert stage.tripped == []
            stage.wait(3)
            assert stage.tripped == [OLD]
            await until(lambda: bool(stage.asked))
        assert stage.asked == [f"runguard: {OLD}"]


async def test_a_realtime_model_that_hears_nobody() -> None:
    """It has no recogniser of its own: what it understood is the sign of life."""
    async with on_the_line() as (stage, _), realtime_call(ScriptedRealtimeModel()) as c:
        stage.wait(500)
        await c.hear(Heard(HELLO))
        await c.quiet()
        stage.wait(599)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == [SILENT]


async def test_two_sessions_of_one_job_are_heard_by_each_other() -> None:
    """Fails if silence is measured per session, or if one that closed takes the other along."""
    async with on_the_line() as (stage, _), call() as first:
        async with call() as second:
            for c in (first, second, first, second):
                stage.wait(400)
                await c.hear(final(HELLO))
            assert stage.tripped == []
        stage.wait(599)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == [SILENT]
    kinds = [name for name, _, _ in stage.recorder.values if name.startswith("runguard.session")]
    assert kinds.count("runguard.session.duration") == kinds.count("runguard.session.idle") == 2


async def test_how_long_it_lasted_and_how_long_nothing_was_said_are_measured() -> None:
    async with on_the_line() as (stage, _), call() as c:
        stage.wait(40)
        await c.hear(final(HELLO))
        stage.wait(15)
    values = {name: value for name, value, _ in stage.recorder.values}
    assert values["runguard.session.duration"] == 55
    assert values["runguard.session.idle"] == 40


# -- must never trip ----------------------------------------------------------------------------


async def test_outbound_dialling_has_two_minutes() -> None:
    """Fails if an agent that dials has the time of one whose caller left."""
    with on_stage() as stage:
        room = await connected(stage)
        async with call() as c:
            stage.wait(119)
            await come(stage, "callee")
            stage.server.publish("lobby", "callee")
            await stage.server.settle()
            await c.hear(final(HELLO))
            never(stage, 540)
        await room.disconnect()


async def test_a_room_that_was_opened_ahead_of_time() -> None:
    with on_stage(session_overrun_unmet_seconds=3600) as stage:
        room = await connected(stage)
        never(stage, 3540)
        await room.disconnect()


async def test_hold_and_push_to_talk_switch_the_microphone_off() -> None:
    async with on_the_line() as (stage, _), call() as c:
        c.session.input.set_audio_enabled(False)
        never(stage)
        c.session.input.set_audio_enabled(True)
        await c.hear(final(HELLO))
        never(stage, 540)


async def test_a_caller_who_muted_herself_cannot_say_anything() -> None:
    async with on_the_line(speaks=False) as (stage, _), call():
        never(stage)


async def test_a_warm_transfer_with_busy_colleagues() -> None:
    """Fails if one room without a caller is enough: the job is connected to both."""
    async with on_the_line() as (stage, _), call() as c:
        for n in range(4):
            other = await connected(stage, f"colleague-{n}")
            stage.wait(45)
            await other.disconnect()
            await c.hear(final(HELLO))
        never(stage, 540)


async def test_who_listens_only_is_silent_by_design() -> None:
    """A session without a model that answers: a scribe, a moderator, a recorder."""
    async with on_the_line() as (stage, _):
        c = Call()
        c.session._llm = None
        await c.start()
        never(stage, 3 * 3600)
        await c.session.aclose()


async def test_a_text_chat_has_no_microphone() -> None:
    async with on_the_line() as (stage, _):
        c = Call()
        c.session.input.audio = None
        await c.session.start(c.agent)
        never(stage)
        await c.session.aclose()


async def test_an_avatar_is_no_caller_and_keeps_nobody_from_being_one() -> None:
    async with on_the_line() as (stage, room), call() as c:
        await come(stage, "avatar")
        avatar: Any = room.remote_participants["avatar"]
        avatar._info.attributes["lk.publish_on_behalf"] = "agent"
        room.emit("participant_attributes_changed", {}, avatar)
        assert len(room_facts.callers(room)) == 1
        for _ in range(6):
            await c.hear(final(HELLO))
            never(stage, 300)


async def test_an_avatar_worker_and_a_recorder_have_no_session() -> None:
    """Callers are there, nobody of ours would answer them, for five hours."""
    async with on_the_line() as (stage, _):
        never(stage, 5 * 3600)


async def test_a_translator_whose_listener_never_speaks() -> None:
    async with on_the_line() as (stage, _), call() as speaker, call():
        await come(stage, "listener")
        stage.server.publish("lobby", "listener")
        await stage.server.settle()
        for _ in range(20):
            await speaker.hear(final(HELLO))
            never(stage, 240)


async def test_a_drain_of_twenty_jobs() -> None:
    """Each says goodbye, writes its summary, and is gone: fails if an end is an overrun."""
    with on_stage(Mode.ENFORCE) as stage:
        loop = asyncio.get_running_loop()
        asked = [loop.create_future() for _ in range(20)]
        summaries = asyncio.Event()
        jobs = []
        for n, future in enumerate(asked):
            job = SimpleNamespace(**{**vars(stage.job), "job": SimpleNamespace(id=f"AJ_{n}")})
            proc: Any = SimpleNamespace(_job_ctx=job, _shutdown_fut=future)

            async def host(future: asyncio.Future[Any] = future) -> None:
                await future
                await summaries.wait()

            jobs.append(asyncio.create_task(stage.guard.run_job(host, proc, (), {})))
        await asyncio.sleep(0)
        stage.wait(600)
        for future in asked:
            future.set_result(SimpleNamespace(reason="draining"))
        await asyncio.sleep(0)
        stage.wait(29)
        summaries.set()
        await asyncio.gather(*jobs)
        never(stage)
        assert stage.lifecycle.outcomes == []


async def test_a_rehearsal_in_the_console_is_not_watched() -> None:
    with on_stage(session_overrun_session_seconds=600) as stage:
        stage.job.is_fake_job = lambda: True
        async with call():
            never(stage)
