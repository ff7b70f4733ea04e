"""``instrument()`` once, twice, undone, disabled, broken: the host is as it should be each time."""

from __future__ import annotations

import functools
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from livekit import rtc
from livekit.agents import stt
from livekit.agents.ipc import job_proc_lazy_main, proc_pool
from livekit.agents.voice import agent_activity, audio_recognition

import runguard_otel
from runguard_otel import instrumentor
from runguard_otel.adapters import livekit as adapter
from runguard_otel.adapters.livekit.process.bring_up import BringUp
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.instrumentor import instrument_process
from tests.kit.process_state import nothing_opened

pytestmark = pytest.mark.host_contract

TOUCHED = (
    rtc.Room,
    stt.STT,
    stt.RecognizeStream,
    audio_recognition.AudioRecognition,
    agent_activity.AgentActivity,
    proc_pool.ProcPool,
    job_proc_lazy_main._JobProc,
)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    runguard_otel.uninstrument()
    yield
    runguard_otel.uninstrument()


def host() -> list[dict[str, Any]]:
    """Every attribute of every class we touch, by identity."""
    return [dict(vars(cls)) for cls in TOUCHED]


def test_every_hook_exists_in_the_installed_host() -> None:
    guard = runguard_otel.instrument()
    assert guard.active
    assert [r.name for r in guard.patches if r.state != "installed"] == []


def test_instrumenting_changes_the_host_and_undoing_restores_it_exactly() -> None:
    before = host()
    runguard_otel.instrument()
    assert host() != before
    runguard_otel.uninstrument()
    assert host() == before


def test_twice_is_once() -> None:
    before = host()
    first = runguard_otel.instrument()
    once = host()
    assert runguard_otel.instrument() is first
    assert host() == once
    runguard_otel.uninstrument()
    assert host() == before


def test_instrument_uninstrument_instrument() -> None:
    before = host()
    for _ in range(3):
        assert runguard_otel.instrument().active
        assert host() != before
        runguard_otel.uninstrument()
        assert host() == before


def test_a_second_patcher_on_top_survives() -> None:
    original = vars(rtc.Room)["connect"]
    runguard_otel.instrument()
    ours = vars(rtc.Room)["connect"]

    @functools.wraps(ours)
    async def theirs(self: rtc.Room, *args: Any, **kwargs: Any) -> Any:
        return await ours(self, *args, **kwargs)

    rtc.Room.connect = theirs  # type: ignore[method-assign]
    try:
        runguard_otel.uninstrument()
        assert vars(rtc.Room)["connect"] is theirs
    finally:
        rtc.Room.connect = original  # type: ignore[method-assign]


