"""What each request to a model used, once, in a session and outside of one.

``AgentActivity._on_metrics_collected`` sees every request of a session, in every 1.x: fallback
adapters hand on the metrics of the instance that served, preemptive generations report when they
are cancelled, and agents and tasks that share a model listen to it at the same time. So the same
metrics object may arrive twice, and counts once. ``session.on("metrics_collected")`` would do the
same with a deprecation warning, and LiveKit's own collector counts such an object twice. Known
gap: 1.0's fallback adapter makes its own metrics, so a model that is in an adapter of one session
and used directly by another one of the same process counts twice there.

Outside of a session (a translator's own requests to an LLM and a voice) the model itself emits the
metrics, and they are billed where it does. Code that a session runs (nodes, tools) is left to the
session: a wrapper that users write around a model makes metrics of its own, next to those of the
model inside, and only the session knows which of them it listens to.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from runguard_otel.adapters.livekit.facts.job import in_activity
from runguard_otel.adapters.livekit.facts.models import measured_by_adapter
from runguard_otel.adapters.livekit.usage.metrics import usage_of
from runguard_otel.adapters.livekit.usage.unreported import measured_inside
from runguard_otel.core.ports import UsagePort

__all__ = ["Requests"]

MAX_RECENT = 64

_in_session: ContextVar[bool] = ContextVar("runguard_in_session", default=False)
"""True in every task that descends from ``AgentSession.start``."""


class Requests:
    """Reports each metrics object of the host once.

    Args:
        port: Where what was used is priced.
    """

    def __init__(self, port: UsagePort) -> None:
        self._port = port
        # Emitting to several listeners is synchronous; the rest is room for threads. Strong
        # references on purpose: an id alone could be reused.
        self._recent: dict[int, Any] = {}

    def in_session(self, activity: Any, _: Any, ev: Any, *__: Any, **___: Any) -> None:
        """``AgentActivity._on_metrics_collected``."""
        if not measured_inside() and id(ev) not in self._recent:
            self._used(ev, activity)

    async def session_starts(self, wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        """``AgentSession.start``: whatever it starts belongs to a session."""
        token = _in_session.set(True)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _in_session.reset(token)

    def of_llm(self, model: Any, _: Any, event: str, ev: Any = None, *__: Any, **___: Any) -> None:
        """``LLM.emit``: a session that listens has had it by now."""
        if event == "metrics_collected" and id(ev) not in self._recent:
            self._alone(ev, llm=model)

    def of_stt(self, model: Any, _: Any, event: str, ev: Any = None, *__: Any, **___: Any) -> None:
        """``STT.emit``."""
        if event == "metrics_collected" and id(ev) not in self._recent:
            self._alone(ev, stt=model)

    def of_tts(self, model: Any, _: Any, event: str, ev: Any = None, *__: Any, **___: Any) -> None:
        """``TTS.emit``."""
        if event == "metrics_collected" and id(ev) not in self._recent:
            self._alone(ev, tts=model)

    def _alone(self, metrics: Any, **owner: Any) -> None:
        # `generate_reply` runs in the caller's context, except for what the host knows of it
        if measured_inside() or _in_session.get() or in_activity() or measured_by_adapter(metrics):
            return
        self._used(metrics, SimpleNamespace(**owner))

    def _used(self, metrics: Any, owner: Any) -> None:
        usage = usage_of(metrics, owner)
        if usage is None:
            self._port.settle()
            return
        self._recent[id(metrics)] = metrics
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._port.used(usage)
