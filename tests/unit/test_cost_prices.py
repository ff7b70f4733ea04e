"""The price book prices what it knows, says what it does not, and refuses what is wrong."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from runguard_otel.cost.price import PriceBookError
from runguard_otel.cost.pricebook import PriceBook

pytestmark = pytest.mark.unit

ROW = """
[[price]]
component = "llm"
provider = "openai"
model = "gpt-4.1-mini"
rates = { input_tokens = "0.10", cached_input_tokens = "0.01", output_tokens = 0.4 }
per = 1_000_000
source = "our contract"
date = 2026-11-01
"""


def write(path: Path, text: str) -> Path:
    file = path / "prices.toml"
    file.write_text(text, "utf-8")
    return file


def test_every_row_we_ship_has_a_price_a_source_and_a_day() -> None:
    book = PriceBook.load()
    assert len(book.rows) >= 35
    for row in book.rows:
        assert row.source, row
        assert date(2026, 1, 1) <= row.day <= date(2026, 12, 31), row
        assert row.rates, row
        assert all(rate > 0 for rate in row.rates.values()), row


@pytest.mark.parametrize(
    ("component", "provider", "model", "plan"),
    [
        ("transport", "livekit-cloud", "participant", "ship"),
        ("transport", "livekit-cloud", "participant", "scale"),
        ("transport", "self-hosted", "egress", ""),
        ("agent", "livekit-cloud", "agent-session", "ship"),
        ("agent", "self-hosted", "compute", ""),
        ("stt", "Deepgram", "nova-3", ""),
        ("stt", "AssemblyAI", "universal-streaming-english", ""),
        ("stt", "Google Cloud Platform", "chirp_3", ""),
        ("stt", "livekit", "deepgram/nova-3", "ship"),
        ("llm", "api.openai.com", "gpt-4.1-mini", ""),
        ("llm", "api.openai.com", "gpt-4.1-mini-2025-04-14", ""),
        ("llm", "api.anthropic.com", "claude-sonnet-5-5", ""),
        ("llm", "Gemini", "gemini-3-flash-preview", ""),
        ("llm", "api.openai.com", "gpt-realtime", ""),
        ("tts", "ElevenLabs", "eleven_turbo_v2_5", ""),
        ("tts", "Cartesia", "sonic-3", ""),
        ("tts", "api.openai.com", "gpt-4o-mini-tts", ""),
    ],
)
def test_names_livekit_uses_find_their_price(
    component: str, provider: str, model: str, plan: str
) -> None:
    assert PriceBook.load().find(component, provider, model, plan) is not None


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "gpt-4.1-mini-audio", "gpt-5", ""])
def test_a_similar_name_is_not_the_same_model(model: str) -> None:
    assert PriceBook.load().find("llm", "openai", model) is None


def test_a_plan_has_its_own_price() -> None:
    book = PriceBook.load()
    ship = book.find("transport", "livekit-cloud", "participant", "ship")
    scale = book.find("transport", "livekit-cloud", "participant", "scale")
    assert ship is not None
    assert scale is not None
    assert ship.rates["connection_seconds"] == Decimal("0.0005")
    assert scale.rates["connection_seconds"] == Decimal("0.0004")
    assert book.find("transport", "livekit-cloud", "participant", "self_hosted") is None


def test_an_override_replaces_our_row_and_leaves_the_rest(tmp_path: Path) -> None:
    book = PriceBook.load(write(tmp_path, ROW))
    mine = book.find("llm", "api.openai.com", "gpt-4.1-mini")
    assert mine is not None
    assert mine.source == "our contract"
    # A number without quotes is read from its digits, not from a binary float.
    assert mine.rates["output_tokens"] == Decimal("0.4")
    assert book.find("llm", "openai", "gpt-4.1") is not None
    assert book.version.endswith("+override")


def test_an_override_for_any_plan_beats_our_row_for_one_plan(tmp_path: Path) -> None:
    text = ROW.replace('"llm"', '"transport"').replace('"openai"', '"livekit-cloud"')
    text = text.replace('"gpt-4.1-mini"', '"participant"').replace(
        'input_tokens = "0.10", cached_input_tokens = "0.01", output_tokens = 0.4',
        'connection_seconds = "0.0003"',
    )
    row = PriceBook.load(write(tmp_path, text)).find(
        "transport", "livekit-cloud", "participant", "ship"
    )
    assert row is not None
    assert row.source == "our contract"


def test_a_missing_override_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PriceBookError, match=r"nowhere\.toml: no such file; RUNGUARD_PRICES"):
        PriceBook.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('source = "our contract"', "", "row 1 .*source is missing"),
        ("date = 2026-11-01", 'date = "last week"', "date must be a date"),
        ('"llm"', '"brain"', "component must be one of transport, agent"),
        ("input_tokens", "word_count", "no meter 'word_count'"),
        ('"0.10"', '"cheap"', "input_tokens='cheap' is not a number"),
        ('"0.10"', "-1", "must be a number >= 0"),
        ('"0.10"', '"NaN"', "must be a number >= 0"),
        ('"0.10"', "true", "must be a number >= 0"),
        ("per = 1_000_000", "per = 0", "per must be > 0"),
        ("per = 1_000_000", "pre = 1", "unknown key 'pre'"),
        ("per = 1_000_000", 'plan = "gold"', "plan must be one of ship, scale"),
        ("per = 1_000_000", 'currency = "EUR"', "'EUR' cannot be used.*two currencies"),
        ("per = 1_000_000", "rounding = { step = 1 }", "rounding takes increment and minimum"),
        ("[[price]]", "[[price", "cannot be read"),
        ("[[price]]", "[cost]", "has no .*price.* row"),
    ],
)
def test_a_malformed_row_says_which_and_why(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in ROW
    with pytest.raises(PriceBookError, match=says):
        PriceBook.load(write(tmp_path, ROW.replace(old, new, 1)))


def test_rows_older_than_180_days_are_stale() -> None:
    row = PriceBook.load().find("agent", "livekit-cloud", "agent-session", "ship")
    assert row is not None
    assert row.day == date(2026, 4, 11)
    assert not row.stale(date(2026, 10, 8))  # 180 days
    assert row.stale(date(2026, 10, 9))


def test_rows_that_are_old_could_not_be_looked_at_again() -> None:
    """Fails if a row grows old unseen: on the day of the book's version, these are all."""
    book = PriceBook.load()
    old = {(row.provider, row.models[0]) for row in book.rows if row.stale(date(2026, 11, 29))}
    cloud = {("livekit-cloud", name) for name in ("participant", "data", "agent-session")}
    assert old == cloud | {("cartesia", "ink-whisper"), ("xai", "grok-voice-*")}


