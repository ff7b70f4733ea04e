"""A metrics object of the host, as the amounts that its provider bills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from runguard_otel.adapters.livekit.facts.models import (
    billed_as,
    served_by,
    tier_of,
)
from runguard_otel.core.ports import Usage

__all__ = ["Amounts", "amounts_of", "usage_of"]

Amounts = Callable[[Any], dict[str, float]]
"""Finds the amounts in a metrics object, by meter; nothing if all of them are 0."""


def usage_of(metrics: Any, owner: Any) -> Usage | None:
    """What a metrics object says was used, or ``None`` if nothing is billed by it.

    Args:
        metrics: One of ``livekit.agents.metrics``.
        owner: The ``AgentActivity`` that got it, or anything else with the model as its ``stt``,
            ``llm`` or ``tts``; asked for names where the metrics have none (before 1.2).
    """
    component = _COMPONENT.get(getattr(metrics, "type", ""))
    if component is None:
        return None
    asked = getattr(owner, component, None)
    provider, model = served_by(metrics, asked)
    if asked is not None and model:
        if component == "stt":
            model = billed_as(asked, model)
        elif component == "llm":
            model += tier_of(asked, model)
    quantities = amounts_of(metrics.type, provider, model)(metrics)
    if not quantities:
        return None
    return Usage(
        component,
        provider,
        model,
        quantities,
        turn=str(getattr(metrics, "speech_id", None) or ""),
        streamed=component == "stt" and bool(getattr(metrics, "streamed", False)),
    )


def amounts_of(kind: str, provider: str, model: str) -> Amounts:
    """What finds the amounts in the metrics of a model.

    Tokens in no part of a total are thinking at Gemini, which bills it as output. What they are at
    other providers is unknown; they count without a price.

    Args:
        kind: The ``type`` of the metrics.
        provider: Who serves it.
        model: The same.

    Raises:
        KeyError: If nothing is billed by such metrics.
    """
    amounts = _AMOUNTS[kind]
    named = f"{provider} {model}".lower()
    if not ("gemini" in named or "google" in named or "vertex" in named):
        return amounts

    def thinking(metrics: Any) -> dict[str, float]:
        quantities = amounts(metrics)
        if "unsplit_tokens" in quantities:
            quantities["output_tokens"] += quantities.pop("unsplit_tokens")
        return quantities

    return thinking


class _Tokens:
    """What a language model used, of which many things are counted.

    Args:
        prompt: How these metrics call all that went in, with what was cached of it.
        output: How they call what came out.
    """

    def __init__(self, prompt: str, output: str) -> None:
        counted = "total_tokens", "prompt_cached_tokens", "cache_creation_tokens"
        self._names = prompt, output, *counted
        self._read = attrgetter(*self._names)

    def __call__(self, metrics: Any) -> dict[str, float]:
        try:
            found: Sequence[Any] = self._read(metrics)
        except AttributeError:  # not all of them in this release
            found = (None,)
        if None in found:
            found = [_get(metrics, name) for name in self._names]
        prompt, output, total, cached, written = found
        beside = total - prompt - output
        if beside > 0 and beside == cached + written:
            prompt, beside = prompt + beside, 0  # old Bedrock: its prompt is net of what was cached
        if not (prompt or output or cached or written or beside > 0):
            # Cancelled before its provider said what it used. It will be billed all the same.
            return {"requests": 1}
        quantities = {"input_tokens": prompt - cached - written, "output_tokens": output}
        if cached:
            quantities["cached_input_tokens"] = cached
        if written:
            quantities["cache_write_tokens"] = written
        if beside > 0:
            quantities["unsplit_tokens"] = beside
        return quantities


def _get(metrics: Any, name: str) -> float:
    value: float = getattr(metrics, name, 0) or 0
    return value


def _stt(metrics: Any) -> dict[str, float]:
    audio = _get(metrics, "input_audio_tokens")
    return {
        "audio_seconds": _get(metrics, "audio_duration"),
        "input_tokens": _get(metrics, "input_tokens") - audio,
        "input_audio_tokens": audio,
        "output_tokens": _get(metrics, "output_tokens"),
    }


def _tts(metrics: Any) -> dict[str, float]:
    return {
        "characters": _get(metrics, "characters_count"),
        "input_tokens": _get(metrics, "input_tokens"),
        "output_audio_tokens": _get(metrics, "output_tokens"),
    }


def _realtime(metrics: Any) -> dict[str, float]:
    seconds = _get(metrics, "session_duration")
    given, made = metrics.input_token_details, metrics.output_token_details
    cached = getattr(given, "cached_tokens_details", None)
    whole = _get(given, "text_tokens") + _get(given, "audio_tokens") + _get(given, "image_tokens")
    if (_get(given, "cached_tokens") and cached is None) or (
        _get(metrics, "input_tokens") and not whole
    ):  # text and audio have different prices: without the split there is no honest number
        return {"requests": 1, "open_seconds": seconds}
    quantities: dict[str, float] = {"open_seconds": seconds}
    for what, meter in (("text", "input"), ("audio", "audio"), ("image", "image")):
        from_cache = _get(cached, f"{what}_tokens") if cached is not None else 0
        fresh = _get(given, f"{what}_tokens") - from_cache
        if what == "text":
            quantities.update(input_tokens=fresh, cached_input_tokens=from_cache)
        else:
            quantities[f"input_{meter}_tokens"] = fresh
            quantities[f"cached_{meter}_tokens"] = from_cache
    quantities["output_tokens"] = _get(made, "text_tokens")
    quantities["output_audio_tokens"] = _get(made, "audio_tokens")
    parts = _get(metrics, "input_tokens") + _get(metrics, "output_tokens")
    beside = _get(metrics, "total_tokens") - parts
    if parts and beside > 0:
        quantities["unsplit_tokens"] = beside
    return quantities


def _requests(metrics: Any) -> dict[str, float]:
    return {"requests": _get(metrics, "num_requests")}


def _if_any(amounts: Amounts) -> Amounts:
    """A 0 beside others says something: a realtime model tells when it is not paid by time."""

    def found(metrics: Any) -> dict[str, float]:
        quantities = amounts(metrics)
        return quantities if any(quantities.values()) else {}

    return found


_COMPONENT: Final = {
    "llm_metrics": "llm",
    "decision_metrics": "llm",
    "realtime_model_metrics": "llm",
    "stt_metrics": "stt",
    "tts_metrics": "tts",
    "interruption_metrics": "agent",
    "eot_inference_metrics": "agent",
}
"""By the ``type`` of a metrics object: whose bill it is on."""
_AMOUNTS: Final[dict[str, Amounts]] = {
    "llm_metrics": _Tokens("prompt_tokens", "completion_tokens"),
    "decision_metrics": _Tokens("input_tokens", "output_tokens"),
    "realtime_model_metrics": _if_any(_realtime),
    "stt_metrics": _if_any(_stt),
    "tts_metrics": _if_any(_tts),
    "interruption_metrics": _if_any(_requests),
    "eot_inference_metrics": _if_any(_requests),
}
"""What finds the amounts in it."""
