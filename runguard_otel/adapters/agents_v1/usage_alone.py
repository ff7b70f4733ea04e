"""What is used without an ``AgentSession``: a translator's own requests to an LLM and a voice.

Every model emits the metrics of each request itself. Inside a session its activity hears them and
they are billed there; what code outside asks for is billed here. Code that a session runs (nodes,
tools) is left to the session: a wrapper that users write around a model makes metrics of its own,
next to those of the model inside, and only the session knows which of them it listens to.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]

_in_session: ContextVar[bool] = ContextVar("runguard_in_session", default=False)
"""True in every task that descends from ``AgentSession.start``."""


def patches(services: Services, used: Callable[[Any, Any], None]) -> list[Patch]:
    """The table.

    Args:
        services: For the recorder.
        used: Told what was used: ``used(metrics, owner)``. ``owner`` has the model as its ``stt``,
            ``llm`` or ``tts``.
    """
    from livekit.agents import AgentSession, llm, stt, tts
    from livekit.agents.voice import agent_activity

    speaking: ContextVar[Any] | None = getattr(agent_activity, "_AgentActivityContextVar", None)

    def in_session() -> bool:
        # `generate_reply` runs in the caller's context, but for what the host knows of it
        return _in_session.get() or (speaking is not None and speaking.get(None) is not None)

    def emitter(component: str, where: str) -> Any:
        def emit(wrapped: Any, model: Any, args: Any, kwargs: Any) -> Any:
            result = wrapped(*args, **kwargs)  # first: an adapter hands the same object on
            if len(args) > 1 and args[0] == "metrics_collected" and not in_session():
                with shield(services.recorder, where):
                    if not _second_measurement(args[1]):
                        used(args[1], SimpleNamespace(**{component: model}))
            return result

        return emit

    async def start(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        token = _in_session.set(True)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _in_session.reset(token)

    why = "sees the requests that are made outside of a session"
    return [
        Patch(AgentSession, "start", start, "telemetry", "knows what a session asks for"),
        Patch(llm.LLM, "emit", emitter("llm", "LLM.emit"), "telemetry", why),
        Patch(stt.STT, "emit", emitter("stt", "STT.emit"), "telemetry", why),
        Patch(tts.TTS, "emit", emitter("tts", "TTS.emit"), "telemetry", why),
    ]


def _second_measurement(metrics: Any) -> bool:
    """Whether an adapter of the host measured what the model inside it measures as well."""
    label = str(getattr(metrics, "label", ""))
    return label.startswith(("livekit.agents.llm.", "livekit.agents.stt.", "livekit.agents.tts."))