def test_a_request_longer_than_the_row_allows_is_unpriced() -> None:
    row = PriceBook.load().find("llm", "anthropic", "claude-haiku-5-5")
    assert row is not None
    assert row.charge({"input_tokens": 100_000}).amount == Decimal("0.01")
    over = row.charge({"input_tokens": 60_000, "cached_input_tokens": 40_001})
    assert over.amount == 0
    assert over.unpriced == {"token": Decimal(100_001)}


def test_a_price_has_a_day_and_no_time(tmp_path: Path) -> None:
    """A time makes its age a TypeError, wherever prices are listed."""
    timed = ROW.replace("2026-11-01", "2026-11-01T08:00:00Z")
    with pytest.raises(PriceBookError, match="without quotes or a time"):
        PriceBook.load(write(tmp_path, timed))


@pytest.mark.parametrize("path", ["~nobody-of-that-name/prices.toml", "words", "pipe"])
def test_an_unusable_override_is_a_price_book_error_whatever_is_wrong(
    tmp_path: Path, path: str
) -> None:
    if path == "words":
        path = str(tmp_path / "prices.toml")
        text = 'aliases = "x"\n[[price]]\n'
        Path(path).write_text(text, encoding="utf-8")
    if path == "pipe":  # nobody writes to it: to open it is to wait for ever
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
    with pytest.raises(PriceBookError):
        PriceBook.load(path)


def test_a_reply_of_a_model_that_is_paid_while_it_is_open_costs_nothing_more() -> None:
    """It tells its tokens at each reply and its seconds when it closes."""
    row = PriceBook.load().find("llm", "api.x.ai", "grok-voice-latest")
    assert row is not None
    reply = row.charge({"open_seconds": 0.0, "input_audio_tokens": 300, "output_audio_tokens": 80})
    assert reply.amount == 0 and reply.unpriced is None
    assert row.charge({"open_seconds": 90.0}).amount == Decimal("0.12")
    text = row.charge({"input_tokens": 300, "output_tokens": 80})
    assert text.unpriced == {"token": Decimal(380)}, "it tells no time at all: it is paid otherwise"
