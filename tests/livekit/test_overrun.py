"""Real rooms, jobs, sessions and recogniser streams tell the guard what happens; clocks jump."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, stt

from runguard_otel.adapters.livekit.facts import room as room_facts
from runguard_otel.adapters.livekit.overrun.hooks import patches
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings
from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.waiting import until
from tests.kit.overrun import Stage, come, connected, go, on_stage
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit

ALONE, HUNG, RECONNECT = (
    "session_overrun:agent_alone",
    "session_overrun:close_hung",
    "session_overrun:stt_reconnect",
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with on_stage() as made:
        yield made


@pytest.fixture
def enforced() -> Iterator[Stage]:
    with on_stage(Mode.ENFORCE) as made:
        yield made


async def test_a_caller_who_never_comes(stage: Stage) -> None:
    room = await connected(stage)
    assert stage.alone() == 1
    stage.wait(119)
    assert stage.tripped == []
    stage.wait(1)
    assert stage.tripped == [ALONE]
    assert stage.services.ends == {"AJ_1": "alone"}
    assert stage.recorder.open_guards["session_overrun"] == 1
    stage.wait(600)
    await room.disconnect()
    assert stage.alone() == 0
    assert stage.recorder.open_guards["session_overrun"] == 0


async def test_a_caller_who_leaves_and_one_who_comes_back_in_time(stage: Stage) -> None:
    room = await connected(stage)
    await come(stage, "caller")
    assert stage.alone() == 0
    for seconds in (29, 31):
        await go(stage, "caller")
        assert stage.alone() == 1
        stage.wait(seconds)
        await come(stage, "caller")
    assert stage.tripped == [ALONE]
    await room.disconnect()


async def test_a_second_room_with_a_caller_is_company(stage: Stage) -> None:
    """Fails if each room is judged alone."""
    first = await connected(stage)
    await come(stage, "caller")
    second = await connected(stage, "lobby-human-agent")
    stage.wait(600)
    assert stage.tripped == []
    await second.disconnect()
    await first.disconnect()


async def test_enforce_asks_the_job_to_shut_down_from_another_thread(enforced: Stage) -> None:
    room = await connected(enforced)
    enforced.wait(120)
    await until(lambda: bool(enforced.asked))
    assert enforced.asked == [f"runguard: {ALONE}"]
    await room.disconnect()


async def test_a_script_without_a_job_leaves_its_room(enforced: Stage) -> None:
    enforced.job = None  # type: ignore[assignment]
    room = await connected(enforced)
    enforced.wait(120)
    await until(lambda: not room.isconnected())


async def test_a_rehearsal_is_not_watched(stage: Stage) -> None:
    stage.job.is_fake_job = lambda: True
    room = await connected(stage)
    stage.wait(10_000)
    assert (stage.alone(), stage.tripped) == (0, [])
    await room.disconnect()


def participant(kind: int, **attributes: str) -> Any:
    return SimpleNamespace(kind=kind, attributes=attributes, track_publications={})


@pytest.mark.parametrize(
    ("who", "counts"),
    [
        (participant(rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD), True),
        (participant(rtc.ParticipantKind.PARTICIPANT_KIND_SIP), True),
        (participant(rtc.ParticipantKind.PARTICIPANT_KIND_AGENT), False),
        (participant(rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS), False),
        (participant(rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS), False),
        (participant(99), True),
        (participant(0, **{"lk.publish_on_behalf": "agent"}), False),
        (participant(0, **{"lk.agent.state": "listening"}), False),
    ],
)
def test_who_is_a_caller(who: Any, counts: bool) -> None:
    room = SimpleNamespace(remote_participants={"x": who})
    assert bool(room_facts.callers(room)) is counts


def test_a_muted_microphone_cannot_be_heard() -> None:
    caller = participant(0)
    room = SimpleNamespace(remote_participants={"x": caller})
    assert not room_facts.hears_caller(room)
    caller.track_publications["m"] = SimpleNamespace(muted=True, kind=1)
    assert not room_facts.hears_caller(room)
    caller.track_publications["m"].muted = False
    assert room_facts.hears_caller(room)
    caller.track_publications["m"].kind = 2  # video
    assert not room_facts.hears_caller(room)


async def test_a_lost_caller_is_told_from_one_who_hung_up() -> None:
    lost = SimpleNamespace(disconnect_reason=rtc.DisconnectReason.CONNECTION_TIMEOUT)
    hung_up = SimpleNamespace(disconnect_reason=rtc.DisconnectReason.CLIENT_INITIATED)
    assert room_facts.left_unwillingly(lost)
    assert not room_facts.left_unwillingly(hung_up)
    assert not room_facts.left_unwillingly(SimpleNamespace(disconnect_reason=None))


async def run_job(stage: Stage, future: asyncio.Future[Any], callback: asyncio.Event) -> None:
    """As much of ``_JobProc._run_job_task`` as the guard wraps: ends with the last callback."""
    job_proc: Any = SimpleNamespace(_job_ctx=stage.job, _shutdown_fut=future)

    async def host() -> None:
        await future
        await callback.wait()

    await stage.guard.run_job(host, job_proc, (), {})


async def test_a_job_that_was_asked_to_end_and_has_not(enforced: Stage) -> None:
    """A shutdown callback that never returns: its worker is told to end the process."""
    asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    returned = asyncio.Event()
    running = asyncio.create_task(run_job(enforced, asked, returned))
    room = await connected(enforced)
    await come(enforced, "caller")
    asked.set_result(SimpleNamespace(reason="user requested"))
    await asyncio.sleep(0)
    await room.disconnect()
    enforced.wait(29)
    assert enforced.tripped == []
    await asyncio.to_thread(enforced.wait, 1)
    assert enforced.tripped == [HUNG]
    assert enforced.lifecycle.outcomes == ["hung"]
    assert enforced.services.ends == {"AJ_1": "hung"}
    returned.set()
    await running
    assert enforced.recorder.open_guards["session_overrun"] == 0


async def test_a_blocked_loop_hides_nothing(enforced: Stage) -> None:
    """The watch is a thread's: fails if it asks the loop, which never answers again."""
    asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run_job(enforced, asked, asyncio.Event()))
    await asyncio.sleep(0)
    asked.set_result(SimpleNamespace(reason="user requested"))
    await asyncio.sleep(0)
    enforced.wait(30)  # in this very thread: the loop runs nothing meanwhile
    assert enforced.lifecycle.outcomes == ["hung"]
    running.cancel()


