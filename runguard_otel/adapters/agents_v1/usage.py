"""What was used: LiveKit's per-request metrics and the connections of rooms, for the bill.

``AgentActivity._on_metrics_collected`` sees every request of a session, in every 1.x: fallback
adapters hand on the metrics of the instance that served, preemptive generations report when they
are cancelled, and agents and tasks that share a model listen to it at the same time. So the same
metrics object may arrive twice, and counts once. ``session.on("metrics_collected")`` would do the
same with a deprecation warning, and LiveKit's own collector counts such an object twice. Known
gap: 1.0's fallback adapter makes its own metrics, so a model that is in an adapter of one session
and used directly by another one of the same process counts twice there.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from runguard_otel.adapters.agents_v1 import usage_alone
from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.recognisers import inner_models
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Usage, UsagePort

__all__ = ["connection_patches", "patches", "session_key", "usage_of"]

_COMPONENT = {
    "llm_metrics": "llm",
    "decision_metrics": "llm",
    "realtime_model_metrics": "llm",
    "stt_metrics": "stt",
    "tts_metrics": "tts",
    "interruption_metrics": "agent",
    "eot_inference_metrics": "agent",
}
MAX_RECENT = 64


def patches(services: Services) -> list[Patch]:
    """The table; empty when nothing is priced."""
    port = services.usage
    if port is None:
        return []
    from livekit.agents.voice.agent_activity import AgentActivity

    # Emitting to several listeners is synchronous; the rest is room for threads. Strong references
    # on purpose: an id alone could be reused.
    recent: deque[Any] = deque()
    known: set[int] = set()

    def used(metrics: Any, owner: Any) -> None:
        usage = usage_of(metrics, owner)
        if usage is None:
            port.settle()
        elif id(metrics) not in known:
            known.add(id(metrics))
            recent.append(metrics)
            if len(recent) > MAX_RECENT:
                known.discard(id(recent.popleft()))
            port.used(usage)

    def on_metrics(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)  # first: it writes the turn's id into the metrics
        with shield(services.recorder, "AgentActivity._on_metrics_collected"):
            used(args[0] if args else next(iter(kwargs.values())), instance)
        return result

    return [
        Patch(
            AgentActivity,
            "_on_metrics_collected",
            on_metrics,
            "telemetry",
            "Sees the usage of every STT, LLM and TTS request once, with provider and model.",
        ),
        *usage_alone.patches(services, used),
        *connection_patches(services, port),
    ]


def connection_patches(services: Services, port: UsagePort) -> list[Patch]:
    """How long each room was connected."""
    from livekit import rtc

    async def on_connect(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        result = await wrapped(*args, **kwargs)
        with shield(services.recorder, "Room.connect"):
            port.connection_opened(id(instance))
        return result

    def on_emit(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if args and args[0] == "disconnected":
            with shield(services.recorder, "Room.emit"):
                port.connection_closed(id(instance))
        return wrapped(*args, **kwargs)

    return [
        Patch(rtc.Room, "connect", on_connect, "telemetry", "Connection minutes start."),
        Patch(rtc.Room, "emit", on_emit, "telemetry", "Connection minutes end."),
    ]


def session_key() -> str:
    """Names the session whose bill the calling code adds to: its job; ``""`` outside of one."""
    job = current_job()
    return str(getattr(getattr(job, "job", None), "id", "") or "")


def usage_of(metrics: Any, activity: Any) -> Usage | None:
    """What a metrics object says was used, or ``None`` if nothing is billed by it.

    Args:
        metrics: One of ``livekit.agents.metrics``.
        activity: The ``AgentActivity`` that got it, or anything else with the model as its ``stt``,
            ``llm`` or ``tts``; asked for names where the metrics have none (before 1.2).
    """
    kind = str(getattr(metrics, "type", ""))
    component = _COMPONENT.get(kind)
    if component is None:
        return None
    if kind == "realtime_model_metrics":
        quantities = _realtime(metrics)
    elif component == "llm":
        quantities = _llm(metrics)
    elif component == "stt":
        quantities = _stt(metrics)
    elif component == "tts":
        quantities = _tts(metrics)
    else:
        quantities = {"requests": _get(metrics, "num_requests")}
    if not any(quantities.values()):
        return None
    provider, model = _names(metrics, activity, component)
    return Usage(
        component,
        provider,
        model,
        quantities,
        turn=str(getattr(metrics, "speech_id", None) or ""),
        streamed=component == "stt" and bool(getattr(metrics, "streamed", False)),
    )


def _get(metrics: Any, name: str) -> float:
    value: float = getattr(metrics, name, 0) or 0
    return value


def _llm(metrics: Any) -> dict[str, float]:
    names = ("prompt_tokens", "completion_tokens")
    if getattr(metrics, "type", "") == "decision_metrics":
        names = ("input_tokens", "output_tokens")
    prompt, output = (_get(metrics, name) for name in names)
    cached, written = _get(metrics, "prompt_cached_tokens"), _get(metrics, "cache_creation_tokens")
    if not (prompt or output or cached or written):
        # Cancelled before its provider said what it used. It will be billed all the same.
        return {"requests": 1}
    return {
        "input_tokens": prompt - cached - written,
        "cached_input_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": output,
    }


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
    return quantities


def _names(metrics: Any, activity: Any, component: str) -> tuple[str, str]:
    metadata = getattr(metrics, "metadata", None)
    if metadata is not None and getattr(metadata, "model_name", None):
        return str(metadata.model_provider or ""), str(metadata.model_name)
    label = str(getattr(metrics, "label", ""))
    whole = getattr(activity, component, None)
    models = list(inner_models(whole))
    served = [m for m in models if str(getattr(m, "label", "")) == label]
    if not served and str(getattr(whole, "label", "")) == label:
        served = models  # 1.0's fallback adapter reports in its own name what one of them served
    found = {(_provider(m), _model(m)) for m in served}
    # Several different models behind an adapter: which of them it was cannot be told.
    return next(iter(found)) if len(found) == 1 else (_plugin(label), "")


def _provider(model: Any) -> str:
    return str(getattr(model, "provider", "") or _plugin(str(getattr(model, "label", ""))))


def _model(model: Any) -> str:
    options = getattr(model, "_opts", None)
    return str(getattr(model, "model", "") or getattr(options, "model", "") or "")


def _plugin(label: str) -> str:
    """``openai`` of ``livekit.plugins.openai.llm.LLM``."""
    return label.split(".")[2] if label.startswith("livekit.plugins.") else ""