def test_a_failure_in_the_middle_of_installing_leaves_the_host_alone_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = host()
    real = adapter.patches

    def broken(services: Any, **how: Any) -> list[Patch]:
        table = real(services)

        class Frozen(type):
            def __setattr__(cls, name: str, value: object) -> None:
                raise RuntimeError("cannot be patched")

        class Stubborn(metaclass=Frozen):
            def method(self) -> None: ...

        table.insert(len(table) // 2, Patch(Stubborn, "method", lambda *_: None, "telemetry", ""))
        return table

    monkeypatch.setattr(adapter, "patches", broken)
    with caplog.at_level(logging.ERROR, "runguard_otel"):
        guard = runguard_otel.instrument()
    assert not guard.active
    assert "your agent runs without it" in caplog.text
    assert host() == before


def test_disabled_patches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_DISABLED", "true")
    before = host()
    guard = runguard_otel.instrument()
    assert not guard.active
    assert host() == before
    assert guard.snapshot() == {"active": False, "mode": "enforce"}


def test_every_guard_off_leaves_no_guard_hooks() -> None:
    guard = runguard_otel.instrument(mode="off")
    assert {r.guard for r in guard.patches} <= {
        "telemetry",
        "job_processes",
        "room_reconnect",
        "job_dispatch",
    }


def test_a_missing_hook_is_one_warning_per_guard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = adapter.patches

    def older(services: Any, **how: Any) -> list[Patch]:
        gone = [
            Patch(rtc.Room, f"gone_{n}", lambda *_: None, "vad_misfire", "a test") for n in "ab"
        ]
        return [*real(services, **how), *gone]

    monkeypatch.setattr(adapter, "patches", older)
    with caplog.at_level(logging.WARNING, "runguard_otel"):
        assert runguard_otel.instrument().active
    warnings = [r.getMessage() for r in caplog.records if "degraded" in r.getMessage()]
    assert len(warnings) == 1
    assert "Room.gone_a, Room.gone_b" in warnings[0]


def test_a_bad_argument_raises_at_once_and_patches_nothing() -> None:
    before = host()
    with pytest.raises(runguard_otel.SettingsError, match="off, observe, enforce"):
        runguard_otel.instrument(mode=cast("Any", "loud"))
    assert host() == before


class _Mistake(NamedTuple):
    arguments: dict[str, Any]
    says: str


@pytest.mark.parametrize(
    "mistake",
    [
        _Mistake(
            {"settings": {"mode": "observe"}}, r"settings=.*Settings\(\.\.\.\).*instrument\(mode="
        ),
        _Mistake({"settings": 42}, "settings"),
        _Mistake({"on_trip": "x"}, "on_trip='x'.*function of one Trip"),
        _Mistake({"on_trip": lambda: None}, "on_trip=.*function of one Trip"),
        _Mistake({"tracer_provider": 3}, "tracer_provider=3.*get_tracer"),
        _Mistake({"meter_provider": object()}, "meter_provider=.*get_meter"),
        _Mistake({"logger_provider": "otlp"}, "logger_provider='otlp'.*get_logger"),
        _Mistake({"claims_url": "reddis://x"}, "claims_url .*cannot be used; allowed schemes"),
        _Mistake({"claims_url": "redis://h:99999999"}, "claims_url .*cannot be read"),
        _Mistake({"prices": 3}, "prices=3"),
        _Mistake({"prices": "/nowhere/prices.toml"}, "prices=.*no such file"),
        _Mistake({"prices": "\0"}, "NUL"),
        _Mistake({"journal": b"folder"}, "text, not bytes"),
        _Mistake({"journal": "/dev/null/folder"}, "journal=.*/dev/null is no folder"),
        _Mistake({"claims_ttl_seconds": 2}, "claims_ttl_seconds.*together.*ttl 2 s"),
        _Mistake({"claims_heartbeat_seconds": 8}, "claims_heartbeat_seconds.*together"),
    ],
    ids=lambda m: f"{next(iter(m.arguments))}={next(iter(m.arguments.values()))!r:.20}",
)
def test_every_bad_argument_is_named_with_what_to_pass_instead(mistake: _Mistake) -> None:
    before = host()
    with pytest.raises(runguard_otel.SettingsError, match=mistake.says):
        runguard_otel.instrument(**mistake.arguments)
    assert host() == before


def test_nothing_is_opened_by_instrumenting() -> None:
    """No thread and no socket: it also runs in the fork server and in idle job processes."""
    with nothing_opened():
        runguard_otel.instrument()


def test_a_job_takes_what_its_worker_decided_whatever_is_wrong_with_it(
    tmp_path: Path,
) -> None:
    """The worker has warned. Mutant: settings are checked again, and the job runs unguarded."""
    wrong = {"prices": str(tmp_path / "gone.toml"), "claims_url": "reddis://x"}
    instrument_process({"settings": {**wrong, "claims_ttl_seconds": 2}, "worker": "w"})
    assert instrumentor._active is not None
    assert instrumentor._active.active


def test_no_global_provider_is_registered() -> None:
    from opentelemetry import metrics, trace

    before = (metrics.get_meter_provider(), trace.get_tracer_provider())
    runguard_otel.instrument()
    assert (metrics.get_meter_provider(), trace.get_tracer_provider()) == before


def test_reports_are_complete_enough_for_doctor() -> None:
    guard = runguard_otel.instrument()
    assert all(r.why and r.guard for r in guard.patches)
    assert isinstance(guard._patches, PatchSet)


def test_a_job_process_gets_every_setting_of_its_worker_whatever_its_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else worker and job disagree on whether to act, or hash rooms with two salts."""
    monkeypatch.setenv("RUNGUARD_MODE", "observe")
    monkeypatch.setenv("RUNGUARD_HASH_SALT", "of the environment")
    worker = runguard_otel.instrument(mode="enforce", vad_misfire_limit=5, hash_salt="pepper")
    assert worker._services is not None
    payload = pickle.loads(pickle.dumps(BringUp(worker._services).payload()))
    runguard_otel.uninstrument()
    monkeypatch.setenv("RUNGUARD_VAD_MISFIRE_LIMIT", "9")
    instrument_process(payload)
    job = runguard_otel.instrument()  # the handle of what runs already
    assert job.settings == worker.settings
    assert job.settings.hash_salt == "pepper"
