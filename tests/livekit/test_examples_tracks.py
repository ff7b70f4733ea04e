"""The examples that handle tracks themselves, as written: healthy, and in a storm off and on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import llm

from runguard_otel.testing.models import final
from runguard_otel.testing.stage import ROOM
from runguard_otel.testing.waiting import settle, until
from tests.kit.outcomes import Outcomes
from tests.kit.playing import CALLER, Show, example, playing

pytestmark = pytest.mark.livekit

CAMERA = rtc.TrackSource.SOURCE_CAMERA
SCREEN = rtc.TrackSource.SOURCE_SCREENSHARE


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes("Examples: tracks", "example", "storm", "counted", "off", "on")
    yield from table.printed(request)


def translations(show: Show) -> list[str]:
    return [text for topic, text in show.stage.texts if topic == "translation"]


async def interpreted(monkeypatch: pytest.MonkeyPatch, guards: bool, flaps: int) -> Show:
    """Alice and Bob speak; Alice's phone flaps, if it does, and she speaks again each time."""
    module = example("translator")
    with playing(monkeypatch, guards=guards, cost_plan="ship") as show:
        show.answer = "une table pour deux"
        async with show.job(module):
            await settle()
            for n, who in enumerate(("alice", "bob"), start=1):
                await show.enter(who)
                await show.ready(streams=n)
            (model,) = show.stts
            alice, bob = model.streams
            alice.say(final("a table for two"))
            bob.say(final("for two of us"))
            await until(lambda: len(translations(show)) == 2)
            for n in range(flaps):
                await show.flap("alice")
                await settle()
                stream = alice if guards else model.streams[-1]
                stream.say(final(f"sentence {n}"))
                await until(lambda: len(translations(show)) == 3 + n)  # noqa: B023
            await until(lambda: len(show.said) == 2 + flaps)
            await settle()
        return show


async def test_translator(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """A stream per participant is no cascade; a phone that flaps keeps its stream."""
    show = await interpreted(monkeypatch, guards=True, flaps=0)
    show.healthy()
    assert show.stage.published == ["translation"]
    assert show.asked == ["a table for two", "for two of us"]
    assert show.counted("runguard.track.subscriptions", subscription="opened") == 2
    spoken = show.voices[0].characters
    tts = show.counted("runguard.cost.estimated", component="tts", model="cartesia/sonic-3")
    assert tts == pytest.approx(spoken * 50e-6), "requests outside of a session are on the bill"
    assert show.counted("runguard.cost.estimated", component="llm") == pytest.approx(
        show.tokens_usd()
    )
    off = await interpreted(monkeypatch, guards=False, flaps=5)
    on = await interpreted(monkeypatch, guards=True, flaps=5)
    counts = [str(show.streams) for show in (off, on)]
    outcomes.add("translator", "5 flaps, 2 people", "STT streams", *counts)
    assert counts == ["7", "2"]
    assert len(translations(on)) == len(translations(off)) == 7, "nothing said was lost"
    assert on.trips == [], "each track's stream is told its end: none is left open"
    assert on.counted("runguard.track.subscriptions", subscription="reused") == 5
    reused = [s for s in on.spans("runguard.track_subscribe") if s["runguard.outcome"] == "reused"]
    assert {s["lk.pii.participant_identity"] for s in reused} == {"alice"}
    assert {s["runguard.source"] for s in reused} == {"microphone"}


async def test_translator_in_noise_asks_its_llm_about_speech_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = example("translator")
    with playing(monkeypatch) as show:
        async with show.job(module):
            await settle()
            await show.enter()
            await show.ready()
            for _ in range(8):
                show.stts[0].send(final("", 0.0))
                show.stts[0].send(final("uh", 0.1))
            show.stts[0].send(final("a table for two"))
            await until(lambda: len(translations(show)) == 1)
    assert show.asked == ["a table for two"]
    assert sum(r.name == "translator" for r in caplog.records) == 1, "one line per storm"


async def watched(monkeypatch: pytest.MonkeyPatch, guards: bool, flaps: int) -> tuple[Show, Any]:
    """A caller with microphone, camera and screen; the camera flaps, if it does."""
    module = example("video")
    contexts: list[llm.ChatContext] = []
    with playing(monkeypatch, guards=guards) as show:
        async with show.job(module):
            await show.enter()
            await show.ready()
            show.llms[0].seen = contexts
            screen = show.stage.publish(ROOM, CALLER, SCREEN)
            await show.stage.settle()
            camera = show.stage.publish(ROOM, CALLER, CAMERA)
            for _ in range(flaps):
                show.stage.unpublish(camera)
                await show.stage.settle()
                camera = show.stage.publish(ROOM, CALLER, CAMERA)
                await show.stage.settle()
            await show.stage.settle()
            for sid in (screen, camera):
                show.stage.push_video(sid)
            await settle()
            await show.hear("what do you see")
            await show.quiet()
        return show, contexts


async def test_video(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """Cameras are counted apart from microphones, share no STT stream, and are left alone."""
    show, contexts = await watched(monkeypatch, guards=True, flaps=0)
    show.healthy()
    pictures = [
        part
        for item in contexts[-1].items
        for part in getattr(item, "content", [])
        if isinstance(part, llm.ImageContent)
    ]
    assert len(pictures) == 1, "the LLM sees what the camera sees"
    for source in ("microphone", "camera", "screenshare"):
        assert show.counted("runguard.track.subscriptions", source=source) == 1
    assert show.stage.cameras == {}, "the example closed its streams of frames"
    off, _ = await watched(monkeypatch, guards=False, flaps=7)
    on, _ = await watched(monkeypatch, guards=True, flaps=7)
    frames = [str(show.stage.watched) for show in (off, on)]
    outcomes.add("video", "7 flaps of the camera", "frame streams", *frames)
    assert frames == ["9", "9"], "there is nothing to share: seen, not stopped"
    assert off.streams == on.streams == 1
    assert off.asked == on.asked == ["what do you see"]
    assert on.trips == [], "a camera is no cascade of STT streams"
    assert on.counted("runguard.track.subscriptions", source="camera", subscription="opened") == 0
    assert on.counted("runguard.track.subscriptions", source="camera") == 8
    seen = [s for s in on.spans("runguard.track_subscribe") if s["runguard.source"] == "camera"]
    assert {s["lk.pii.participant_identity"] for s in seen} == {CALLER}
