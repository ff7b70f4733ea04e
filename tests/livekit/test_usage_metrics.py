"""Every kind of metrics LiveKit emits is read as its provider bills it, in old releases too."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import metrics

from runguard_otel.adapters.livekit.facts.job import session_key
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage.hooks import patches
from runguard_otel.adapters.livekit.usage.metrics import usage_of
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.livekit

NAMED = {"model_name": "m", "model_provider": "p"}
NOBODY = SimpleNamespace(llm=None, stt=None, tts=None)


REQUIRED = {
    "label": "livekit.plugins.openai.llm.LLM",
    "request_id": "r",
    "timestamp": 0,
    "duration": 1,
    "ttft": 0,
    "ttfb": 0,
    "cancelled": False,
    "streamed": True,
    "metadata": NAMED,
}
"""What some release asks for and no test is about; every other number is 0."""


def made(cls: Any, **given: Any) -> Any:
    """LiveKit's own metrics; skips where this release does not report what the test is about."""
    missing = set(given) - set(cls.model_fields)
    if missing:
        pytest.skip(f"{cls.__name__} of this release has no {', '.join(sorted(missing))}")
    filled = {n: REQUIRED.get(n, 0) for n, f in cls.model_fields.items() if f.is_required()}
    if "metadata" in cls.model_fields:
        filled["metadata"] = NAMED
    return cls(**{**filled, **given})


def llm(**given: Any) -> Any:
    return made(metrics.LLMMetrics, **given)


def used(of: Any, activity: Any = NOBODY) -> dict[str, float]:
    usage = usage_of(of, activity)
    assert usage is not None
    return {meter: n for meter, n in usage.quantities.items() if n}


def test_cached_and_written_tokens_are_not_billed_as_fresh_input() -> None:
    whole = llm(
        prompt_tokens=100, prompt_cached_tokens=60, cache_creation_tokens=10, completion_tokens=7
    )
    assert used(whole) == {
        "input_tokens": 30,
        "cached_input_tokens": 60,
        "cache_write_tokens": 10,
        "output_tokens": 7,
    }


def test_more_cached_than_prompt_tokens_stays_negative_for_the_meter_to_refuse() -> None:
    assert used(llm(prompt_tokens=10, prompt_cached_tokens=60))["input_tokens"] == -50


def test_a_request_without_usage_is_one_request() -> None:
    assert used(llm(cancelled=True)) == {"requests": 1}


def test_a_request_of_a_dearer_tier_has_a_price_of_its_own_or_none() -> None:
    """Fails if a request with ``priority`` is counted at the usual price, or as another model."""
    options = SimpleNamespace(service_tier="priority")
    model = SimpleNamespace(label=REQUIRED["label"], provider="p", model="m", _opts=options)
    usage = usage_of(llm(prompt_tokens=100, completion_tokens=7), SimpleNamespace(llm=model))
    assert usage is not None
    assert usage.model == "m:priority"
    book = PriceBook.load()
    usual, dearer = (book.find("llm", "openai", f"gpt-4.1{tier}") for tier in ("", ":priority"))
    assert usual is not None and dearer is not None
    assert dearer.rates["output_tokens"] == Decimal("14.00") > usual.rates["output_tokens"]
    assert book.find("llm", "openai", "gpt-4.1:flex") is None, (
        "unpriced, and not at the usual price"
    )


def test_a_voice_is_billed_by_characters_or_tokens() -> None:
    voice = made(
        metrics.TTSMetrics, characters_count=42, input_tokens=9, output_tokens=90, speech_id="s1"
    )
    assert used(voice) == {"characters": 42, "input_tokens": 9, "output_audio_tokens": 90}
    usage = usage_of(voice, NOBODY)
    assert usage is not None
    assert (usage.component, usage.provider, usage.model, usage.turn) == ("tts", "p", "m", "s1")


def stt(**given: Any) -> Any:
    return made(metrics.STTMetrics, **given)


def test_recognition_says_whether_its_audio_came_through_a_stream() -> None:
    usage = usage_of(stt(audio_duration=5, input_tokens=12, input_audio_tokens=10), NOBODY)
    assert usage is not None
    assert usage.streamed
    assert usage.quantities["audio_seconds"] == 5
    assert usage.quantities["input_tokens"] == 2
    batch = usage_of(stt(audio_duration=5, streamed=False), NOBODY)
    assert batch is not None
    assert not batch.streamed


def test_a_report_of_a_connection_alone_is_no_usage() -> None:
    assert usage_of(stt(acquire_time=0.2), NOBODY) is None


