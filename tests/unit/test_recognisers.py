"""What is known of recognisers: the table is sound, and says what the guard does with it."""

from __future__ import annotations

import logging
import sys
from datetime import date
from types import ModuleType

import pytest

from runguard_otel.adapters.livekit.facts.recognisers import (
    RECOGNISERS,
    Meaning,
    imported,
    judged,
    rows_of,
)
from runguard_otel.adapters.livekit.process.messages import say_started
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.unit


def test_rows_are_in_order_and_say_where_they_come_from() -> None:
    keys = [(row.plugin, row.product, row.release) for row in RECOGNISERS]
    assert keys == sorted(set(keys))
    for row in RECOGNISERS:
        assert row.note and row.release.count(".") == 2
        assert date.fromisoformat(row.date) >= date(2026, 11, 28)
        assert all(name == name.lower() for name in (row.plugin, *row.providers))
        assert row.run is bool(row.found), "what was run was measured"


def test_at_least_25_plugins_were_run_and_nothing_failed() -> None:
    assert len({row.plugin for row in RECOGNISERS if row.run}) >= 25
    for row in RECOGNISERS:
        assert not [cell for cell in row.found.values() if cell.startswith("failed")], row.plugin


def test_what_a_number_means_is_what_was_measured_unless_the_note_says_why() -> None:
    """Fails for a row whose meaning was guessed: the run says which number comes out."""
    otherwise = {"baseten STT": "utterance", "nvidia STT": "utterance"}
    for row in RECOGNISERS:
        measured = row.found.get("final", row.found.get("batch"))
        if measured is not None:
            expected = otherwise.get(f"{row.plugin} {row.product}", str(row.meaning))
            assert measured == expected, f"{row.plugin} {row.product}"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Deepgram", "deepgram"), True),
        (("AssemblyAI",), True),
        (("cartesia",), True),
        (("a provider of tomorrow",), True),
        (("unknown", "nvidia"), False),
        (("Amazon Transcribe",), False),
        (("aws",), False),
        (("Sarvam",), False),
        (("SmallestAI",), False),
        (("ElevenLabs",), False),
        (("Azure STT",), False),
    ],
)
def test_only_a_number_that_speaks_of_the_whole_result_is_judged(
    names: tuple[str, ...], expected: bool
) -> None:
    assert judged(*names) is expected


def test_where_releases_differ_the_most_cautious_row_holds() -> None:
    assert {row.meaning for row in rows_of("smallestai")} == {
        Meaning.FIRST_WORD,
        Meaning.GEOMETRIC_MEAN,
    }
    assert not judged("smallestai")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("nvidia", "judged by words, for their number is no confidence: nvidia (raw score)"),
        ("", ""),
    ],
)
def test_the_start_line_names_recognisers_that_are_judged_by_their_words(
    plugin: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in imported():
        monkeypatch.delitem(sys.modules, f"livekit.plugins.{name}")
    for name in filter(None, ("deepgram", plugin)):
        monkeypatch.setitem(sys.modules, f"livekit.plugins.{name}", ModuleType(name))
    with caplog.at_level(logging.INFO, logger="runguard_otel"):
        say_started(Services(Settings.load(), MemoryRecorder()), console=True)
    (line,) = caplog.messages
    assert said in line
    assert ("judged by words" in line) is bool(plugin)
