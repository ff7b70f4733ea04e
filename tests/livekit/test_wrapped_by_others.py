"""Models inside wrappers that others put around them, to trace them: one recogniser, one bill.

The shape is that of noveum-trace 1.5.28: an ``STT`` and an ``LLM`` of their own, around the model,
whose streams are none of the host's and pass on what they do not know.
"""

from __future__ import annotations

from typing import Any

import pytest
from livekit import rtc
from livekit.agents import llm, stt

from runguard_otel.testing import ScriptedLLM, ScriptedSTT, call, final, recording
from runguard_otel.testing.ffi import StageServer
from tests.kit.tracks import Guarded, frame
from tests.kit.tracks_scenes import Tracks, close

pytestmark = pytest.mark.livekit


class Passed:
    """What a wrapper hands out: no stream of the host, only something that behaves like one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await self._inner.__anext__()

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)


class TracedSTT(stt.STT[Any]):
    def __init__(self, inner: stt.STT[Any]) -> None:
        super().__init__(capabilities=inner.capabilities)
        self._base_stt = inner
        inner.on("metrics_collected", lambda metrics: self.emit("metrics_collected", metrics))
        inner.on("error", lambda error: self.emit("error", error))

    @property
    def model(self) -> str:
        return self._base_stt.model

    @property
    def provider(self) -> str:
        return self._base_stt.provider

    async def _recognize_impl(self, buffer: Any, **options: Any) -> Any:
        return await self._base_stt._recognize_impl(buffer, **options)

    def stream(self, **options: Any) -> Any:
        return Passed(self._base_stt.stream(**options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base_stt, name)


class TracedLLM(llm.LLM[Any]):
    def __init__(self, inner: llm.LLM[Any]) -> None:
        super().__init__()
        self._base_llm = inner
        inner.on("metrics_collected", lambda metrics: self.emit("metrics_collected", metrics))

    def chat(self, **options: Any) -> Any:
        return Passed(self._base_llm.chat(**options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base_llm, name)


async def test_a_session_of_wrapped_models_is_guarded_and_billed_once() -> None:
    ears, mind = ScriptedSTT("deepgram", "nova-3"), ScriptedLLM()
    with recording() as seen:
        async with call(recogniser=TracedSTT(ears), model=TracedLLM(mind)) as phone:
            phone.vad.start_of_speech()
            ears.send(final("what time is it"))
            phone.vad.end_of_speech()
            await phone.quiet()
            assert len(mind.calls) == 1
            for _ in range(5):
                phone.vad.start_of_speech()
                ears.send(final("mm", confidence=0.1))
                phone.vad.end_of_speech()
                await phone.quiet()
            assert len(mind.calls) < 6
        seen.assert_tripped("vad_misfire")
        assert seen.counted("runguard.stt.streams", model="nova-3") == 0
        assert seen.counted("runguard.stt.audio") == pytest.approx(ears.seconds)
    assert seen.cost(component="stt", model="nova-3") > 0


@pytest.mark.parametrize("closes", [False, True])
async def test_a_flapping_track_shares_a_wrapped_stream(
    server: StageServer, room: rtc.Room, closes: bool
) -> None:
    ears = ScriptedSTT()
    traced = TracedSTT(ears)
    with Guarded() as guarded:
        mic = Tracks(server, room, traced.stream)
        for _ in range(8):
            sid = await mic.publish()
            stream = mic.opened[-1]
            stream.push_frame(frame())
            await mic.unpublish(sid)
            if closes:
                await stream.aclose()
                await server.settle()
        assert len(ears.streams) == 1
        assert ears.seconds == pytest.approx(0.08)
        assert guarded.outcomes() == ["allowed"] + ["reused"] * 7
        assert len(guarded.recorder.trips) == (0 if closes else 1)
        await close(*ears.streams)
