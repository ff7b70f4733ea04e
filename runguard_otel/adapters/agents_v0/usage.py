"""What was used: 0.12's metrics, read as those of 1.x, and the connections of rooms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from runguard_otel.adapters.agents_v0 import host
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.usage import connection_patches, usage_of
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield

__all__ = ["patches"]

_TYPES: Final = {
    "PipelineLLMMetrics": "llm_metrics",
    "PipelineSTTMetrics": "stt_metrics",
    "PipelineTTSMetrics": "tts_metrics",
    "MultimodalLLMMetrics": "realtime_model_metrics",
}
"""0.12 tells its metrics apart by class only. VAD and end-of-turn metrics are billed by nobody."""


def patches(services: Services) -> list[Patch]:
    """The table; empty when nothing is priced."""
    port = services.usage
    if port is None:
        return []

    def emit(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        if len(args) > 1 and args[0] == "metrics_collected":
            with shield(services.recorder, "VoicePipelineAgent.emit"):
                kind = _TYPES.get(type(args[1]).__name__)
                usage = usage_of(_as_in_1x(args[1], kind), agent) if kind else None
                if usage is None:
                    port.settle()
                else:
                    port.used(usage)
        return result

    why = "Sees the usage of every STT, LLM and TTS request, with provider and model."
    return [
        Patch(host.pipeline_agent(), "emit", emit, "telemetry", why),
        Patch(host.multimodal_agent(), "emit", emit, "telemetry", why),
        *connection_patches(services, port),
    ]


def _as_in_1x(metrics: Any, kind: str) -> Any:
    return SimpleNamespace(
        type=kind, speech_id=getattr(metrics, "sequence_id", ""), **vars(metrics)
    )
