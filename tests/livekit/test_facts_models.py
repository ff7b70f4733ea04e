"""What ``facts/models.py`` says of models, their adapters and settings, asked of real objects."""

from __future__ import annotations

import dataclasses
import enum
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import llm, stt
from livekit.agents.metrics import STTMetrics

from runguard_otel.adapters.livekit.facts import models as facts
from runguard_otel.adapters.livekit.facts import recognisers
from runguard_otel.testing import ScriptedLLM
from runguard_otel.testing.listening import (
    ScriptedBatchSTT,
    ScriptedSTT,
    final,
)
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.facts import since

pytestmark = pytest.mark.livekit


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


def test_a_model_names_itself_or_its_plugin_does() -> None:
    assert facts.model_names(ScriptedSTT("vendor", "best")) == ("vendor", "best")
    plugin = type("STT", (), {"__module__": "livekit.plugins.vendor.stt"})()
    assert facts.model_names(plugin) == ("vendor", "unknown")
    assert facts.names_of(ScriptedSTT("vendor", "best")) == ("vendor", "best")
    assert facts.names_of(object()) == ("", "")


def test_what_an_alternative_says() -> None:
    assert facts.heard_in(final("a table").alternatives[0]).text == "a table"
    assert facts.heard_in(None).text == ""


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
        assert facts.names_in(told) == ("other", "newest")
    assert facts.names_in(measured(model.label)) is None
    assert not facts.measured_by_adapter(measured(model.label))
    adapter = stt.StreamAdapter(stt=ScriptedBatchSTT([]), vad=ScriptedVAD())
    assert facts.measured_by_adapter(measured(adapter.label))


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
