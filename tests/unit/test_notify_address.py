"""Where notifications go is said in one URL, and no secret of it is ever shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import runguard_otel
from runguard_otel.cli.doctor.command import _notifications
from runguard_otel.errors import SettingsError
from runguard_otel.notify import Address
from runguard_otel.settings import Settings

pytestmark = pytest.mark.unit

KEY = "0123456789abcdef0123456789abcdef"
PATH = "T00/B00/verysecretpath"
SLACK = f"https://hooks.slack.com/services/{PATH}"


@pytest.mark.parametrize(
    ("url", "key", "kind", "posted"),
    [
        ("pagerduty://", KEY, "pagerduty", "https://events.pagerduty.com/v2/enqueue"),
        (
            "pagerduty://events.eu.pagerduty.com",
            KEY,
            "pagerduty",
            "https://events.eu.pagerduty.com/v2/enqueue",
        ),
        ("pagerduty+http://127.0.0.1:9/", KEY, "pagerduty", "http://127.0.0.1:9/v2/enqueue"),
        (
            "https://events.pagerduty.com/v2/enqueue",
            KEY,
            "pagerduty",
            "https://events.pagerduty.com/v2/enqueue",
        ),
        (SLACK, "", "slack", SLACK),
        ("slack+https://chat.example.com/hook", "", "slack", "https://chat.example.com/hook"),
        ("https://example.com/hook?a=b", "t0ken", "webhook", "https://example.com/hook?a=b"),
        ("http://alerts.internal:8080/", "", "webhook", "http://alerts.internal:8080/"),
    ],
)
def test_an_address_says_what_listens_there(url: str, key: str, kind: str, posted: str) -> None:
    found = Address.of(url, key)
    assert (found.kind, found.url, found.key) == (kind, posted, key)


def test_both_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{SLACK}\n")
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert Address.of((tmp_path / "url").as_uri()).url == SLACK
    assert Address.of("pagerduty://", (tmp_path / "key").as_uri()).key == KEY


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("ftp://example.com", "", "allowed are pagerduty://"),
        ("hooks.slack.com/services/verysecretpath", "", "allowed are"),
        ("https://", "", "allowed are"),
        ("https://[verysecretpath", "", "allowed are"),
        ("https://example.com:verysecretpath/", "", "allowed are"),
        ("https://me:verysecretpath@example.com/", "", "use notify_key"),
        ("pagerduty://", "", "32 characters are needed, 0 are there"),
        ("pagerduty://", "verysecretpath", "32 characters are needed, 14 are there"),
        ("https://example.com", "verysecretpath\r\nX: y", "characters that no key has"),
        ("file:///does/not/exist", "", "/does/not/exist cannot be read"),
        ("pagerduty://", "file:///does/not/exist", "notify_key: /does/not/exist"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_secret(url: str, key: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("/", r"\/")) as error:
        Address.of(url, key)
    assert "verysecretpath" not in str(error.value)


def test_nothing_that_people_read_shows_a_secret() -> None:
    """Mutant: a repr with the fields in it."""
    slack, pagerduty = Address.of(SLACK), Address.of("pagerduty://", KEY)
    settings = Settings(notify_url=SLACK, notify_key=KEY)
    for text in map(str, (slack, slack.shown, pagerduty, pagerduty.shown, settings)):
        assert "verysecretpath" not in text
        assert KEY not in text
    assert slack.shown == "Slack at hooks.slack.com"


def test_a_bad_argument_raises_at_once_and_a_bad_variable_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SettingsError, match="notify_url"):
        runguard_otel.instrument(notify_url="pigeon://loft")
    monkeypatch.setenv("RUNGUARD_NOTIFY_URL", "pigeon://loft")
    try:
        with caplog.at_level(logging.WARNING, "runguard_otel"):
            assert runguard_otel.instrument().active
        assert "nobody is notified of loops: notify_url" in caplog.text
    finally:
        runguard_otel.uninstrument()


def test_doctor_says_whom_a_worker_would_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGUARD_NOTIFY_URL", SLACK)
    (found,) = _notifications()
    assert (found.state, found.detail) == (
        "ok",
        "each worker tells Slack at hooks.slack.com of loops",
    )
    monkeypatch.setenv("RUNGUARD_NOTIFY_URL", "pagerduty://")
    (found,) = _notifications()
    assert found.state == "broken"
