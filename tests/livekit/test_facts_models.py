"""What ``facts/models.py`` says of recognisers, streams and adapters, asked of real objects."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import APIConnectionError, APIStatusError, APITimeoutError, llm, stt, tts
from livekit.agents.metrics import STTMetrics
from livekit.agents.tokenize.basic import SentenceTokenizer

from runguard_otel.adapters.livekit.facts import models as facts
from runguard_otel.adapters.livekit.facts import recognisers
from runguard_otel.testing import ScriptedLLM
from runguard_otel.testing.listening import (
    ScriptedBatchSTT,
    ScriptedSTT,
    final,
    interim,
    malformed_final,
)
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.facts import since

pytestmark = pytest.mark.livekit


def frame(rate: int = 16_000) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(rate, 1, rate // 100)


def fallback(*models: stt.STT[Any]) -> stt.STT[Any]:
    return stt.FallbackAdapter(list(models))


async def test_a_result_is_that_of_the_recogniser_inside_the_adapters() -> None:
    """Fails if an adapter keeps its recognisers under another name."""
    batch = ScriptedBatchSTT([])
    adapter = stt.StreamAdapter(stt=batch, vad=ScriptedVAD())
    assert list(facts.inner_models(adapter)) == [batch]
    assert list(facts.inner_models(batch)) == [batch]
    assert facts.recogniser_of(adapter) == ("scripted", "scripted-batch", True)
    assert facts.is_stt_adapter(adapter) and facts.is_adapter(adapter)
    assert not facts.is_stt_adapter(batch) and not facts.is_adapter(batch)
    one, other = ScriptedSTT("scripted"), ScriptedSTT("Sarvam")
    several = fallback(one, other)
    assert set(facts.inner_models(several)) >= {one, other}
    assert facts.recogniser_of(several).measures == since(1, 6), "one of them measures none"


async def test_what_a_voice_was_given_and_the_host_has_not_measured() -> None:
    """Fails if the host keeps the text of its metrics under another name."""
    voice = ScriptedTTS()
    stream = tts.StreamAdapter(tts=voice, sentence_tokenizer=SentenceTokenizer()).stream()
    stream.push_text("Good morning, ")
    assert facts.unmeasured_characters(stream) == 14
    stream.push_text("Ada.")
    stream.flush()
    assert facts.unmeasured_characters(stream) == 18
    await stream.aclose()
    if not since(1, 2):
        return  # the scripted voice needs 1.2
    whole = voice.synthesize("hello")
    assert facts.unmeasured_characters(whole) == 0
    assert not facts.measured_twice(whole)
    await whole.aclose()


@pytest.mark.skipif(not since(1, 3), reason="since 1.3")
async def test_a_text_that_is_streamed_inside_is_measured_twice() -> None:
    """Fails if the host names that stream otherwise, or makes it no more."""
    whole = ScriptedTTS()._synthesize_with_stream("hello")
    assert facts.measured_twice(whole)
    await whole.aclose()


def test_a_model_names_itself_or_its_plugin_does() -> None:
    assert facts.model_names(ScriptedSTT("vendor", "best")) == ("vendor", "best")
    plugin = type("STT", (), {"__module__": "livekit.plugins.vendor.stt"})()
    assert facts.model_names(plugin) == ("vendor", "unknown")
    assert facts.names_of(ScriptedSTT("vendor", "best")) == ("vendor", "best")
    assert facts.names_of(object()) == ("", "")


def test_what_an_alternative_says() -> None:
    event = final("a table")
    assert facts.heard_in(event.alternatives[0]).text == "a table"
    assert facts.heard_in(None).text == ""
    assert facts.final_words(event) == "a table"
    assert facts.final_words(interim("a")) == ""
    assert facts.final_words(malformed_final()) == ""


def measured(label: str, names: tuple[str, str] | None = None) -> Any:
    """What LiveKit reports of a recogniser, as the release has it."""
    made = STTMetrics.model_construct if hasattr(STTMetrics, "model_construct") else STTMetrics
    values: dict[str, Any] = {
        "request_id": "r",
        "timestamp": 0.0,
        "duration": 1.0,
        "label": label,
        "audio_duration": 1.0,
        "streamed": True,
        **({} if since(1, 0) else {"error": None}),
    }
    if names is not None:
        values["metadata"] = SimpleNamespace(model_provider=names[0], model_name=names[1])
    return made(**values)


def test_metrics_name_who_served_a_request() -> None:
    model = ScriptedSTT("vendor", "best")
    assert facts.served_by(measured(model.label), model) == ("vendor", "best")
    assert facts.served_by(measured("livekit.plugins.other.STT"), model) == ("other", "")
    if since(1, 2):
        told = measured(model.label, ("other", "newest"))
        assert facts.served_by(told, model) == ("other", "newest")
    assert not facts.measured_by_adapter(measured(model.label))
    adapter = stt.StreamAdapter(stt=ScriptedBatchSTT([]), vad=ScriptedVAD())
    assert facts.measured_by_adapter(measured(adapter.label))


def test_what_is_billed_although_it_failed() -> None:
    assert facts.was_refused(APIConnectionError())
    assert facts.was_refused(APIStatusError("no", status_code=401))
    assert not facts.was_refused(APITimeoutError()), "the provider may have done the work"
    assert not facts.was_refused(ValueError())


async def test_a_stream_knows_its_model_and_what_it_was_fed() -> None:
    """Fails for another name of the task, the input channel or the rate."""
    model, over = ScriptedSTT(), list[object]()
    stream = model.stream()
    assert facts.stt_of(stream) is model
    assert facts.pushed_rate(stream) == 0
    facts.when_stream_ends(stream, over.append)
    task = facts.stream_task(stream)
    assert task is not None and not task.done()
    assert facts.takes_audio(stream)
    stream.push_frame(frame())
    assert facts.pushed_rate(stream) == 16_000
    stream.end_input()
    assert not facts.takes_audio(stream), "its input has ended"
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert over == [task] and not facts.takes_audio(stream)
    await stream.aclose()


async def test_each_attempt_of_a_stream_is_seen() -> None:
    """Fails if ``_run`` is not what is awaited for each attempt, or is looked up on the class."""
    attempts: list[str] = []
    stream: Any = ScriptedSTT().stream()

    def fail(_: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*_: Any, **__: Any) -> None:
            if len(attempts) < 3:
                raise APIConnectionError("two attempts fail")

        return run

    stream._conn_options = dataclasses.replace(stream._conn_options, retry_interval=0.0)
    facts.around_attempts(stream, fail)
    facts.on_attempt(stream, lambda: attempts.append("begins"))
    task = facts.stream_task(stream)
    assert task is not None
    await task
    assert attempts == ["begins"] * 3
    await stream.aclose()


async def test_the_host_is_told_of_a_refused_stream_since_1_0() -> None:
    model = ScriptedSTT()
    stream, told = model.stream(), list[Any]()
    if since(1, 0):
        model.on("error", told.append)
    error = facts.refused_stream(stream, RuntimeError("a loop"))
    assert isinstance(error, APIConnectionError) and not error.retryable
    assert [event.recoverable for event in told] == ([False] if since(1, 0) else [])
    await stream.aclose()


async def test_a_stream_ends_as_by_its_provider() -> None:
    stream = ScriptedSTT().stream()
    task = facts.stream_task(stream)
    assert task is not None
    facts.abort_stream(stream)
    await asyncio.wait({task})
    assert task.cancelled()
    await stream.aclose()


async def test_a_stream_of_a_voice_knows_what_it_asks() -> None:
    assert facts.asked_model(object()) is None
    if not since(1, 2):
        return  # the scripted voice needs 1.2
    voice = ScriptedTTS()
    stream: tts.ChunkedStream = voice.synthesize("hello")
    assert facts.asked_model(stream) is voice
    await stream.aclose()


def test_a_blank_of_an_adapter_is_no_misfire() -> None:
    blank = final("").alternatives[0]
    unnamed = SimpleNamespace(text="", language="")
    adapter = SimpleNamespace(_stt=SimpleNamespace(_suppress_background=True))
    activity, plain = SimpleNamespace(stt=adapter), SimpleNamespace(stt=ScriptedSTT())
    assert facts.kept_back(activity, unnamed)
    assert not facts.kept_back(activity, blank), "a provider's blank has a language"
    assert not facts.kept_back(activity, None)
    assert not facts.kept_back(plain, unnamed)


def test_the_adapter_that_keeps_words_back_still_says_so() -> None:
    adapter: Any = getattr(stt, "MultiSpeakerAdapter", None)
    assert (adapter is not None) == since(1, 2)
    if adapter is None:
        return
    model = ScriptedSTT()
    model._capabilities.diarization = True
    made = adapter(stt=model, detect_primary_speaker=True, suppress_background_speaker=True)
    assert facts.kept_back(SimpleNamespace(stt=made), SimpleNamespace(text="", language=""))


def test_a_detector_lets_its_thresholds_be_changed() -> None:
    assert facts.detector_thresholds(ScriptedVAD()) == {
        "activation_threshold": 0.5,
        "deactivation_threshold": 0.35,
    }
    assert facts.detector_thresholds(object()) == {}


def test_streams_of_equal_recognisers_are_interchangeable() -> None:
    class Plugin(ScriptedSTT):
        def __init__(self, language: str) -> None:
            super().__init__()
            self._opts = SimpleNamespace(language=language)

    one = Plugin("en")
    assert facts.interchangeable(one, one)
    assert facts.interchangeable(one, Plugin("en"))
    assert not facts.interchangeable(one, Plugin("de"))
    assert not facts.interchangeable(ScriptedSTT(), ScriptedSTT()), "nothing says they are equal"


def test_a_stream_opened_after_a_change_of_the_settings_is_another_one() -> None:
    """Fails if options that are changed in place look as they did; unless open streams follow."""
    plain, follows = SettingsSTT(), SettingsSTT()
    follows.__class__ = type("STT", (SettingsSTT,), {"__module__": "livekit.plugins.deepgram.stt"})
    for model, is_same in ((plain, False), (follows, True)):
        before = facts.settings_at_opening(model)
        assert facts.settings_at_opening(model) == before
        model._opts.language = "es"
        assert (facts.settings_at_opening(model) == before) is is_same
    assert recognisers.updates_reach("deepgram") and not recognisers.updates_reach("unheard-of")


@dataclasses.dataclass
class Terms:
    terms: set[int]
    extra: dict[str, Any]


def test_equal_settings_are_the_same_in_whatever_order_they_were_filled() -> None:
    one, other = SettingsSTT(), SettingsSTT()
    mine = one._opts.terms = Terms({0, 8}, {"a": 1, "b": {"c": [1], "d": 2}})
    theirs = other._opts.terms = Terms({8, 0}, {"b": {"d": 2, "c": [1]}, "a": 1})
    assert repr(mine.terms) != repr(theirs.terms), "they share a slot"
    assert facts.settings_at_opening(one) == facts.settings_at_opening(other)
    theirs.extra["b"]["c"].append(2)
    assert facts.settings_at_opening(one) != facts.settings_at_opening(other)
    mine.extra["itself"] = one._opts
    assert facts.settings_at_opening(one) == facts.settings_at_opening(one)


class Options:
    """A plugin's, without a ``repr`` of its own."""

    language = "en"
    terms: Terms


