from __future__ import annotations

import logging
import pickle
from typing import Any

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
    monkeypatch.setenv("RUNGUARD_MODE", "enfroce")
    monkeypatch.setenv("RUNGUARD_VAD_MISFIRE_LIMIT", "many")
    monkeypatch.setenv("RUNGUARD_ROOM_RECONNECT_WINDOW_SECONDS", "30")
    with caplog.at_level(logging.WARNING, "runguard_otel"):
        settings = Settings.load()
    assert settings.vad_misfire_limit == 5
    assert settings.room_reconnect_window_seconds == 30, "the good ones still count"
    said = caplog.text
    assert "RUNGUARD_MODE" in said
    assert "off, observe, enforce" in said
    assert "RUNGUARD_VAD_MISFIRE_LIMIT" in said


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
    override: dict[str, object], words: list[str]
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
        Settings.load(mode="x")


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
def test_a_mode_nobody_can_read_is_a_warning_and_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"RUNGUARD_{name.upper()}", "obsrve")
    assert Settings.load() == Settings()
    (record,) = caplog.records
    assert f"RUNGUARD_{name.upper()}='obsrve' is ignored" in record.getMessage()


@pytest.mark.parametrize("name", ["claims_url", "hash_salt"])
def test_a_secret_that_cannot_be_used_is_not_in_the_error(name: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.load(**{name: ["hunter22"]})
    assert "hunter22" not in f"{caught.value} {caught.value.__cause__}"


def test_a_password_is_not_in_the_text_of_the_settings() -> None:
    assert "hunter22" not in repr(Settings(claims_url="redis://:hunter22@h"))
