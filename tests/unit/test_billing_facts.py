"""What language models and voices report: the table is sound, and its bills are usage x price."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from runguard_otel.adapters.livekit.facts.billing import REPORTS
from runguard_otel.cost.defaults import defaults
from runguard_otel.cost.pricebook import PriceBook

pytestmark = pytest.mark.unit

BOOK = PriceBook.load()
LLM, TTS, REALTIME = REPORTS["llm"], REPORTS["tts"], REPORTS["realtime"]
NUMBERS = {
    "input": r"(\d+)(?: tokens)? in\b",
    "cached": r"(\d+) of them cached",
    "output": r"(\d+) out",
    "total": r"(\d+) in all",
    "characters": r"(\d+) characters",
}


def name(row: dict[str, Any]) -> str:
    return f"{row['plugin']} {row['product']}"


def numbers(report: str) -> dict[str, Decimal]:
    """What a report says, by name; 0 where it does not."""
    found = {key: re.search(pattern, report) for key, pattern in NUMBERS.items()}
    return {key: Decimal(match[1]) if match else Decimal(0) for key, match in found.items()}


def expected(component: str, row: dict[str, Any], report: str) -> str | None:
    """The bill, worked out here from usage and price; ``None`` without one of them."""
    found = row["found"]
    price = BOOK.find(component, found["provider"], found["model"], "ship")
    if price is None:
        return None
    said, rates = numbers(report), price.rates
    if component == "tts" and "characters" in rates:
        return _said(said["characters"] * rates["characters"] / price.per)
    if component == "tts":
        audio = said["output"] * rates["output_audio_tokens"]
        return _said((said["input"] * rates["input_tokens"] + audio) / price.per)
    if "input_tokens" not in rates:
        return None
    output = max(said["output"], said["total"] - said["input"])
    amount = (said["input"] - said["cached"]) * rates["input_tokens"]
    amount += said["cached"] * rates.get("cached_input_tokens", Decimal(0))
    amount += output * rates["output_tokens"]
    without = said["cached"] if "cached_input_tokens" not in rates else Decimal(0)
    return _said(amount / price.per, without)


def _said(amount: Decimal, tokens: Decimal = Decimal(0)) -> str | None:
    if not amount:
        return None
    return f"${amount.normalize():f}" + (f", {tokens} tokens unpriced" if tokens else "")


@pytest.mark.parametrize("table", [LLM, TTS], ids=["llm", "tts"])
def test_at_least_ten_plugins_were_run_and_nothing_failed(table: list[dict[str, Any]]) -> None:
    keys = [(row["plugin"], row["product"], row["release"]) for row in table]
    assert keys == sorted(set(keys))
    assert len({row["plugin"] for row in table}) >= 10
    for row in table:
        found = row["found"]
        failed = [n for n, cell in found.items() if "Error" in cell or "failed" in cell]
        assert not failed, name(row)
        assert "nothing" not in (found["bill"], found.get("interrupted_bill")), name(row)


@pytest.mark.parametrize(
    ("component", "row"),
    [(kind, row) for kind, table in (("llm", LLM), ("tts", TTS)) for row in table],
    ids=lambda value: value if isinstance(value, str) else name(value),
)
def test_a_bill_is_usage_times_price_to_the_last_digit(component: str, row: dict[str, Any]) -> None:
    """Fails if a price or the meter changes, or a bill was written by hand."""
    found = row["found"]
    for request in ("reply", "interrupted", "unheard"):
        if request not in found:
            assert component == "tts", "such a voice is heard only when it is whole"
            continue
        bill = found["bill" if request == "reply" else f"{request}_bill"]
        report = found[request]
        if report == "nothing" and component == "tts":  # the host told nothing of the text
            assert "stream()" in row["product"]
            report = found["reply"]
        wanted = expected(component, row, report)
        if wanted is None:
            assert "unpriced" in bill and "$" not in bill
        else:
            assert bill == wanted


def test_a_request_without_a_report_is_counted() -> None:
    """Fails if a model begins to report what is given up, or none: the guide says none does."""
    for row in LLM:
        found = row["found"]
        assert (found["unheard"], found["unheard_bill"]) == ("nothing", "1 request unpriced")
        assert (found["silent"], found["silent_bill"]) == ("0 in, 0 out", "1 request unpriced")


def test_a_streamed_voice_that_is_interrupted_costs_its_text() -> None:
    """The host reports it when a text is spoken to its end; what is given up is billed as well."""
    streamed = [row for row in TTS if "stream()" in row["product"]]
    assert len(streamed) >= 10
    for row in streamed:
        found = row["found"]
        by_tokens = "tokens" in found["reply"]
        assert found["unheard"] == "nothing"
        assert by_tokens or found["unheard_bill"] == found["bill"], name(row)
        assert by_tokens or found["interrupted_bill"] == found["bill"], name(row)


def test_a_text_that_the_host_measures_twice_is_billed_once() -> None:
    twice = [row["found"] for row in TTS if row["found"]["reply"].count("55 characters") == 2]
    assert {row["provider"] for row in twice} == {"telnyx", "xAI"}
    for found in twice:
        once = [r["found"] for r in TTS if r["found"]["provider"] == found["provider"]]
        assert {row["bill"] for row in once} == {found["bill"]}


def test_the_defaults_that_were_run_are_those_of_the_price_list() -> None:
    run = {(row["plugin"], row["found"]["model"]) for row in LLM + TTS}
    models = {row.model for row in defaults().rows}
    for plugin in ("anthropic", "google", "openai", "xai"):
        assert {model for p, model in run if p == plugin} & models, plugin


@pytest.mark.parametrize("row", LLM + TTS, ids=name)
def test_what_has_no_price_has_a_reason(row: dict[str, Any]) -> None:
    """Its own, or that of its plugin's default; and what has a price has none."""
    mine = (row["plugin"], row["found"]["model"])
    reasons = {d.unpriced for d in defaults().rows if (d.plugin, d.model) == mine} - {""}
    reasons |= {row["unpriced"]} if "unpriced" in row else set()
    assert (len(reasons) == 1) is ("$" not in row["found"]["bill"])


