"""Scripted models of livekit-agents 0.12, where those of the stage do not fit its interfaces."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, llm

from runguard_otel.testing import SAMPLE_RATE

host: Any = llm
"""``livekit.agents.llm`` as 0.12 has it; the types we check against are those of 1.x."""

HAS_V0 = hasattr(llm, "Choice") and not hasattr(llm, "ChatItem")
"""Whether the installed livekit-agents is 0.12."""


class _Answer(host.LLMStream):  # type: ignore[misc]  # Any: see `host`
    text = ""

    async def _run(self) -> None:
        for n, word in enumerate(self.text.split(" ")):
            delta = host.ChoiceDelta(role="assistant", content=word if n == 0 else f" {word}")
            chunk = host.ChatChunk(request_id="scripted", choices=[host.Choice(delta=delta)])
            self._event_ch.send_nowait(chunk)
        words = len(self.text.split(" "))
        usage = host.CompletionUsage(completion_tokens=words, prompt_tokens=7, total_tokens=words)
        self._event_ch.send_nowait(host.ChatChunk(request_id="scripted", usage=usage))


class PipelineLLM(host.LLM):  # type: ignore[misc]  # Any: see `host`
    """A language model that keeps what it was asked in ``calls``."""

    def __init__(self, answer: str = "Of course.") -> None:
        super().__init__()
        self._answer = answer
        self.calls: list[str] = []

    model = "scripted-llm"
    provider = "scripted"

    def chat(
        self,
        *,
        chat_ctx: Any,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        fnc_ctx: Any = None,
        **_: Any,
    ) -> Any:
        self.calls.append(str(chat_ctx.messages[-1].content))
        answer = _Answer(self, chat_ctx=chat_ctx, fnc_ctx=fnc_ctx, conn_options=conn_options)
        answer.text = self._answer
        return answer


class _RealtimeSession(rtc.EventEmitter[Any]):
    """One session of a realtime model: what is billed by the minute and by the token."""

    server_vad_enabled = True
    playout_complete: asyncio.Event | None = None
    fnc_ctx = None

    def __init__(self) -> None:
        super().__init__()
        self._init_sync_task = asyncio.get_running_loop().create_future()
        self._init_sync_task.set_result(None)
        self.seconds = 0.0

    def _push_audio(self, frame: rtc.AudioFrame) -> None:
        self.seconds += frame.duration

    def hears(self, transcript: str) -> None:
        """The model has transcribed what the user said."""
        event = SimpleNamespace(transcript=transcript, item_id="scripted")
        self.emit("input_speech_transcription_completed", event)


class ScriptedRealtime:
    """A realtime model; its sessions are kept in ``sessions``."""

    capabilities = SimpleNamespace(supports_truncate=False, input_audio_sample_rate=SAMPLE_RATE)
    provider = "scripted"
    model = "scripted-realtime"

    def __init__(self) -> None:
        self.sessions: list[_RealtimeSession] = []

    def session(self, **_: Any) -> _RealtimeSession:
        self.sessions.append(_RealtimeSession())
        return self.sessions[-1]
