"""A host that lacks something costs the guard that needs it, and one warning."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import runguard_otel
from tools.compatibility_doc import ACTS, states

pytestmark = pytest.mark.host_contract

audio_recognition = pytest.importorskip("livekit.agents.voice.audio_recognition")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    runguard_otel.uninstrument()
    yield
    runguard_otel.uninstrument()


def degraded(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "degraded" in record.getMessage()
    ]


def probe() -> dict[str, Any]:
    reports = runguard_otel.instrument().patches
    rows = [{"guard": str(r.guard), "name": r.name, "state": r.state} for r in reports]
    return {"version": "x", "patches": rows, "misfires": []}


def test_a_release_without_one_hook_costs_that_hook_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(audio_recognition.AudioRecognition, "_on_vad_event")
    assert states(probe())["vad_misfire"] == ("full", "no `AudioRecognition._on_vad_event`")
    assert degraded(caplog) == [
        "vad_misfire is degraded: this livekit-agents has no AudioRecognition._on_vad_event "
        "(see `runguard-otel doctor`)"
    ]


def test_a_release_without_the_hook_that_acts_leaves_a_guard_that_observes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(audio_recognition.AudioRecognition, "_on_stt_event")
    assert states(probe())["vad_misfire"][0] == "observe only"


def test_a_release_without_a_class_costs_one_guard_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(audio_recognition, "AudioRecognition")
    found = {name: state for name, (state, _) in states(probe()).items()}
    assert found == {name: "absent" if name == "vad_misfire" else "full" for name in ACTS}
    assert degraded(caplog) == [
        "vad_misfire is degraded: this livekit-agents has no livekit.AudioRecognition "
        "(see `runguard-otel doctor`)"
    ]
