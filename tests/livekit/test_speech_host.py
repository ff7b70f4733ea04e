"""The speech adapter's promises to the host: errors pass, ours never do, everything comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from livekit.agents import AgentSession, stt, tts
from livekit.agents.llm import RealtimeSession
from livekit.agents.stt.fallback_adapter import FallbackRecognizeStream
from livekit.agents.stt.stream_adapter import StreamAdapterWrapper
from livekit.agents.voice.agent_activity import AgentActivity
from livekit.agents.voice.audio_recognition import AudioRecognition
from livekit.agents.voice.io import AgentInput

from bench.opcodes import Opcodes
from runguard_otel.core.guards.echo import EchoMemory
from runguard_otel.core.guards.misfire import MisfireGuard
from runguard_otel.testing.calls import call
from runguard_otel.testing.models import ScriptedBatchSTT, ScriptedLLM, ScriptedSTT, final
from runguard_otel.testing.waiting import settle, until
from tests.kit.recorder import MemoryRecorder
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit

TARGETS: list[tuple[type, str]] = [
    (AudioRecognition, "_on_stt_event"),
    (AudioRecognition, "_on_vad_event"),
    (AgentActivity, "on_end_of_turn"),
    (StreamAdapterWrapper, "_run"),
    (FallbackRecognizeStream, "_try_recovery"),
    (stt.STT, "recognize"),
    (tts.SynthesizeStream, "push_text"),
    (tts.ChunkedStream, "__init__"),
    (AgentSession, "start"),
    (AgentSession, "_update_agent_state"),
    (AgentInput, "set_audio_enabled"),
    (AgentActivity, "_on_input_audio_transcription_completed"),
    (AgentActivity, "_on_generation_created"),
    (AgentActivity, "_on_input_speech_started"),
    (RealtimeSession, "__init__"),
    (AgentActivity, "_schedule_speech"),
    (AgentSession, "_conversation_item_added"),
    (AgentSession, "_aclose_impl"),
]


def test_every_target_exists_here_and_is_given_back_identically() -> None:
    before = [vars(owner)[name] for owner, name in TARGETS]
    with Guarded() as guarded:
        reports = guarded.patches.reports
        assert [r.name for r in reports if r.state != "installed"] == []
        assert {r.name for r in reports} == {f"{o.__name__}.{n}" for o, n in TARGETS}
        assert all(vars(o)[n] is not raw for (o, n), raw in zip(TARGETS, before, strict=True))
    assert [vars(owner)[name] for owner, name in TARGETS] == before


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("ours is broken")


@pytest.mark.parametrize(
    ("owner", "name", "where"),
    [
        (MisfireGuard, "on_final", "AudioRecognition._on_stt_event"),
        (EchoMemory, "feed", "SynthesizeStream.push_text"),
        (EchoMemory, "started", "AgentSession._update_agent_state"),
    ],
)
async def test_our_own_failure_leaves_the_call_untouched_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, where: str
) -> None:
    monkeypatch.setattr(owner, name, boom)
    with Guarded(recorder=MemoryRecorder(tolerant=True)) as guarded:
        async with call(voice=True) as c:
            await c.hear(final("uh", 0.05))
            await c.hear(final("a table for two"))
            assert c.asked[-1] == "a table for two"
            await until(lambda: c.tts is not None and "Of course." in c.tts.said)
            await until(lambda: not c.speaking)
    assert where in [place for place, _ in guarded.recorder.errors]
    if owner is MisfireGuard:
        assert "uh" in c.asked[0], "as without us"


async def test_a_session_that_does_not_start_raises_its_own_error() -> None:
    with Guarded():
        session: AgentSession[None] = AgentSession(llm=ScriptedLLM())
        with pytest.raises((TypeError, AttributeError)):
            await session.start(None)  # type: ignore[call-overload]  # the mistake under test


async def test_cancelling_a_request_cancels_it() -> None:
    entered = asyncio.Event()

    class Slow(ScriptedBatchSTT):
        async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

    with Guarded() as guarded:
        async with call(recogniser=Slow([])) as c:
            c.vad.start_of_speech()
            await settle(30)
            c.vad.end_of_speech()
            await asyncio.wait_for(entered.wait(), 5)
    assert not guarded.recorder.errors, "closing the session cancelled the request, unharmed"


async def test_a_running_session_goes_on_as_stock_after_we_left() -> None:
    guarded = Guarded()
    with guarded:
        running = call()
        c = await running.__aenter__()
        await c.hear(final("uh", 0.05))
        assert c.asked == []
    await c.hear(final("uh", 0.05))
    assert c.asked == ["uh"]
    await running.__aexit__(None, None, None)
    assert len(guarded.recorder.events) == 1


async def test_a_session_that_began_before_us_is_guarded_from_its_next_result_on() -> None:
    async with call() as c:
        with Guarded() as guarded:
            await c.hear(final("uh", 0.05))
            assert c.asked == []
    assert guarded.kinds == ["low_confidence"]


async def test_with_a_realtime_model_nothing_is_suppressed_or_vetoed() -> None:
    """Its transcripts are subtitles, and its turns never have text."""
    with Guarded() as guarded:
        async with call() as c:
            activity: Any = c.session._activity
            activity._rt_session = mock.MagicMock()
            turn = SimpleNamespace(new_transcript="", skip_reply=False, transcript_confidence=None)
            try:
                await c.hear(final("uh", 0.05))
                assert c.transcribed == ["uh"]
                for _ in range(5):
                    await c.hear(final("", 0.0))
                activity._new_turns_blocked = activity._draining = activity._scheduling_paused = (
                    True  # as far as an empty turn gets without a model
                )
                activity.on_end_of_turn(turn)
                vetoed = [turn.skip_reply]
                activity._rt_session = None
                activity.on_end_of_turn(turn)
                vetoed.append(turn.skip_reply)
                assert vetoed == [False, True]
            finally:
                activity._rt_session = None
                activity._new_turns_blocked = activity._draining = False
                activity._scheduling_paused = False
            assert c.vad.thresholds == (0.5, 0.35)
    assert set(guarded.outcomes) == {"observed"}
    assert [t.action for t in guarded.recorder.trips] == ["none"]


async def test_a_result_is_judged_in_few_steps() -> None:
    """Our part of the final-result path, in bytecodes: they are the same on a busy machine."""
    counted, results = Counter[str](), 20
    with Guarded():
        async with call(turn_detection="manual") as c:
            assert isinstance(c.stt, ScriptedSTT)
            for count in (False, True):
                with Opcodes(counted) if count else nullcontext():
                    for _ in range(results):
                        c.stt.send(final("a table for two at eight please"))
                        await settle(20)
    ours = ("runguard_otel/adapters/", "runguard_otel/core/")
    steps = sum(n for name, n in counted.items() if name.startswith(ours)) / results
    print(f"final-result path: {steps:,.0f} bytecodes")
    assert 500 < steps < 2_000
