"""The examples run as they are written, against scripted providers."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import stt

import runguard_otel
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.models import ScriptedSTT, final

inference = pytest.importorskip("livekit.agents.inference")
pytestmark = pytest.mark.livekit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_is_short_and_has_one_line_of_ours(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 110
    assert text.count("runguard_otel.instrument()") == 1


async def flap(server: StageServer, model: ScriptedSTT, times: int) -> None:
    for number in range(times):
        sid = server.publish("lobby", "alice")
        await server.settle()
        server.push_audio(sid, rtc.AudioFrame.create(16_000, 1, 160))
        await server.settle()
        model.send(final(f"sentence {number}"))
        await server.settle()
        server.unpublish(sid)
        await server.settle()


@pytest.mark.parametrize("fallback", [False, True], ids=["one provider", "FallbackAdapter"])
@pytest.mark.parametrize(("guards", "streams"), [(False, 3), (True, 1)], ids=["off", "on"])
async def test_the_transcriber_keeps_one_stream_for_a_participant_that_flaps(
    guards: bool,
    streams: int,
    fallback: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from examples import transcriber

    caplog.set_level(logging.INFO, "transcriber")
    trips: list[runguard_otel.Trip] = []
    runguard_otel.uninstrument()
    if guards:
        runguard_otel.instrument(on_trip=trips.append)  # the import may have been long ago
    model = ScriptedSTT()
    chosen: stt.STT[Any] = stt.FallbackAdapter([model]) if fallback else model
    monkeypatch.setattr(transcriber, "recogniser", lambda: chosen)
    try:
        with StageServer() as server:
            server.join("lobby", "alice")
            room = rtc.Room()

            async def connect() -> None:
                await room.connect("wss://stage", server.token("lobby", "agent"))

            context: Any = SimpleNamespace(room=room, connect=connect)
            await transcriber.entrypoint(context)
            await flap(server, model, 3)
            assert len(model.streams) == streams
            await room.disconnect()
    finally:
        runguard_otel.uninstrument()
    heard = [r.getMessage() for r in caplog.records if r.name == "transcriber"]
    assert heard == [f"alice: sentence {n}" for n in range(3)]
    assert trips == [], "each track's stream is told its end: none is left open"
