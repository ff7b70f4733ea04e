"""The gauge of open STT streams and the audio that goes into them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.models import model_names
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage import hooks, streams
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.settings import Settings
from runguard_otel.testing import recording
from runguard_otel.testing.listening import ScriptedSTT
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit

LABELS = {"provider": "scripted", "model": "scripted-stt"}


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    services = Services(Settings.load(), MemoryRecorder())
    patches = PatchSet(hooks.patches(services))
    patches.install()
    recorder = services.recorder
    assert isinstance(recorder, MemoryRecorder)
    yield recorder
    patches.undo()


def frame(seconds: float) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(16_000, 1, int(16_000 * seconds))


async def test_the_gauge_follows_streams_however_they_end(recorder: MemoryRecorder) -> None:
    model = ScriptedSTT()
    opened = [model.stream() for _ in range(3)]
    assert recorder.count("runguard.stt.streams", **LABELS) == 3
    opened[0].end_input()
    await asyncio.wait({opened[0]._task})
    await opened[1].aclose()
    opened[2]._task.cancel()
    await asyncio.wait({opened[2]._task})
    await asyncio.sleep(0)
    assert recorder.count("runguard.stt.streams", **LABELS) == 0
    for stream in opened:
        await stream.aclose()


async def test_audio_is_reported_within_a_second_and_to_the_last_frame(
    recorder: MemoryRecorder,
) -> None:
    stream = ScriptedSTT().stream()
    for _ in range(150):
        stream.push_frame(frame(0.01))
    assert recorder.count("runguard.stt.audio", **LABELS) == 0
    await asyncio.sleep(streams.REPORT_SECONDS + 0.1)
    assert recorder.count("runguard.stt.audio", **LABELS) == pytest.approx(1.5)
    stream.push_frame(frame(0.25))
    await stream.aclose()
    await asyncio.sleep(0)
    assert recorder.count("runguard.stt.audio", **LABELS) == pytest.approx(1.75)


async def test_a_job_that_leaves_a_stream_open_has_its_audio_to_the_last_frame() -> None:
    with recording() as seen:
        stream = ScriptedSTT().stream()
        for _ in range(6000):  # a recording, pushed at once
            stream.push_frame(frame(0.01))
    assert seen.counted("runguard.stt.audio") == pytest.approx(60)
    await stream.aclose()


async def test_a_stream_outlives_the_hooks_and_is_met_anew_by_the_next_ones() -> None:
    model = ScriptedSTT()
    with recording() as before:
        stream = model.stream()
        stream.push_frame(frame(0.5))
    stream.push_frame(frame(8.0))  # nobody listens
    with recording() as after:
        stream.push_frame(frame(0.25))
        assert after.counted("runguard.stt.streams") == 1
        await stream.aclose()
        await asyncio.sleep(streams.REPORT_SECONDS + 0.1)
    assert before.counted("runguard.stt.audio") == pytest.approx(0.5)
    assert after.counted("runguard.stt.audio") == pytest.approx(0.25)


async def test_the_streams_of_adapters_are_not_counted_beside_the_real_ones(
    recorder: MemoryRecorder,
) -> None:
    model = ScriptedSTT()
    adapters = [stt.FallbackAdapter([model]), stt.StreamAdapter(stt=model, vad=ScriptedVAD())]
    opened = [adapter.stream() for adapter in adapters]
    await asyncio.sleep(0.01)
    assert recorder.count("runguard.stt.streams") == len(model.streams) == 1
    for stream in [*opened, *model.streams]:
        await stream.aclose()


async def test_an_error_of_push_frame_passes_and_counts_no_audio(recorder: MemoryRecorder) -> None:
    stream = ScriptedSTT().stream()
    stream.push_frame(frame(0.5))
    with pytest.raises(ValueError, match="sample rate"):
        stream.push_frame(rtc.AudioFrame.create(48_000, 1, 480))
    await stream.aclose()
    with pytest.raises(RuntimeError, match=r"ended|closed"):
        stream.push_frame(frame(0.5))
    await asyncio.sleep(0)
    assert recorder.count("runguard.stt.audio", **LABELS) == pytest.approx(0.5)


async def test_a_failure_of_our_own_is_counted_and_the_stream_works(
    recorder: MemoryRecorder,
) -> None:
    recorder.tolerant = True
    with mock.patch.object(streams, "model_names", side_effect=TypeError("ours")):
        stream = ScriptedSTT().stream()
    stream.push_frame(frame(0.5))
    await stream.aclose()
    assert [where for where, _ in recorder.errors] == ["RecognizeStream.__init__"]


async def test_a_failure_that_lasts_is_told_once_per_stream(recorder: MemoryRecorder) -> None:
    recorder.tolerant = True
    with mock.patch.object(streams, "model_names", side_effect=TypeError("ours")):
        stream = ScriptedSTT().stream()
        for _ in range(10):
            stream.push_frame(frame(0.1))
    await stream.aclose()
    assert [where for where, _ in recorder.errors] == ["RecognizeStream.__init__"]


async def test_a_frame_we_cannot_measure_is_our_problem_alone(recorder: MemoryRecorder) -> None:
    class OddFrame:
        sample_rate = 16_000  # all that the stream itself asks for

    recorder.tolerant = True
    stream = ScriptedSTT().stream()
    stream.push_frame(OddFrame())  # type: ignore[arg-type]
    assert [where for where, _ in recorder.errors] == ["RecognizeStream.push_frame"]
    await stream.aclose()


def test_a_model_that_does_not_say_who_it_is_is_named_by_its_plugin() -> None:
    kind: Any = type("STT", (), {"__module__": "livekit.plugins.deepgram.stt"})
    assert model_names(kind()) == ("deepgram", "unknown")
    assert model_names(object()) == ("unknown", "unknown")
    assert model_names(ScriptedSTT()) == ("scripted", "scripted-stt")
