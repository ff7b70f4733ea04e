"""Whose result is this? Adapters and overridden nodes stand between a session and its recogniser.

A result that reaches the session may come from one of several providers (``FallbackAdapter``), from
the adapter itself (``MultiSpeakerAdapter`` says a blank for what it keeps back) or from the user's
own ``stt_node``. What one of them is known to do must not be held against another. And what a
recogniser calls a confidence may be one in something else than its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from runguard_otel.adapters.agents_v1.streams import model_names

__all__ = ["Recogniser", "inner_models", "interchangeable", "kept_back", "recogniser_of"]

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
_MEASURE_SOMETHING_ELSE: Final = frozenset({"amazon transcribe", "aws", "sarvam", "smallestai"})
"""Providers (before 1.2: packages) whose confidence of a result is one in something else.

Amazon Transcribe: that of the first word (``items[0]``, livekit-plugins-aws up to 1.8.9).
Sarvam: how probable the language is (``language_probability``, livekit-plugins-sarvam 1.8.9); of
a sentence in two languages that is low, however clear it was.
SmallestAI: that of the first word (``raw_words[0]``, livekit-plugins-smallestai up to 1.7.1; 1.8.9
has a mean of all words, but a plugin's release is not the host's).
"""
_SETTINGS: Final = ("_opts", "_config", "_params", "_stt_options")
"""Where plugins keep an STT's settings: most in the first; google, aws and azure in the second,
soniox and rtzr in the third, speechmatics in the last (all as of 1.8.9)."""


class Recogniser(NamedTuple):
    """Who made a result, as far as that can be told.

    Args:
        provider: As telemetry names it.
        model: As telemetry names it.
        measures: Whether the confidence of its results is one in the whole result.
    """

    provider: str
    model: str
    measures: bool


def recogniser_of(model: Any) -> Recogniser:
    """Who made the result that has just come from ``model``, an ``STT``."""
    served, several = model, False
    if not _WRAPS.isdisjoint(getattr(model, "__dict__", ())):  # few do, and this is asked often
        served = _served(model)
        several = not _WRAPS.isdisjoint(getattr(served, "__dict__", ()))
    provider, name = model_names(served)
    makers = [model_names(m)[0] for m in inner_models(served)] if several else [provider]
    measures = not any(maker.lower() in _MEASURE_SOMETHING_ELSE for maker in makers)
    return Recogniser(provider, name, measures)


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


def interchangeable(one: Any, other: Any) -> bool:
    """Whether a stream of either would do. Some applications make an STT per track.

    An adapter is itself only: what is inside it is not known here. Neither is one that keeps its
    settings (language, endpoint) where no plugin does: nothing says that they are equal.
    """
    if one is other:
        return True
    if type(one) is not type(other) or type(one).__module__.startswith("livekit.agents.stt."):
        return False
    mine, theirs = _settings(one), _settings(other)
    return (
        bool(mine)
        and mine.keys() == theirs.keys()
        and all(
            type(value) is type(theirs[name]) and bool(value == theirs[name])
            for name, value in mine.items()
        )
    )


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


def _settings(model: Any) -> dict[str, Any]:
    kept = {name: getattr(model, name, None) for name in _SETTINGS}
    return {name: value for name, value in kept.items() if value is not None}
