"""Scripted models in place of those of LiveKit Inference, and sessions that do not wait."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from livekit.agents import llm

from runguard_otel.testing.models import ScriptedLLM, ScriptedTTS, ScriptedVAD
from runguard_otel.testing.realtime import ScriptedRealtimeModel
from tests.kit.speech import BreakableSTT

if TYPE_CHECKING:
    from tests.kit.playing import Show

inference: Any = pytest.importorskip("livekit.agents.inference")


class Choosing(ScriptedLLM):
    """Calls the tool that the user's words ask for, if it is there; answers otherwise."""

    tools: dict[str, tuple[str, str]]
    seen: list[llm.ChatContext] | None = None
    """Every context it was asked with, if somebody wants to know."""

    def chat(self, *, chat_ctx: llm.ChatContext, tools: Any = None, **options: Any) -> Any:
        stream: Any = super().chat(chat_ctx=chat_ctx, tools=tools, **options)
        if self.seen is not None:
            self.seen.append(chat_ctx.copy())
        last = chat_ctx.items[-1] if chat_ctx.items else None
        words = (getattr(last, "text_content", "") or "") if last is not None else ""
        wanted = next((t for phrase, t in self.tools.items() if phrase in words), None)
        if wanted is not None and getattr(last, "role", "") == "user":
            stream._run = functools.partial(self._call, stream, *wanted)
        return stream

    @staticmethod
    async def _call(stream: Any, name: str, arguments: str) -> None:
        call = llm.FunctionToolCall(name=name, arguments=arguments, call_id=f"call-{name}")
        delta = llm.ChoiceDelta(role="assistant", tool_calls=[call])
        stream._event_ch.send_nowait(llm.ChatChunk(id="scripted", delta=delta))


def lacks(name: str) -> bool:
    """Whether LiveKit Inference of this release has no such model."""
    try:
        getattr(inference, name)
    except (AttributeError, ImportError):
        return True
    return False


def scripted_models(patch: pytest.MonkeyPatch, show: Show) -> None:
    class STT(BreakableSTT):
        def __init__(self, model: str = "", **options: Any) -> None:
            super().__init__("livekit", model)
            capabilities: Any = self._capabilities
            if options.get("extra_kwargs") and hasattr(capabilities, "diarization"):
                capabilities.diarization = bool(options["extra_kwargs"].get("diarize"))
            show.stts.append(self)

        from_model_string = classmethod(lambda cls, model: cls(model))

    class LLM(Choosing):
        def __init__(self, model: str = "", **_: Any) -> None:
            super().__init__(show.answer, "livekit", model)
            self.tools = show.tools
            show.llms.append(self)

        from_model_string = classmethod(lambda cls, model: cls(model))

    class TTS(ScriptedTTS):
        def __init__(self, model: str = "", **_: Any) -> None:
            super().__init__(seconds_per_character=show.pace, provider="livekit", model=model)
            show.voices.append(self)

        from_model_string = classmethod(lambda cls, model: cls(model))

    class VAD(ScriptedVAD):
        def __init__(self, **_: Any) -> None:
            super().__init__()
            show.detectors.append(self)

    class RealtimeModel(ScriptedRealtimeModel):
        def __init__(self, model: str = "", **_: Any) -> None:
            super().__init__(answer=show.answer, seconds_per_character=0.002)
            show.realtime.append(self)

    for kind in (STT, LLM, TTS, VAD, RealtimeModel):
        if not lacks(kind.__name__):
            patch.setattr(inference, kind.__name__, kind)
    if hasattr(inference, "llm_from_model_string"):
        patch.setattr(inference, "llm_from_model_string", LLM)


def impatient_sessions(patch: pytest.MonkeyPatch, show: Show) -> None:
    from livekit.agents import AgentSession

    make = AgentSession.__init__
    known = inspect.signature(make).parameters

    @functools.wraps(make)
    def init(session: Any, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "min_endpointing_delay": 0.0,
            "max_endpointing_delay": 0.0,
            "false_interruption_timeout": 0.05,
            "aec_warmup_duration": None,  # else nothing interrupts the first sentence
            "session_close_transcript_timeout": 0.0,
            "turn_detection": "vad" if options.get("vad") or not lacks("VAD") else "stt",
        }
        usable = {name: value for name, value in defaults.items() if name in known}
        make(session, **{**usable, **options})
        show.sessions.append(session)

    patch.setattr(AgentSession, "__init__", init)