def realtime(**given: Any) -> Any:
    """Tolerant of releases whose details want every number."""
    cls = metrics.RealtimeModelMetrics
    for name, kind in (("input", "InputTokenDetails"), ("output", "OutputTokenDetails")):
        part: Any = getattr(cls, kind)
        numbers = dict(given.pop(f"{name}_token_details", {}))
        split = numbers.pop("cached_tokens_details", None)
        filled = {n: 0 for n, f in part.model_fields.items() if f.is_required()}
        filled.pop("cached_tokens_details", None)
        if split is not None:
            numbers["cached_tokens_details"] = cls.CachedTokenDetails(
                **{"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0, **split}
            )
        elif "cached_tokens_details" in part.model_fields:
            numbers["cached_tokens_details"] = None
        given[f"{name}_token_details"] = part(**{**filled, **numbers})
    return made(cls, **given)


def test_realtime_text_audio_and_cache_have_a_meter_each() -> None:
    answer = realtime(
        input_tokens=300,
        output_tokens=90,
        session_duration=2.5,
        input_token_details={
            "text_tokens": 100,
            "audio_tokens": 200,
            "cached_tokens": 130,
            "cached_tokens_details": {"text_tokens": 30, "audio_tokens": 100},
        },
        output_token_details={"text_tokens": 20, "audio_tokens": 70},
    )
    assert used(answer) == {
        "open_seconds": 2.5,
        "input_tokens": 70,
        "cached_input_tokens": 30,
        "input_audio_tokens": 100,
        "cached_audio_tokens": 100,
        "output_tokens": 20,
        "output_audio_tokens": 70,
    }


@pytest.mark.parametrize(
    "details",
    [{}, {"text_tokens": 100, "audio_tokens": 200, "cached_tokens": 130}],
    ids=["no split at all", "a cache without a split"],
)
def test_realtime_tokens_without_their_split_have_no_honest_price(details: dict[str, int]) -> None:
    assert used(realtime(input_tokens=300, input_token_details=details)) == {"requests": 1}


@pytest.mark.parametrize("kind", ["vad_metrics", "eou_metrics", "avatar_metrics", "new_metrics"])
def test_what_is_not_billed_is_not_usage(kind: str) -> None:
    assert usage_of(SimpleNamespace(type=kind), NOBODY) is None


class Inner:
    def __init__(self, label: str, model: str) -> None:
        self.label, self._opts = label, SimpleNamespace(model=model)


OPENAI = "livekit.plugins.openai.llm.LLM"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([Inner(OPENAI, "gpt-4.1")], ("openai", "gpt-4.1")),
        ([Inner(OPENAI, "gpt-4.1"), Inner("other", "x")], ("openai", "gpt-4.1")),
        ([Inner(OPENAI, "gpt-4.1"), Inner(OPENAI, "gpt-4.1-mini")], ("openai", "")),
        ([], ("openai", "")),
    ],
    ids=["one", "one of two classes", "two of one class: unknown", "none: unknown"],
)
def test_before_1_2_the_model_is_found_behind_its_adapter_or_left_unknown(
    models: list[Inner], expected: tuple[str, str]
) -> None:
    adapter = SimpleNamespace(label="adapter", _llm_instances=models)
    activity = SimpleNamespace(llm=adapter)
    old = SimpleNamespace(type="llm_metrics", label=OPENAI, prompt_tokens=5)
    usage = usage_of(old, activity)
    assert usage is not None
    assert (usage.provider, usage.model) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("gpt-4.1", "gpt-4.1"), ("openai", "gpt-4.1")), (("gpt-4.1", "gpt-5"), ("", ""))],
    ids=["all the same model", "different models: unknown"],
)
def test_in_1_0_an_adapter_reports_in_its_own_name_what_a_model_of_its_has_served(
    names: tuple[str, str], expected: tuple[str, str]
) -> None:
    adapter = SimpleNamespace(label="adapter", _llm_instances=[Inner(OPENAI, n) for n in names])
    old = SimpleNamespace(type="llm_metrics", label="adapter", prompt_tokens=5)
    usage = usage_of(old, SimpleNamespace(llm=adapter))
    assert usage is not None
    assert (usage.provider, usage.model) == expected


def test_without_a_price_port_only_streams_are_counted() -> None:
    rows = patches(Services(Settings.load(), MemoryRecorder()))
    assert {row.owner.__name__ for row in rows} == {"RecognizeStream"}


def test_outside_a_job_there_is_one_session() -> None:
    assert session_key() == ""
