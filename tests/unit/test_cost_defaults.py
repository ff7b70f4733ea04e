"""What the providers' plugins use when nobody names a model: priced, or listed with the reason."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from runguard_otel.adapters.livekit.facts.recognisers import RECOGNISERS
from runguard_otel.cost.defaults import Default, defaults
from runguard_otel.cost.pricebook import PriceBook

pytestmark = pytest.mark.unit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
DEFAULTS = defaults().rows


@pytest.mark.parametrize("default", DEFAULTS, ids=lambda row: f"{row.plugin}.{row.name}")
def test_a_default_has_a_price_or_a_reason(default: Default) -> None:
    row = PriceBook.load().find(default.component, default.provider, default.model, "ship")
    assert (row is not None) is not bool(default.unpriced), "priced, or why not, and not both"
    line = f"| {default.plugin} `{default.name}` | `{default.model}` | {default.unpriced} |"
    assert (line in PAGE.read_text(encoding="utf-8")) is bool(default.unpriced)


def test_the_recognisers_that_were_run_have_these_defaults() -> None:
    """Fails if a plugin's default changes: the laboratory writes what it found."""
    ours = {(row.provider, row.model) for row in DEFAULTS if row.component == "stt"}
    ours -= {("google", "gemini-3.5-transcribe-live"), ("livekit", "unknown")}  # were not run
    ours -= {("livekit", "cartesia/ink-whisper")}  # of the detector of answering machines
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
            "0.002",
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


def test_several_languages_at_once_cost_what_their_row_says() -> None:
    book = PriceBook.load()
    seconds = {"audio_seconds": 60, "open_seconds": 60}
    for provider, model, expected in (
        ("Deepgram", "nova-3", "0.0048"),
        ("Deepgram", "nova-3:multi", "0.0058"),
        ("livekit", "deepgram/nova-3", "0.0048"),
        ("livekit", "deepgram/nova-3:multi", "0.0058"),
        ("Deepgram", "flux-general-en:multi", "0.0065"),  # one price for all languages
    ):
        found = book.model("stt", provider, model, "ship")
        assert found.price is not None
        only = {meter: seconds[meter] for meter in found.price.rates}
        assert found.price.charge(only).amount == Decimal(expected), model
    assert book.model("stt", "Deepgram", "flux-general-en:multi").name == "flux-general-en"
    assert book.model("stt", "Soniox", "stt-rt:multi") == (None, "soniox", "stt-rt")


def test_a_row_of_the_users_for_the_model_as_such_wins_over_ours_for_several_languages(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[price]]\ncomponent = "stt"\nprovider = "deepgram"\nmodel = "nova-3"\nper = 60\n'
        'rates = { audio_seconds = "0.003" }\nsource = "our contract"\ndate = 2026-11-01\n'
    )
    found = PriceBook.load(file).model("stt", "Deepgram", "nova-3:multi")
    assert found.price is not None
    assert (found.price.source, found.name) == ("our contract", "nova-3")
