"""What is known of recognisers: the table is sound, and says what the guard does with it."""

from __future__ import annotations

import logging
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from runguard_otel.adapters.livekit.facts.recognisers import (
    RECOGNISERS,
    Meaning,
    Row,
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


RUN = [row for row in RECOGNISERS if row.run]
each_run = pytest.mark.parametrize("row", RUN, ids=[f"{r.plugin} {r.product}" for r in RUN])
TRIPS = "trips at the 5th"


@each_run
def test_clear_speech_was_never_suppressed(row: Row) -> None:
    heard = [row.found[name] for name in ("clear", "batch_clear") if name in row.found]
    assert heard and set(heard) == {"heard"}


@each_run
def test_a_row_of_noise_trips_where_it_can_be_told_and_the_limits_name_the_rest(row: Row) -> None:
    """Words at a low score where the number is judged; voices without words where they are told."""
    is_judged = judged(row.plugin) and row.meaning.is_confidence
    silent = row.found.get("batch_silence", "")
    for batch in ("", "batch_"):
        if f"{batch}unsure" not in row.found:
            continue
        name = f"{row.plugin} {row.product}" + (" (batch)" if batch and "turn" in row.found else "")
        told = silent.startswith("final") if batch else row.found["blank"] != "-"
        assert (row.found[f"{batch}unsure"] == TRIPS) is is_judged
        assert (row.found[f"{batch}wordless"] == TRIPS) is told
        assert (name in named_in_limits("words at a low score")) is not is_judged
        assert (name in named_in_limits("without words")) is not told


def named_in_limits(title: str) -> set[str]:
    """The recognisers in a list of ``docs/limits.md``; an entry is names, colon, reason."""
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
    part = text.partition("### Whose noise does not trip")[2].partition("<!--")[0]
    (wanted,) = (one for one in part.split("- **")[1:] if title in one.partition(":**")[0])
    entries = [" ".join(one.split()) for one in wanted.split("  - ")[1:]]
    assert all(reason for _, _, reason in (one.partition(": ") for one in entries))
    return {name for one in entries for name in one.partition(": ")[0].split(", ")}


@each_run
def test_a_track_that_flaps_is_one_connection_or_not_shared_and_nothing_is_lost(row: Row) -> None:
    """A flush ends two streams and makes one connect anew; new options connect as they do alone."""
    if "tracks" not in row.found:
        return  # asked for each voice: there is no stream
    assert row.found["tracks"] == "shared, 1 connection, whole"
    flushed = row.found["flush"]
    expected = "shared, 1 connection, whole"
    if "nothing is heard afterwards" in flushed:
        expected = "not shared, 3 connections, whole"
    elif "reconnects" in flushed:
        expected = "shared, 3 connections, whole"
    assert row.found["tracks_end_input"] == expected
    updated = row.found["tracks_updated"]
    assert updated.endswith(", whole")
    if row.product == "STT ink-2":
        assert updated == "shared, 1 connection, whole", "it knows one language whatever it is told"
    elif row.found["update_options"].endswith("later streams only"):
        assert updated.startswith("shared once"), "the second one has the new options"
    elif not row.found["update_options"].endswith("reconnects"):
        assert updated == "shared, 1 connection, whole"


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