class FlakyStream(stt.RecognizeStream):
    async def _run(self) -> None:
        model: Any = self._stt
        model.connections += 1
        if model.connections > 40:
            await asyncio.sleep(3600)
        raise APIConnectionError("closed by the provider")


class FlakySTT(ScriptedSTT):
    """A provider that closes each connection at once."""

    connections = 0

    def stream(self, **_: Any) -> stt.RecognizeStream:
        return FlakyStream(stt=self, conn_options=OFTEN)


OFTEN = APIConnectOptions(max_retry=100, retry_interval=0.0, timeout=10)


@pytest.fixture
async def flaky() -> AsyncIterator[FlakySTT]:
    model = FlakySTT()
    with mock.patch.object(APIConnectOptions, "_interval_for_retry", lambda *_: 0.0):
        yield model


async def test_a_provider_that_closes_again_and_again_is_seen(
    stage: Stage, flaky: FlakySTT
) -> None:
    stream = flaky.stream()
    await until(lambda: flaky.connections > 40)
    assert stage.tripped == [RECONNECT]
    assert stage.recorder.trips[0].count == 5
    assert stage.recorder.count("runguard.jobs.alone") == 0
    await stream.aclose()
    await asyncio.sleep(0)
    assert stage.recorder.open_guards["session_overrun"] == 0


async def test_enforce_fails_the_stream_as_its_provider_would(
    enforced: Stage, flaky: FlakySTT
) -> None:
    errors: list[Any] = []
    flaky.on("error", errors.append)
    stream = flaky.stream()
    with pytest.raises(APIConnectionError, match="runguard"):
        async for _ in stream:
            pass
    assert flaky.connections <= 5
    assert enforced.tripped == [RECONNECT]
    assert [e.recoverable for e in errors][-1] is False
    await stream.aclose()


async def test_a_fallback_adapter_moves_on(enforced: Stage, flaky: FlakySTT) -> None:
    sound = ScriptedSTT()
    stream = stt.FallbackAdapter([flaky, sound], max_retry_per_stt=100).stream()
    await until(lambda: bool(sound.streams))
    heard: list[str] = []

    async def listen() -> None:
        async for event in stream:
            heard.extend(a.text for a in event.alternatives)

    listening = asyncio.create_task(listen())
    sound.send(final("a table for two"))
    await until(lambda: "a table for two" in heard)
    # The adapter tries the first one again from time to time: each such stream is ended, too.
    assert set(enforced.tripped) == {RECONNECT}
    listening.cancel()
    await stream.aclose()


async def test_genuine_words_of_a_stream_are_a_sign_of_life(stage: Stage) -> None:
    model = ScriptedSTT()
    stream = model.stream()
    async with aclosing(stream):
        watch = stage.guard.current()
        assert watch is not None
        before = watch.policy._active
        stage.now += 5
        model.send(final("hello"))
        assert (await stream.__anext__()).alternatives[0].text == "hello"
        assert watch.policy._active == before + 5
        stage.now += 5
        model.send(final("", 0.0))
        await stream.__anext__()
        assert watch.policy._active == before + 5


def test_off_touches_nothing() -> None:
    services = Services(Settings.load(session_overrun_mode="off"), MemoryRecorder())
    assert patches(services) == []
