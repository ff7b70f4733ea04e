"""A host that lacks something costs the guard that needs it, and one warning."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from livekit import rtc

import runguard_otel
from runguard_otel.testing.ffi import StageServer
from tests.kit.room_guard import lose
from tools.compatibility_doc import ACTS, states

pytestmark = pytest.mark.host_contract

audio_recognition = pytest.importorskip("livekit.agents.voice.audio_recognition")
ADAPTER = "runguard_otel.adapters.livekit"

HOOKS = {
    "room_reconnect": ("reconnect.hooks", "connect"),
    "vad_misfire": ("misfire.hooks", "_on_stt_event"),
    "job_dispatch": ("dispatch.hooks", "entrypoint"),
    "track_subscribe": ("subscription.hooks", "__init__"),
}
"""Guard -> the adapter's module, and the hook without which the guard cannot act."""


def rename(monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    """The host as it is, except for us: what we look for has another name in this release."""
    name, hook = HOOKS[guard]
    module = importlib.import_module(f"{ADAPTER}.{name}")
    table = module.patches

    def patches(services: Any) -> list[Any]:
        rows = table(services)
        return [r._replace(attribute=f"{hook}_") if r.attribute == hook else r for r in rows]

    monkeypatch.setattr(module, "patches", patches)


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
    (warning,) = degraded(caplog)
    assert warning.startswith(
        "vad_misfire is degraded: this livekit-agents has no AudioRecognition._on_vad_event "
        "(see `runguard-otel doctor`). Lost: "
    )


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
    assert found == {name: "observe only" if name == "vad_misfire" else "full" for name in ACTS}
    (warning,) = degraded(caplog)
    assert warning.startswith(
        "vad_misfire is degraded: this livekit-agents has no AudioRecognition._on_stt_event, "
        "AudioRecognition._on_vad_event (see `runguard-otel doctor`). Lost: "
    )


@pytest.mark.parametrize("guard", HOOKS)
def test_a_renamed_hook_costs_its_guard_one_warning_and_the_others_nothing(
    guard: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What an unknown newer release may do."""
    rename(monkeypatch, guard)
    found = states(probe())
    assert found[guard][0] == "observe only"
    assert {state for other, (state, _) in found.items() if other != guard} == {"full"}
    (warning,) = degraded(caplog)
    assert warning.startswith(f"{guard} is degraded: this livekit-agents has no ")


async def refusals(connects: int) -> int:
    """How many of so many connects in a row a guard refuses."""
    refused = 0
    with StageServer() as stage:
        for _ in range(connects):
            room = rtc.Room()
            try:
                await room.connect("ws://stage", stage.token("lobby", "agent"))
            except runguard_otel.LoopDetectedError:
                refused += 1
            else:
                await lose(stage, room)
    return refused


@pytest.mark.parametrize("lost", ["vad_misfire", "room_reconnect"])
async def test_with_a_renamed_hook_the_call_is_as_stock_and_the_other_guard_acts(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runguard_otel.testing.calls import call
    from runguard_otel.testing.models import final

    rename(monkeypatch, lost)
    runguard_otel.instrument()
    async with call() as running:
        await running.hear(final("uh", 0.05))
        await running.hear(final("a table for two"))
        asked = running.asked[:-1]
        assert running.asked[-1] == "a table for two"
    assert asked == (["uh"] if lost == "vad_misfire" else [])
    assert await refusals(5) == (0 if lost == "room_reconnect" else 2)
