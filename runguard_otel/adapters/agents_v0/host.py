"""The classes of livekit-agents 0.12, untyped: the types we check against are those of 1.x."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["human_input", "multimodal_agent", "pipeline_agent", "subtitles"]


def pipeline_agent() -> Any:
    """``VoicePipelineAgent``: VAD, STT, LLM and TTS in a row."""
    return _of("livekit.agents.pipeline.pipeline_agent", "VoicePipelineAgent")


def human_input() -> Any:
    """``HumanInput``: the microphone of one participant, and what is recognised in it."""
    return _of("livekit.agents.pipeline.human_input", "HumanInput")


def multimodal_agent() -> Any:
    """``MultimodalAgent``: one realtime model that hears and speaks."""
    return _of("livekit.agents.multimodal.multimodal_agent", "MultimodalAgent")


def subtitles() -> Any:
    """``STTSegmentsForwarder``: what is recognised, as subtitles in the room."""
    return _of("livekit.agents.transcription.stt_forwarder", "STTSegmentsForwarder")


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
