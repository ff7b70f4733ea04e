"""livekit-plugins-elevenlabs 1.4.1 over a websocket: two finals of each commit are one turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

plugin: Any = pytest.importorskip(
    "livekit.plugins.elevenlabs", reason="livekit-plugins-elevenlabs: run `make test-plugins`"
)

from runguard_otel.testing.calls import Call, call  # noqa: E402  # only with it
from runguard_otel.testing.waiting import settle, until  # noqa: E402  # only with it
from tests.kit.speech import Guarded  # noqa: E402  # only with it

pytestmark = pytest.mark.livekit

TURNS = ["What are your opening hours?", "And on Sundays?", "Yes."]


class Scribe:
    """Commits what it is told, as the realtime API does: plain, then with times."""

    def __init__(self) -> None:
        self.socket: web.WebSocketResponse | None = None
        self.opened = 0

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.socket, self.opened = socket, self.opened + 1
        async for _ in socket:
            pass
        return socket

    async def send(self, kind: str, text: str, at: float = 0.0, **more: Any) -> None:
        assert self.socket is not None
        words = [{"text": word, "start": at, "end": at + 0.3} for word in text.split()]
        timed = {"words": words} if kind.endswith("timestamps") else {}
        await self.socket.send_json({"message_type": kind, "text": text, **timed, **more})


@pytest.fixture
async def scribe() -> AsyncIterator[tuple[Scribe, str]]:
    service = Scribe()
    app = web.Application()
    app.router.add_get("/speech-to-text/realtime", service.connect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield service, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def commits(c: Call, service: Scribe, guarded: Guarded, text: str) -> None:
    """A turn, and half a second later the same commit once more."""
    finals: list[str] = []

    def final(event: Any) -> None:
        if event.is_final:
            finals.append(event.transcript)

    c.session.on("user_input_transcribed", final)
    asked = len(c.asked)
    c.vad.start_of_speech()
    await settle(20)
    await service.send("partial_transcript", text)
    await service.send("committed_transcript", text)
    await until(lambda: bool(finals))
    c.vad.end_of_speech()
    await until(lambda: len(c.asked) > asked)
    guarded.now += 0.5
    results = guarded.recorder.count("runguard.stt.results")
    await service.send("committed_transcript_with_timestamps", text, guarded.now)
    await until(lambda: guarded.recorder.count("runguard.stt.results") > results)
    await settle()
    c.session.off("user_input_transcribed", final)


@pytest.mark.parametrize(("turns", "pause"), [(TURNS, 5.0), (["yes"] * 3, 0.7)])
async def test_each_turn_is_one_request(
    scribe: tuple[Scribe, str], turns: list[str], pause: float
) -> None:
    """Three times "yes", 1.2 s apart, are three. Fails without the rule: each is answered twice."""
    service, url = scribe
    async with aiohttp.ClientSession() as http:
        recogniser = plugin.STT(
            api_key="none", base_url=url, model_id="scribe_v2_realtime", http_session=http
        )
        with Guarded() as guarded:
            async with call(recogniser=recogniser) as c:
                await until(lambda: service.socket is not None)
                for text in turns:
                    await commits(c, service, guarded, text)
                    guarded.now += pause
                assert c.asked == turns
    assert guarded.kinds == ["duplicate_transcript"] * len(turns)
    assert service.opened == 1
