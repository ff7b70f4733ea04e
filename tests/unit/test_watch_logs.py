"""``scan-logs``: formats that people have, the loops in them, and what they cannot show."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.core.guards.presence import Limits
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.logscan import KINDS, LogEvent, read_events
from runguard_otel.logscan.loops import Scan, scan

pytestmark = pytest.mark.unit

AT = 1767323045.5  # 2026-01-02 03:04:05.5 UTC
JOB = {"job_id": "AJ_1", "room": "desk", "agent_name": "support"}
SAID = "received job request"


def one(text: str) -> LogEvent:
    (event,) = read_events([text])
    return event


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"message": SAID, "timestamp": "2026-01-02T03:04:05.5Z", **JOB}),
        json.dumps({"msg": SAID, "ts": AT, **JOB}),
        json.dumps({"msg": SAID, "ts": AT * 1e9, **JOB}),
        json.dumps({"event": SAID, "time": "2026-01-02 04:04:05,5+01:00", **JOB}),
        f"2026-01-02 03:04:05,500 - INFO livekit.agents - {SAID} {json.dumps(JOB)}",
        "2026-01-02T03:04:05.5Z stdout F " + json.dumps({"message": SAID, "ts": AT, **JOB}),
        f"\x1b[36m2026-01-02 03:04:05.5\x1b[0m INFO  {SAID} {json.dumps(JOB)}",
        f"2026-01-02T03:04:05.5Z\tINFO\tlivekit\tw.go:1\t{SAID}\t{json.dumps(JOB)}",
        json.dumps({"log": json.dumps({"message": SAID, "ts": AT, **JOB})}),
    ],
)  # fmt: skip
def test_one_event_in_every_format(text: str) -> None:
    assert one(text) == LogEvent(AT, "desk", "job", "support", "", "AJ_1", 1)


def test_a_line_of_a_job_is_of_the_room_that_another_line_names() -> None:
    """livekit-agents writes both in most lines and the job alone in some."""
    first = json.dumps({"message": SAID, "ts": AT, **JOB})
    later = json.dumps({"message": "process exiting", "ts": AT + 9, "job_id": "AJ_1"})
    assert [e.room for e in read_events([first, later])] == ["desk", "desk"]


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "null", "\t\t\t\t", "x" * 100_000, "{" * 9000, "\x00"]
)
def test_what_is_no_event_is_skipped(text: str) -> None:  # fmt: skip
    assert list(read_events([text])) == []


def test_every_kind_is_documented() -> None:
    assert {e.kind for e in read_events(server_log())} <= set(KINDS)


def zap(seconds: float, message: str, **fields: Any) -> str:
    data = {"room": "desk", "roomID": "RM_1", **fields}
    at = f"2026-01-02T03:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"
    return "\t".join([at, "INFO", "livekit", "x.go:1", message, json.dumps(data)])


def stay(seconds: float, who: str, sid: str, kind: str = "") -> list[str]:
    told = {"participant": who, "participantID": sid}
    return [
        zap(seconds, "starting RTC session", **told, participantInit={"Grants": {"Kind": kind}}),
        zap(seconds, "participant active", **told),
    ]


def server_log() -> list[str]:
    lines = stay(0, "caller", "PA_0")
    for n in range(4):
        lines += stay(1 + 5 * n, "agent", f"PA_{n + 1}", "agent")
        if n < 3:
            lines.append(zap(4 + 5 * n, "participant closing", participant="agent",
                             participantID=f"PA_{n + 1}", reason="SIGNAL_CLOSE"))  # fmt: skip
    lines.append(zap(30, "participant closing", participant="caller", participantID="PA_0"))
    lines.append(zap(300, "room closed"))
    return lines


def scanned(lines: list[str]) -> Scan:
    return scan(read_events(lines), Limits(), PriceBook.load())


def test_a_servers_log_shows_who_came_again_and_who_was_left_alone() -> None:
    found = scanned(server_log())
    loops = {loop.signature: loop for loop in found.loops}
    assert set(loops) == {"room_reconnect", "session_overrun:agent_alone"}
    assert loops["room_reconnect"].times == 3
    alone = loops["session_overrun:agent_alone"]
    assert alone.last - alone.first == pytest.approx(270)
    assert alone.agent_minutes == pytest.approx(4.5)
    assert alone.cost is not None and str(round(alone.cost, 4)) == "0.0525", "five minutes, billed"
    assert any("names of agents" in word for word in found.blind)


def test_an_older_servers_log_names_a_stay_and_an_agent_in_its_own_way() -> None:
    """``pID`` for the stay, and no grants: who is an agent is said by the identity alone."""
    stays = [
        zap(at, "participant active", participant="agent-AJ_9", pID=f"PA_{at}")
        for at in (0, 7, 9, 12)
    ]
    (loop,) = scanned(stays).loops
    assert (loop.signature, loop.times) == ("room_reconnect", 3)


def test_the_order_of_files_does_not_matter() -> None:
    assert scanned(server_log()[::-1]).loops == scanned(server_log()).loops


def text_log(times: list[float], message: str) -> list[str]:
    return [f"2026-01-02 05:{int(t) // 60:02}:{int(t) % 60:02} {message}" for t in times]


@pytest.mark.parametrize(
    ("times", "message", "signature"),
    [
        ([0, 20, 40], "reconnecting to room desk", "room_reconnect"),
        ([0, 40, 80], "reconnecting to room desk", None),
        ([0, 5, 10], "track_subscribed participant=ann room=desk", "track_subscribe"),
        ([0, 20, 40], "track_subscribed participant=ann room=desk", None),
        ([0, 5, 10, 15, 20], "failed to recognize speech: x, retrying in 1s room=desk",
         "session_overrun:stt_reconnect"),
        ([0, 60, 120, 180, 240], "failed to recognize speech: x, retrying in 1s room=desk", None),
        ([0, 5, 10, 15, 20], "empty transcript in room desk", "vad_misfire:empty_transcript"),
    ],
)  # fmt: skip
def test_text_with_times_is_judged_by_the_usual_thresholds(
    times: list[float], message: str, signature: str | None
) -> None:
    loops = scanned(text_log(times, message)).loops
    assert [loop.signature for loop in loops] == ([signature] if signature else [])
    assert all(loop.room == "desk" for loop in loops)


def test_speech_between_two_empty_results_is_health() -> None:
    empty = text_log([0, 2, 4, 6], "empty transcript in room desk")
    heard = text_log([5], "received user transcript room=desk")
    assert scanned([*empty, *heard, *text_log([8], "empty transcript in room desk")]).loops == []


def test_a_second_job_while_the_first_runs_is_a_double_dispatch_and_afterwards_is_not() -> None:
    def job(at: int, number: int, message: str = "received job request") -> str:
        return json.dumps({"message": message, "ts": AT + at, **JOB, "job_id": f"AJ_{number}"})

    together = scanned([job(0, 1), job(10, 2), job(70, 2, "process exiting")])
    assert [(p.signature, p.times, p.agent_minutes) for p in together.loops] == [
        ("job_claim:dispatched_twice", 2, 1.0)
    ]
    assert scanned([job(0, 1), job(5, 1, "process exiting"), job(10, 2)]).loops == []


def test_what_a_log_cannot_show_is_said() -> None:
    assert "is this a LiveKit log?" in scanned(["hello"]).blind[0]
    untimed = scanned(["reconnecting to room desk"] * 9)
    assert untimed.loops == []
    assert any("without a time" in word for word in untimed.blind)


def test_the_command_reads_files_gzip_and_standard_input(tmp_path: Path) -> None:
    text = "\n".join(text_log([0, 20, 40], "reconnecting to room desk"))
    (tmp_path / "a.log").write_text(text)
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.log.gz").write_text("no gzip")
    runner = CliRunner()
    for arguments, given in (([str(tmp_path / "a.log")], ""), ([str(tmp_path / "b.log.gz")], ""),
                             (["-"], text)):  # fmt: skip
        answer = runner.invoke(commands(), ["scan-logs", *arguments, "--json"], input=given)
        assert answer.exit_code == 1
        (loop,) = json.loads(answer.stdout)["loops"]
        assert (loop["room"], loop["first"]) == ("desk", "2026-01-02T05:00:00Z")
    for name in ("c.log.gz", "missing", ""):
        answer = runner.invoke(commands(), ["scan-logs", str(tmp_path / name)])
        assert answer.exit_code == 2
        assert len(answer.stderr.strip().splitlines()) == 1
