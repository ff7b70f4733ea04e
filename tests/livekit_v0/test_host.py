"""The promises to a 0.12 host: found by a probe, taken back exactly, harmless when broken."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import runguard_otel
from runguard_otel.adapters.livekit import patches as host_patches
from runguard_otel.adapters.livekit.misfire.session_0_12 import PipelineSessions
from runguard_otel.adapters.patching import MARK
from runguard_otel.testing.listening import final
from tests.kit.v0_call import Guarded, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


def attributes(guarded: Guarded) -> dict[tuple[type, str], object]:
    targets = {(p.owner, p.attribute) for p in host_patches(guarded.services)}
    return {(owner, name): vars(owner).get(name) for owner, name in targets}


def test_nothing_is_missing_and_undo_restores_every_attribute() -> None:
    guarded = Guarded()
    before = attributes(guarded)
    with guarded:
        assert {r.state for r in guarded.patches.reports} == {"installed"}
        assert all(getattr(vars(o)[n], MARK, False) for o, n in before)
    assert attributes(Guarded()) == before


def test_instrument_and_uninstrument_work_and_every_guard_is_in_place() -> None:
    guard = runguard_otel.instrument(job_dispatch_mode="off")
    try:
        assert guard.active
        assert {r.guard for r in guard.patches} == {
            "telemetry",
            "job_processes",
            "room_reconnect",
            "track_subscribe",
            "vad_misfire",
            "job_dispatch",
            "session_overrun",
        }
    finally:
        runguard_otel.uninstrument()
    pipeline: Any = importlib.import_module("livekit.agents.pipeline")
    assert not hasattr(pipeline.VoicePipelineAgent._validate_reply_if_possible, MARK)


def test_without_one_class_the_other_guards_are_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    agent: Any = importlib.import_module("livekit.agents.pipeline.human_input")
    monkeypatch.delattr(agent, "HumanInput")
    with Guarded() as guarded:
        states = {(r.guard, r.state) for r in guarded.patches.reports}
    assert ("vad_misfire", "missing") in states
    assert ("room_reconnect", "installed") in states and ("job_dispatch", "installed") in states


async def test_an_agent_that_runs_when_we_leave_is_stock_again() -> None:
    with Guarded() as guarded:
        async with voice_call() as call:
            await call.hear(final("", 0.0))
            assert call.asked == []
            guarded.__exit__()
            await call.hear(final("", 0.0))
            await call.quiet()
            assert call.asked == ["<continue>"]


async def test_an_error_of_ours_never_reaches_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, agent: Any) -> Any:
        raise RuntimeError("broken on purpose")

    with Guarded() as guarded:
        guarded.recorder.tolerant = True
        async with voice_call() as call:
            monkeypatch.setattr(PipelineSessions, "state", broken)
            await call.hear(final("a table for two please"))
            await call.quiet()
            assert call.asked == ["a table for two please"]
            assert call.tts.said == ["Of course."]
        assert {where for where, _ in guarded.recorder.errors} >= {"HumanInput.emit"}
        guarded.recorder.errors.clear()