class SettingsSTT(ScriptedSTT):
    """One that keeps its options where plugins do."""

    def __init__(self) -> None:
        super().__init__()
        self._opts = Options()


def test_what_a_recogniser_means_by_confidence() -> None:
    """What the plugins themselves say is looked at in ``tests/plugins``."""
    (row,) = recognisers.rows_of("NVIDIA")
    assert str(row.meaning) == recognisers.meaning_of("nvidia") == "raw score"
    assert not recognisers.judged("sarvam") and recognisers.judged("deepgram", "unheard-of")
    assert set(recognisers.imported()) <= {row.plugin for row in recognisers.RECOGNISERS}


def test_which_recognisers_hear_nothing_after_a_flush() -> None:
    kind = type("STT", (ScriptedSTT,), {"__module__": "livekit.plugins.nvidia.stt"})
    assert facts.flush_ends(kind()) and not facts.flush_ends(ScriptedSTT())
    assert recognisers.flush_ends("nvidia") and not recognisers.flush_ends("deepgram", "unheard-of")


@pytest.mark.parametrize(
    ("model", "language", "billed"),
    [
        ("deepgram/nova-3:multi", None, "deepgram/nova-3:multi"),
        ("deepgram/nova-3", "multi", "deepgram/nova-3:multi"),
        ("deepgram/nova-3:en", None, "deepgram/nova-3"),
        ("deepgram/nova-3", None, "deepgram/nova-3"),
    ],
)
async def test_a_recogniser_of_several_languages_is_billed_by_that_name(
    model: str, language: str | None, billed: str
) -> None:
    inference = pytest.importorskip("livekit.agents.inference", reason="since 1.2")
    more = {"language": language} if language else {}
    ears = inference.STT(model, api_key="key", api_secret="secret", **more)
    if ears.model == model:  # 1.2 and 1.3 leave the name as it is
        billed = f"{model}:multi" if language else model
    assert facts.billed_as(ears) == billed
    assert facts.billed_as(stt.FallbackAdapter([ears]), ears.model) == billed


