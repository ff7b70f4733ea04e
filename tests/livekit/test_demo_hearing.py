"""The clips of the demonstration are what they are meant to be, to the real detectors."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import stt

from runguard_otel.demo.clips import Cue, Soundtrack
from runguard_otel.demo.recogniser import Recogniser, confidence_of

pytestmark = pytest.mark.livekit

pytest.importorskip("pocketsphinx")
inference = pytest.importorskip("livekit.agents.inference")
if not hasattr(inference, "VAD"):
    pytest.skip("this livekit-agents does not ship a voice detector", allow_module_level=True)

SURE = {
    "guest_book": "i would like to book a table for two",
    "guest_reserve": "can i reserve a table for four tonight",
    "echo_booked": "your table for two is booked for eight o clock",
}
UNSURE = ("echo_again", "chatter_salt", "chatter_thursday", "chatter_coming")
BELOW_THE_FLOOR = ("chatter_yeah",)
BLANK = ("office_babble", "chatter_radio")
ALL = (*SURE, *UNSURE, *BELOW_THE_FLOOR, *BLANK)


async def recognised(ear: Recogniser, clip: str) -> list[tuple[str, float]]:
    stream = ear.stream()
    for _, frame in Soundtrack([Cue(0.6, clip, "")], seconds=5.0).frames():
        stream.push_frame(frame)
    stream.end_input()
    return [
        (event.alternatives[0].text, event.alternatives[0].confidence)
        async for event in stream
        if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT
    ]


async def test_the_recogniser_is_sure_unsure_or_hears_nothing_as_the_storm_needs_it() -> None:
    ear = Recogniser()
    for clip, words in SURE.items():
        ((text, confidence),) = await recognised(ear, clip)
        assert text.startswith(words)
        assert confidence >= 0.6, clip
    for clip in UNSURE:
        ((text, confidence),) = await recognised(ear, clip)
        assert text
        assert 0.3 <= confidence < 0.6, clip
    for clip in BELOW_THE_FLOOR:
        ((text, confidence),) = await recognised(ear, clip)
        assert text
        assert 0 < confidence < 0.3, clip
    for clip in BLANK:
        assert await recognised(ear, clip) == [("", 0.0)], clip
    await ear.aclose()


@pytest.mark.parametrize("clip", ALL)
async def test_the_voice_detector_takes_every_clip_for_speech(clip: str) -> None:
    stream = inference.VAD().stream()
    for _, frame in Soundtrack([Cue(0.6, clip, "")], seconds=5.0).frames():
        stream.push_frame(frame)
    stream.end_input()
    heard = [event.type.value async for event in stream]
    assert "start_of_speech" in heard
    assert "end_of_speech" in heard


async def test_open_seconds_stop_when_a_stream_is_closed() -> None:
    ear = Recogniser()
    stream = ear.stream()
    await asyncio.sleep(0)
    await stream.aclose()
    await asyncio.sleep(0)
    once = ear.open_seconds
    await asyncio.sleep(0.01)
    assert ear.open_seconds == once
    await ear.aclose()


def test_a_soundtrack_is_the_same_every_time() -> None:
    def samples() -> list[bytes]:
        track = Soundtrack([Cue(0.1, "chatter_yeah", "")], seconds=1.0)
        return [bytes(frame.data) for _, frame in track.frames()]

    assert samples() == samples()
    assert len(samples()) == 50


def test_confidence_compares_long_and_short_sentences() -> None:
    assert confidence_of(0.5**8, 8) == confidence_of(0.5, 1) == 0.5
    assert confidence_of(0.0, 3) == confidence_of(0.5, 0) == 0.0
