"""Whose result is this? Adapters and overridden nodes stand between a session and its recogniser.

A result that reaches the session may come from one of several providers (``FallbackAdapter``), from
the adapter itself (``MultiSpeakerAdapter`` says a blank for what it keeps back) or from the user's
own ``stt_node``. What one of them is known to do must not be held against another. And what a
recogniser calls a confidence may be one in something else than its result.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from runguard_otel.adapters.livekit.facts import recognisers
from runguard_otel.core.guards.repetition import Heard

__all__ = [
    "Recogniser",
    "billed_as",
    "detector_thresholds",
    "flush_ends",
    "heard_in",
    "inner_models",
    "interchangeable",
    "is_adapter",
    "is_stt_adapter",
    "kept_back",
    "measured_by_adapter",
    "model_names",
    "names_in",
    "names_of",
    "recogniser_of",
    "served_by",
    "settings_at_opening",
    "tier_of",
    "tier_suffix",
]

_names_said: Final = attrgetter("metadata.model_provider", "metadata.model_name")
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
_THRESHOLDS: Final = ("activation_threshold", "deactivation_threshold")
_USUAL_TIERS: Final = frozenset({"", "auto", "default", "standard", "on_demand", "unspecified"})
"""Service tiers at the usual prices. ``auto`` leaves it to the settings of the project."""
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
    """Who made the result that has just come from ``model``, an ``STT`` (0.12 to 1.8)."""
    if not _WRAPS.isdisjoint(getattr(model, "__dict__", ())):  # few do, and this is asked often
        model = _served(model)
        if not _WRAPS.isdisjoint(getattr(model, "__dict__", ())):  # one of several
            return Recogniser(
                *model_names(model), all(_recogniser_alone(m).measures for m in inner_models(model))
            )
    return _recogniser_alone(model)


def _recogniser_alone(model: Any) -> Recogniser:
    provider, name = model_names(model)
    return _recogniser(provider, name, type(model).__module__)


@lru_cache(maxsize=64)
def _recogniser(provider: str, name: str, module: str) -> Recogniser:
    return Recogniser(provider, name, recognisers.judged(provider, _plugin(module)))


def flush_ends(model: Any) -> bool:
    """Whether an ``STT`` may hear nothing more once a stream of it was flushed (1.7 to 1.8)."""
    makers = inner_models(model)
    return any(recognisers.flush_ends(_plugin(type(m).__module__)) for m in makers)


def heard_in(best: Any) -> Heard:
    """The words of a result's best alternative; blank without one.

    0.12 does not say who spoke. Read in 0.12 to 1.8.
    """
    if best is None:
        return Heard("")
    speaker = getattr(best, "speaker_id", None)
    return Heard(str(best.text or ""), speaker, best.start_time, best.end_time)


def model_names(model: object) -> tuple[str, str]:
    """Provider and model of an STT as telemetry names them; ``unknown`` where it does not say.

    Before 1.2 there is no ``provider``, and some plugins leave it ``unknown`` to this day; the
    plugin's package says it. Read in 0.12 to 1.8.
    """
    provider = str(getattr(model, "provider", "") or "unknown")
    if provider == "unknown":
        provider = _plugin(type(model).__module__) or provider
    return provider, str(getattr(model, "model", "") or "unknown")


def billed_as(model: Any, name: str = "") -> str:
    """The name by which a recogniser is billed: with ``:multi`` where it hears several languages.

    Deepgram's Nova-3 costs more then, and keeps its name; LiveKit Inference takes ``:multi`` off
    the name that it is given. Both keep the language in their options (1.0 to 1.8).

    Args:
        model: An ``STT``, or an adapter around some.
        name: The one of them that served; the first if not given.
    """
    for one in inner_models(model):
        its = _model(one) or "unknown"
        if name in ("", its):
            several = str(getattr(getattr(one, "_opts", None), "language", "")) == "multi"
            return f"{its}:multi" if several else its
    return name


def tier_of(model: Any, name: str) -> str:
    """The service tier that a language model asks its provider for: ``:priority``; ``""`` for none.

    The same tokens cost another price in each tier (at OpenAI 1.7 to 2 times the usual for
    ``priority``, half for ``flex``). The plugins of OpenAI, Google and Groq keep it in their
    options, LiveKit Inference in what it hands on; metrics do not carry it (1.0 to 1.8).

    Args:
        model: An ``LLM``, or an adapter around some.
        name: The one of them that served.
    """
    options = getattr(model, "_opts", None)
    if options is None:
        if _WRAPS.isdisjoint(getattr(model, "__dict__", ())):
            return ""
        served = (one for one in inner_models(model) if _model(one) == name)
        return next((tier_of(one, name) for one in served), "")
    tier, handed_on = getattr(options, "service_tier", None), getattr(options, "extra_kwargs", None)
    if tier is None and isinstance(handed_on, dict):
        tier = handed_on.get("service_tier")
    return tier_suffix(getattr(tier, "value", tier))


def tier_suffix(asked: object) -> str:
    """What ends the name of a model that is asked for in this tier (1.0 to 1.8).

    Args:
        asked: As ``service_tier`` was given; anything but text is not given.
    """
    tier = asked.lower() if isinstance(asked, str) else ""
    return "" if tier in _USUAL_TIERS else f":{tier}"


def served_by(metrics: Any, model: Any) -> tuple[str, str]:
    """Provider and model of the request that ``metrics`` tells of; ``""`` where it is not said.

    Since 1.2 the metrics say it. Before, their label names the class; 1.0's fallback adapter
    reports in its own name what one of its models served. Read in 0.12 to 1.8.

    Args:
        metrics: One of ``livekit.agents.metrics``.
        model: The model that was asked, or an adapter around it.
    """
    said = names_in(metrics)
    if said is not None:
        return said
    label = str(getattr(metrics, "label", ""))
    models = list(inner_models(model))
    served = [m for m in models if str(getattr(m, "label", "")) == label]
    if not served and str(getattr(model, "label", "")) == label:
        served = models
    found = {(_provider(m), _model(m)) for m in served}
    # Several different models behind an adapter: which of them it was cannot be told.
    return next(iter(found)) if len(found) == 1 else (_plugin(label), "")


def names_in(metrics: Any) -> tuple[str, str] | None:
    """Provider and model of a request as its metrics say them; ``None`` where they do not.

    They do since 1.2. Read in 0.12 to 1.8.
    """
    try:
        provider, model = _names_said(metrics)
    except AttributeError:
        return None
    return (provider or "", model) if model else None


def measured_by_adapter(metrics: Any) -> bool:
    """Whether an adapter of the host measured what the model inside it measures as well.

    Read in 0.12 to 1.8.
    """
    label = str(getattr(metrics, "label", ""))
    return label.startswith(("livekit.agents.llm.", "livekit.agents.stt.", "livekit.agents.tts."))


def is_adapter(model: Any) -> bool:
    """Whether a model is one of the host's own, around the models that are asked (0.12 to 1.8)."""
    return type(model).__module__.startswith(
        ("livekit.agents.llm.", "livekit.agents.stt.", "livekit.agents.tts.")
    )


