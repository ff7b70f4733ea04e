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

from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.job import in_activity
from runguard_otel.adapters.livekit.facts.models import measured_by_adapter, names_in
from runguard_otel.adapters.livekit.usage.metrics import Amounts, amounts_of, usage_of
from runguard_otel.adapters.livekit.usage.unreported import measured_inside
from runguard_otel.adapters.notes import note
from runguard_otel.core.ports import Usage, UsagePort, Use

__all__ = ["Requests"]

MAX_RECENT = 64

_MODELS: Final = "_runguard_models"
"""Set on an ``AgentActivity``: the models that it was seen to use."""
_MOST_MODELS: Final = 64

_in_session: ContextVar[bool] = ContextVar("runguard_in_session", default=False)
"""True in every task that descends from ``AgentSession.start``."""


class _Models(dict[tuple[str, tuple[str, str]], tuple[Amounts, Use]]):
    """What bills the models of one ``AgentActivity``, by how their metrics name them."""

    __slots__ = ("port",)

    def __init__(self, port: UsagePort) -> None:
        self.port = port

    def meet(self, metrics: Any, usage: Usage) -> None:
        """This model was used: it will be again."""
        names = names_in(metrics)
        # not a recogniser: with its language changes what it is billed as
        if names is not None and usage.component != "stt" and len(self) < _MOST_MODELS:
            use = self.port.bind(usage.component, usage.provider, usage.model)
            self[metrics.type, names] = amounts_of(metrics.type, *names), use


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

    def in_session(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``AgentActivity._on_metrics_collected``, after it: it writes the turn's id into them."""
        port, recent = self._port, self._recent

        def _on_metrics_collected(activity: Any, ev: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(activity, ev, *args, **kwargs)
            if live:
                try:
                    if measured_inside() or id(ev) in recent:
                        return result
                    try:
                        models = activity._runguard_models
                    except AttributeError:
                        models = None
                    if models is None or models.port is not port:
                        models = _Models(port)
                        note(activity, _MODELS, models)
                    names = names_in(ev)
                    known = models.get((ev.type, names)) if names else None
                    if known is None:
                        self._used(ev, activity, models)
                        return result
                    amounts, use = known
                    quantities = amounts(ev)
                    if quantities:
                        use(quantities, getattr(ev, "speech_id", None) or "")
                        self._remember(ev)
                except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                    failed("AgentActivity._on_metrics_collected")
            return result

        return _on_metrics_collected

    async def session_starts(self, wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        """``AgentSession.start``: whatever it starts belongs to a session."""
        token = _in_session.set(True)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _in_session.reset(token)

    def emitting(self, component: str) -> Callable[[Hook, list[bool], Failed], Hook]:
        """``emit`` of an ``LLM``, ``STT`` or ``TTS``: a session that listens has had it by then."""
        recent = self._recent

        def build(original: Hook, live: list[bool], failed: Failed) -> Hook:
            def emit(model: Any, event: str, *args: Any, **kwargs: Any) -> Any:
                result = original(model, event, *args, **kwargs)
                if live and event == "metrics_collected" and args:
                    try:
                        if id(args[0]) not in recent:
                            self._alone(args[0], **{component: model})
                    except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                        failed(f"{component.upper()}.emit")
                return result

            return emit

        return build

    def _alone(self, metrics: Any, **owner: Any) -> None:
        # `generate_reply` runs in the caller's context, except for what the host knows of it
        if measured_inside() or _in_session.get() or in_activity() or measured_by_adapter(metrics):
            return
        self._used(metrics, SimpleNamespace(**owner))

    def _used(self, metrics: Any, owner: Any, models: _Models | None = None) -> None:
        usage = usage_of(metrics, owner)
        if usage is None:
            self._port.settle()
            return
        self._port.used(usage)
        self._remember(metrics)
        if models is not None:
            models.meet(metrics, usage)

    def _remember(self, metrics: Any) -> None:
        self._recent[id(metrics)] = metrics
        if len(self._recent) > MAX_RECENT:
            self._recent.pop(next(iter(self._recent)), None)
