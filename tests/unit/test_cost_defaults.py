"""What the providers' plugins use when nobody names a model: priced, or listed with the reason."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from runguard_otel.adapters.livekit.facts.recognisers import RECOGNISERS
from runguard_otel.cost.pricebook import PriceBook

pytestmark = pytest.mark.unit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
DEFAULTS = [
    ("stt", "Deepgram", "nova-3"),
    ("stt", "Deepgram", "flux-general-en"),
    ("tts", "Deepgram", "aura-2-andromeda-en"),
    ("tts", "Deepgram", "flux-alexis-en"),
    ("stt", "AssemblyAI", "universal-3-6-pro"),
    ("tts", "AssemblyAI", "assemblyai-tts-1"),
    ("stt", "Google Cloud Platform", "latest_long"),
    ("llm", "Gemini", "gemini-3.8-flash"),
    ("llm", "Gemini", "gemini-2.5-flash-native-audio-preview-12-2025"),
    ("tts", "Google Cloud Platform", "gemini-2.5-flash-tts"),
    ("tts", "Gemini", "gemini-3.1-flash-tts-preview"),
    ("stt", "api.openai.com", "gpt-4o-mini-transcribe"),
    ("llm", "api.openai.com", "gpt-4.1"),
    ("llm", "api.openai.com", "gpt-realtime"),
    ("tts", "api.openai.com", "gpt-4o-mini-tts"),
    ("llm", "api.anthropic.com", "claude-sonnet-4-6"),
    ("stt", "ElevenLabs", "scribe_v1"),
    ("tts", "ElevenLabs", "eleven_turbo_v2_5"),
    ("stt", "Cartesia", "ink-2"),
    ("tts", "Cartesia", "sonic-3"),
    ("stt", "xai", "unknown"),
    ("llm", "xai", "grok-4-1-fast-non-reasoning"),
]
"""Component, and provider and model as telemetry names them; plugins 1.8.9."""


@pytest.mark.parametrize(("component", "provider", "model"), DEFAULTS)
def test_a_default_has_a_price_or_a_reason(component: str, provider: str, model: str) -> None:
    row = PriceBook.load().find(component, provider, model)
    listed = f"`{model}` |" in PAGE.read_text(encoding="utf-8")
    assert (row is not None) is not listed, "priced, or on docs/cost.md, and not both"


def test_the_recognisers_that_were_run_have_these_defaults() -> None:
    """Fails if a plugin's default changes: the laboratory writes what it found."""
    ours = {(provider, model) for part, provider, model in DEFAULTS if part == "stt"}
    named = {provider for provider, _ in ours} - {"xai"}
    run = {
        (row.found["provider"], row.found["model"])
        for row in RECOGNISERS
        if row.found.get("provider") in named
    }
    asked_for = {("Cartesia", "ink-whisper"), ("ElevenLabs", "scribe_v2_realtime")}
    assert run - asked_for == ours - {("xai", "unknown")}


def test_a_call_with_defaults_costs_usage_times_price_to_the_last_digit() -> None:
    book = PriceBook.load()
    usage: dict[tuple[str, str, str], tuple[dict[str, float], str]] = {
        ("stt", "Deepgram", "nova-3"): ({"audio_seconds": 61}, "0.00488"),
        ("stt", "Deepgram", "flux-general-en"): ({"audio_seconds": 60}, "0.0065"),
        ("stt", "AssemblyAI", "universal-3-6-pro"): ({"open_seconds": 60}, "0.0075"),
        ("stt", "Cartesia", "ink-2"): ({"audio_seconds": 60}, "0.009"),
        ("stt", "api.openai.com", "gpt-4o-mini-transcribe"): (
            {"input_audio_tokens": 600, "output_tokens": 40},
            "0.00095",
        ),
        ("llm", "Gemini", "gemini-3.8-flash"): (
            {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 10},
            "0.0008175",
        ),
        ("llm", "api.anthropic.com", "claude-sonnet-4-6"): (
            {"input_tokens": 1000, "cache_write_tokens": 400, "output_tokens": 10},
            "0.00465",
        ),
        ("llm", "api.openai.com", "gpt-4.1"): (
            {"input_tokens": 1000, "output_tokens": 10},
            "0.00208",
        ),
        ("llm", "xai", "grok-4-1-fast-non-reasoning"): (
            {"input_tokens": 1000, "output_tokens": 10},
            "0.000205",
        ),
        ("tts", "ElevenLabs", "eleven_turbo_v2_5"): ({"characters": 123}, "0.00615"),
        ("tts", "Deepgram", "aura-2-andromeda-en"): ({"characters": 123}, "0.00369"),
    }
    for (component, provider, model), (quantities, expected) in usage.items():
        row = book.find(component, provider, model)
        assert row is not None
        charge = row.charge(quantities)
        assert charge.amount == Decimal(expected), model
        assert not charge.unpriced, model