def names_of(model: Any) -> tuple[str, str]:
    """Provider and model of any model; ``""`` where it does not say (0.12 to 1.8)."""
    return _provider(model), _model(model)


def is_stt_adapter(model: Any) -> bool:
    """Whether an ``STT`` is one of the host's own, around the recognisers that cost.

    Read in 0.12 to 1.8.
    """
    return type(model).__module__.startswith("livekit.agents.stt.")


def kept_back(activity: Any, result: Any) -> bool:
    """Whether a blank result stands for words of a background speaker that an adapter keeps back.

    Those words were heard and are not to be answered: that is no misfire. The adapter's blank has
    no language; what a provider returns for noise has. Read in 1.0 to 1.8.

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


def detector_thresholds(vad: Any) -> dict[str, float]:
    """The thresholds that a ``VAD`` has and lets us change, by name; of Silero, both (0.12 to 1.8).

    Empty where they cannot be changed, as in plugins of others.
    """
    update = getattr(vad, "update_options", None)
    options = getattr(vad, "_opts", None)
    if update is None or options is None:
        return {}
    known = inspect.signature(update).parameters
    values = {name: getattr(options, name, None) for name in _THRESHOLDS if name in known}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def interchangeable(one: Any, other: Any) -> bool:
    """Whether a stream of either would do. Some applications make an STT per track.

    An adapter is itself only: what is inside it is not known here. Neither is one that keeps its
    settings (language, endpoint) where no plugin does: nothing says that they are equal.
    Read in 0.12 to 1.8.
    """
    if one is other:
        return True
    if type(one) is not type(other) or is_stt_adapter(one):
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


def settings_at_opening(model: Any) -> int:
    """What must be equal for a stream opened now to be like one opened before.

    ``update_options()`` of many plugins changes the streams that are opened later, and no other.
    The same (0) where open streams are known to follow, or nothing is known of the settings. Read
    in 0.12 to 1.8.
    """
    module = type(model).__module__
    ours = "inference" if module.startswith("livekit.agents.inference") else _plugin(module)
    if recognisers.updates_reach(ours):
        return 0
    return hash(tuple((name, _words(value)) for name, value in _settings(model).items()))


def inner_models(model: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """The model itself, or the models it wraps (0.12 to 1.8)."""
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


def _words(value: Any, depth: int = _DEPTH) -> str:
    """Settings, written out: equal ones read the same, and what is changed in place otherwise."""
    inner = partial(_words, depth=depth - 1)
    written: Any = type(value).__repr__
    if written is object.__repr__ or is_dataclass(value):
        value = getattr(value, "__dict__", value)
    if not depth:  # a circle
        return repr(value)
    if isinstance(value, (set, frozenset)):
        return str(sorted(map(inner, value)))
    if isinstance(value, dict):
        return str(sorted((inner(name), inner(its)) for name, its in value.items()))
    if isinstance(value, (list, tuple)):
        return str([inner(one) for one in value])
    return repr(value)


def _provider(model: Any) -> str:
    return str(getattr(model, "provider", "") or _plugin(str(getattr(model, "label", ""))))


def _model(model: Any) -> str:
    options = getattr(model, "_opts", None)
    return str(getattr(model, "model", "") or getattr(options, "model", "") or "")


def _plugin(label: str) -> str:
    """``openai`` of ``livekit.plugins.openai.llm.LLM``; ``""`` of what is no plugin."""
    return label.split(".")[2] if label.startswith("livekit.plugins.") else ""