def realtime_bill(found: dict[str, Any], report: str) -> str:
    """Usage times price of the sound and the text of a reply, worked out here."""
    price = BOOK.find("llm", found["provider"], found["model"])
    assert price is not None
    if "open_seconds" in price.rates:
        return f"${price.rates['open_seconds'].normalize():f} for each {price.per} s"
    if report == "nothing":
        return "nothing"
    given, made = (
        [Decimal(n) for n in re.findall(r"(\d+) (?:text|audio)", part)]
        for part in re.findall(r"\d+ text and \d+ audio (?:in|out)", report)
    )
    cached = re.search(r"(\d+) and (\d+) of them cached", report)
    text, sound = (Decimal(n) for n in cached.groups()) if cached else (Decimal(0), Decimal(0))
    rates = price.rates
    amount = (given[0] - text) * rates["input_tokens"]
    amount += (given[1] - sound) * rates["input_audio_tokens"]
    amount += made[0] * rates["output_tokens"] + made[1] * rates["output_audio_tokens"]
    if cached:
        amount += text * rates["cached_input_tokens"] + sound * rates["cached_audio_tokens"]
    return f"${(amount / price.per).normalize():f}"


@pytest.mark.parametrize("request_", ["reply", "interrupted", "unheard", "hung_up"])
@pytest.mark.parametrize("row", REALTIME, ids=name)
def test_a_realtime_bill_is_usage_times_price_to_the_last_digit(
    row: dict[str, Any], request_: str
) -> None:
    found = row["found"]
    bill = found["bill" if request_ == "reply" else f"{request_}_bill"]
    assert bill == realtime_bill(found, found[request_])


def test_the_realtime_models_of_the_nine_providers_were_run() -> None:
    wanted = {(d.provider, d.model) for d in defaults().rows if "RealtimeModel" in d.name}
    run = {
        (row["found"]["provider"], row["found"]["model"])
        for row in REALTIME
        if row["release"] == defaults().release
    }
    assert run == wanted
    assert len(wanted) == 3


def test_every_voice_and_language_model_of_the_nine_providers_was_run() -> None:
    """By its class; a voice that can stream is run that way as well."""
    run = {(row["plugin"], row["product"].partition(" ")[0]) for row in LLM + TTS}
    named = ("STT", "RealtimeModel", "AMD", "DecisionModel")
    wanted = {
        (row.plugin, row.name)
        for row in defaults().rows
        if not any(part in row.name for part in named)
    }
    assert wanted - run == set()
    assert {("inference", "LLM"), ("inference", "TTS")} <= run
