"""Whose result is this? Adapters and overridden nodes stand between a session and its recogniser.

A result that reaches the session may come from one of several providers (``FallbackAdapter``), from
the adapter itself (``MultiSpeakerAdapter`` says a blank for what it keeps back) or from the user's
own ``stt_node``. What one of them is known to do must not be held against another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from runguard_otel.adapters.agents_v1.streams import model_names

__all__ = ["Recogniser", "inner_models", "kept_back", "overrides_node", "recogniser_of"]

_INNER: Final = (
    "_llm_instances",
    "_stt_instances",
    "_tts_instances",
    "_stt",
    "_tts",
    "_wrapped_tts",
)
_WRAPS: Final = frozenset(_INNER)
_DEPTH: Final = 4
"""Adapters in adapters: more than that is a circle."""


class Recogniser(NamedTuple):
    """Who made a result, as far as that can be told.

    Args:
        provider: As telemetry names it.
        model: As telemetry names it.
        alone: Whether no one else's results come through the same door. LiveKit's confidence of 0.0
            means "unknown" unless its maker is known to report confidences.
    """

    provider: str
    model: str
    alone: bool


def recogniser_of(model: Any) -> Recogniser:
    """Who made the result that has just come from ``model``, an ``STT``."""
    served, alone = model, True
    if not _WRAPS.isdisjoint(getattr(model, "__dict__", ())):  # few do, and this is asked often
        served, alone = _served(model), len(list(inner_models(model))) < 2
    switches = getattr(getattr(served, "_opts", None), "fallback", None)  # LiveKit Inference does
    return Recogniser(*model_names(served), alone and not switches)


def kept_back(activity: Any, result: Any) -> bool:
    """Whether a blank result stands for words of a background speaker that an adapter keeps back.

    Those words were heard and nobody is to answer them: that is no misfire. The adapter's blank has
    no language; what a provider returns for noise has.

    Args:
        activity: The ``AgentActivity`` that got it.
        result: The best alternative of a final result, or ``None``.
    """
    if result is None or result.text or result.language:
        return False
    model = activity.stt
    for _ in range(_DEPTH):
        if getattr(model, "_suppress_background", False) is True:
            return True
        model = getattr(model, "_active_instance", None) or getattr(model, "_stt", None)
    return False


def inner_models(model: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """The model itself, or the models it wraps."""
    if model is None or not depth:
        return
    inner: list[Any] = []
    for name in _INNER:
        value = getattr(model, "__dict__", {}).get(name)
        inner.extend(value if isinstance(value, (list, tuple)) else [value])
    inner = [one for one in inner if one is not None]
    if not inner:
        yield model
    for one in inner:
        yield from inner_models(one, depth - 1)


def overrides_node(activity: Any) -> bool:
    """Whether results come from an ``stt_node`` of the user's own, which may make them anew."""
    from livekit.agents import Agent

    node = getattr(getattr(activity, "_agent", None), "stt_node", None)
    return getattr(node, "__func__", None) is not Agent.stt_node


def _served(model: Any) -> Any:
    """The recogniser inside adapters; the adapter that does not say which of several it was."""
    for _ in range(_DEPTH):
        inner = getattr(model, "_active_instance", None)  # since 1.6
        if inner is None:
            several = list(inner_models(model))
            inner = several[0] if len(several) == 1 else model
        if inner is model:
            break
        model = inner
    return model
