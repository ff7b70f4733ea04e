"""A claim's key is printed so that it can be copied, whatever the width."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from runguard_otel.claims.registry import ClaimRecord
from runguard_otel.cli.claims.view import show_records

pytestmark = pytest.mark.unit

KEY = "rg:v1:{0123456789abcdef0123456789abcdef}:RM_abcdefghijkl"
Show = Callable[..., str]


def record(state: str = "held", **changed: object) -> ClaimRecord:
    now = time.time()
    fields: dict[str, object] = {
        "key": KEY,
        "token": 1_795_000_000_000_001,
        "job_id": "AJ_abcdefghijkl",
        "worker": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "instance": "instance",
        "acquired_at": now - 120,
        "remaining": 7.0,
        "version": "12",
        "state": state,
    }
    return ClaimRecord(**{**fields, **changed})  # type: ignore[arg-type]  # fields vary by test


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    def printed(*records: ClaimRecord, width: int, terminal: bool) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("FORCE_COLOR", "1") if terminal else monkeypatch.delenv(
            "FORCE_COLOR", raising=False
        )
        show_records(list(records))
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize(("width", "terminal"), [(80, True), (80, False), (300, False)])
def test_in_a_pipe_or_a_narrow_terminal_the_key_has_a_line_of_its_own(
    show: Show, width: int, terminal: bool
) -> None:
    lines = show(record(), record(key=KEY + "2"), width=width, terminal=terminal).splitlines()
    assert [line for line in lines if line.startswith("key")] == [f"key: {KEY}", f"key: {KEY}2"]
    assert lines.count("held for: 2 min") == 2
    assert lines.count("") == 1, "one empty line between two claims"


def test_a_wide_terminal_shows_a_table_with_whole_keys(show: Show) -> None:
    out = show(record(), width=200, terminal=True)
    assert "key:" not in out
    (row,) = [line for line in out.splitlines() if "rg:v1" in line]
    assert KEY in row and "1795000000000001" in row


@pytest.mark.parametrize("terminal", [True, False])
def test_of_a_released_claim_nothing_is_said_about_how_long_it_was_held(
    show: Show, terminal: bool
) -> None:
    out = show(record("released", remaining=None), width=200, terminal=terminal)
    assert "2 min" not in out
    assert "released" in out
