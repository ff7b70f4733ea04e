from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from typing import Any, cast

import pytest

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

pytestmark = pytest.mark.unit


def test_an_argument_beats_the_environment_which_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings.load().mode is Mode.ENFORCE
    monkeypatch.setenv("RUNGUARD_MODE", "observe")
    assert Settings.load().mode is Mode.OBSERVE
    assert Settings.load(mode="off").mode is Mode.OFF


def test_a_bad_environment_variable_is_a_warning_and_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNGUARD_MAX_KEYS", "some")
    monkeypatch.setenv("RUNGUARD_VAD_MISFIRE_LIMIT", "many")
    monkeypatch.setenv("RUNGUARD_ROOM_RECONNECT_WINDOW_SECONDS", "30")
    with caplog.at_level(logging.WARNING, "runguard_otel"):
        settings = Settings.load()
    assert settings.vad_misfire_limit == 5
    assert settings.room_reconnect_window_seconds == 30, "the good ones still count"
    said = caplog.text
    assert "RUNGUARD_VAD_MISFIRE_LIMIT='many' is ignored, using the default" in said
    assert "whole number, >= 10" in said
    assert settings.mode is Mode.ENFORCE


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"mode": "loud"}, ["mode", "off, observe, enforce"]),
        ({"claims_unreachable": "maybe"}, ["claims_unreachable", "open, closed"]),
        ({"vad_misfire_limit": 0}, ["vad_misfire_limit", ">= 2"]),
        ({"vad_misfire_limt": 5}, ["vad_misfire_limt", "did you mean 'vad_misfire_limit'"]),
    ],
)
def test_a_bad_argument_names_the_setting_and_what_it_takes(
    override: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**override)
    for word in words:
        assert word in str(caught.value)


def test_a_bad_argument_is_not_excused_by_a_bad_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNGUARD_MAX_KEYS", "none")
    with pytest.raises(SettingsError, match="mode"):
        Settings.load(mode=cast("Any", "x"))


def test_a_guard_has_its_own_mode_or_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_ROOM_RECONNECT_MODE", "off")
    settings = Settings.load(mode="observe")
    assert settings.mode_of(GuardName.ROOM_RECONNECT) is Mode.OFF
    assert settings.mode_of(GuardName.VAD_MISFIRE) is Mode.OBSERVE


def test_settings_travel_to_job_processes_and_never_show_the_salt() -> None:
    settings = Settings.load(hash_salt="pepper")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert "pepper" not in repr(settings)


@pytest.mark.parametrize(
    "given", [{"mode": "enforce"}, {"claims_url": ""}, {"vad_misfire_limit": 5}]
)
def test_an_explicit_value_that_is_the_default_beats_the_environment_wherever_it_is_read_again(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    """Worker and job process would else disagree, for example on whether to act."""
    (name,) = given
    monkeypatch.setenv(f"RUNGUARD_{name.upper()}", {"mode": "observe"}.get(name, "7"))
    chosen = Settings.load(**given)
    assert Settings(**chosen.values()) == chosen
    assert Settings.load(chosen) == chosen
    assert Settings.load(chosen, max_keys=20).model_dump()[name] == given[name]


@pytest.mark.parametrize(
    ("word", "mode"),
    [("OBSERVE", "observe"), ("Off", "off"), ("0", "off"), ("false", "off"), ("on", "enforce")],
)
def test_a_mode_is_read_as_people_write_it(
    monkeypatch: pytest.MonkeyPatch, word: str, mode: str
) -> None:
    monkeypatch.setenv("RUNGUARD_MODE", word)
    assert Settings.load().mode == mode


@pytest.mark.parametrize("name", ["mode", "vad_misfire_mode"])
def test_a_mode_that_cannot_be_read_observes_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"RUNGUARD_{name.upper()}", "obsrve")
    assert Settings.load().mode_of(GuardName.VAD_MISFIRE) is Mode.OBSERVE
    (record,) = caplog.records
    assert f"RUNGUARD_{name.upper()}='obsrve' is ignored, observing" in record.getMessage()


def test_a_kill_switch_that_cannot_be_read_observes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNGUARD_DISABLED", "treu")
    monkeypatch.setenv("RUNGUARD_JOB_DISPATCH_MODE", "enforce")
    settings = Settings.load()
    assert {settings.mode_of(guard) for guard in GuardName} == {Mode.OBSERVE}
    assert "RUNGUARD_DISABLED='treu' is ignored, observing" in caplog.text


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RUNGUARD_MOD", "RUNGUARD_MODE"),
        ("RUNGUARD_DISABLE", "RUNGUARD_DISABLED"),
        ("RUNGARD_MODE", "RUNGUARD_MODE"),
        ("RUN_GUARD_MODE", "RUNGUARD_MODE"),
        ("runguard_mode", "RUNGUARD_MODE"),
        ("RUNGUARD_VAD_MISFIRE_LIMT", "RUNGUARD_VAD_MISFIRE_LIMIT"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_one_that_was_meant_and_nothing_acts(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, "8")
    monkeypatch.setenv("RUNGUARD_ROOM_RECONNECT_MODE", "Enforce")
    monkeypatch.setenv("RUNGUARD_JOB_DISPATCH_MODE", "no")
    settings = Settings.load()
    modes = {guard: settings.mode_of(guard) for guard in GuardName}
    assert modes.pop(GuardName.JOB_DISPATCH) is Mode.OFF, "what was to be off stays off"
    assert set(modes.values()) == {Mode.OBSERVE}
    (record,) = caplog.records
    assert f"{variable} is no setting" in record.getMessage()
    assert f"did you mean {meant}?" in record.getMessage()
    assert Settings.load(mode="enforce").mode is Mode.ENFORCE, "an argument says it explicitly"


def test_variables_of_others_are_told_from_ours_without_comparing_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each job process would pay for it: 2 MiB and a dozen milliseconds on a CI runner."""
    for name in ("RUST_BACKTRACE", "RUSTUP_HOME", "RUBY_VERSION", "RUNNER_OS", "RUNNER_TOOL_CACHE"):
        monkeypatch.setenv(name, "1")
    load = "import sys, runguard_otel.settings as s; s.Settings.load(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", load], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "runguard_otel.settings" in loaded
    assert "difflib" not in loaded


def test_a_variable_that_resembles_no_setting_is_only_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNGUARD_QQQ", "1")
    monkeypatch.setenv("RUNNER_MODE", "1")  # somebody else's
    assert Settings.load().mode is Mode.ENFORCE
    assert "RUNGUARD_QQQ is no setting" in caplog.text


@pytest.mark.parametrize("name", [n for n in Settings.model_fields if n.endswith("_seconds")])
@pytest.mark.parametrize("value", ["inf", "nan", "1e30", "-1"])
def test_no_window_is_endless(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.load(**cast("Any", {name: float(value)}))


@pytest.mark.parametrize("name", ["claims_url", "hash_salt"])
def test_a_secret_that_cannot_be_used_is_not_in_the_error(name: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.load(**cast("Any", {name: ["hunter22"]}))
    assert "hunter22" not in f"{caught.value} {caught.value.__cause__}"


def test_a_password_is_not_in_the_text_of_the_settings() -> None:
    assert "hunter22" not in repr(Settings(claims_url="redis://:hunter22@h"))
