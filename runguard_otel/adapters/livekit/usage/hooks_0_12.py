"""Every place we touch in 0.12 to know what was used: it has agents where 1.x has sessions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage.connections import Connections
from runguard_otel.adapters.livekit.usage.hooks import connection_rows, stream_rows
from runguard_otel.adapters.livekit.usage.metrics import usage_of
from runguard_otel.adapters.livekit.usage.streams import Streams
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]

_TYPES: Final = {
    "PipelineLLMMetrics": "llm_metrics",
    "PipelineSTTMetrics": "stt_metrics",
    "PipelineTTSMetrics": "tts_metrics",
    "MultimodalLLMMetrics": "realtime_model_metrics",
}
"""0.12 tells its metrics apart by class only. VAD and end-of-turn metrics are not billed."""


def patches(services: Services) -> list[Patch]:
    """The table; streams are counted even when nothing is priced."""
    hooks, port = Hooks(services.recorder, "telemetry"), services.usage
    rows: list[Patch] = []
    if port is not None:

        def used(agent: Any, _: Any, event: str, *args: Any, **__: Any) -> None:
            if event != "metrics_collected" or not args:
                return
            kind = _TYPES.get(type(args[0]).__name__)
            usage = usage_of(_as_in_1x(args[0], kind), agent) if kind else None
            if usage is None:
                port.settle()
            else:
                port.used(usage)

        why = "Sees the usage of every STT, LLM and TTS request, with provider and model."
        pipeline = "livekit.agents.pipeline.pipeline_agent:VoicePipelineAgent"
        multimodal = "livekit.agents.multimodal.multimodal_agent:MultimodalAgent"
        rows += [
            hooks.after(pipeline, "emit", used, why=why),
            hooks.after(multimodal, "emit", used, why=why),
            *connection_rows(hooks, Connections(port)),
        ]
    return rows + stream_rows(hooks, Streams(services))


def _as_in_1x(metrics: Any, kind: str) -> Any:
    return SimpleNamespace(
        type=kind, speech_id=getattr(metrics, "sequence_id", ""), **vars(metrics)
    )