class Tiered(ScriptedLLM):
    """One that keeps its tier where the plugins of OpenAI, Google and Groq do."""

    def __init__(self, tier: object) -> None:
        super().__init__()
        self._opts = SimpleNamespace(service_tier=tier)


class Tier(enum.Enum):
    """As Google's library has it."""

    PRIORITY = "PRIORITY"
    UNSPECIFIED = "unspecified"


@pytest.mark.parametrize(
    ("tier", "billed"),
    [
        ("priority", ":priority"),
        ("flex", ":flex"),
        (Tier.PRIORITY, ":priority"),
        (Tier.UNSPECIFIED, ""),
        ("auto", ""),
        ("default", ""),
        (None, ""),
        (object(), ""),  # NOT_GIVEN
    ],
)
def test_a_tier_that_costs_otherwise_is_part_of_the_name(tier: object, billed: str) -> None:
    model = Tiered(tier)
    assert facts.tier_of(model, model.model) == billed
    assert facts.tier_suffix(getattr(tier, "value", tier)) == billed
    other = ScriptedLLM()
    adapter = llm.FallbackAdapter([model, other])
    assert facts.tier_of(adapter, model.model) == billed
    assert facts.tier_of(adapter, "another") == facts.tier_of(other, other.model) == ""


def test_livekit_inference_hands_a_tier_on() -> None:
    inference = pytest.importorskip("livekit.agents.inference", reason="since 1.2")
    make = partial(inference.LLM, "openai/gpt-4.1", api_key="key", api_secret="secret" * 6)
    assert facts.tier_of(make(), "openai/gpt-4.1") == ""
    model = make(extra_kwargs={"service_tier": "priority"})
    assert facts.tier_of(model, "openai/gpt-4.1") == ":priority"
