"""A week of a healthy fleet wakes nobody; a week with one of each trouble tells of each once.

The shipped rules, evaluated each minute by ``promtool`` over what a fleet exports. A few hours of
five workers here; ``SOAK_WEEK=1`` (``make soak``) makes it a week of fifty.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.kit.fleet import AGENT, DAY, Fleet, Labels, Trouble
from tests.kit.servers import binary
from tests.kit.stories import RULES

LONG = bool(os.environ.get("SOAK_WEEK"))
SECONDS = 2 * 3600 if LONG else 280  # 10 s on a quiet machine
pytestmark = [pytest.mark.chain, pytest.mark.timeout(SECONDS + 1200 if LONG else 2 * SECONDS)]

DAYS, WORKERS, CALLS = (7.0, 50, 10_000) if LONG else (0.25, 5, 1_000)
OWNER = "cluster, service_name"
FAILED = re.compile(r'expr: (".*"), time: (\w+),\s+exp: ?\w*\s+got: ?(.*)')
SAMPLE = re.compile(r"({[^}]*}) (\S+?)(?:,|$)")
LABEL = re.compile(r'(\w+)="([^"]*)"')
REDIS = {"operation": "acquire", "backend": "redis"}


def begun(severity: str, minutes: int) -> str:
    """How many alerts began in the last minutes, as Alertmanager groups them."""

    def firing(before: str = "") -> str:
        return (
            f"max by (alertname, {OWNER}, runguard_signature) "
            f'(ALERTS{{alertstate="firing", severity="{severity}"}}{before})'
        )

    began = f"({firing()}) unless ({firing(' offset 1m')})"
    return f"sum by (alertname, runguard_signature) (sum_over_time(({began})[{minutes}m:1m]))"


def labels(**found: str) -> Labels:
    return tuple(found.items())


def loop(guard: str, signature: str, mode: str) -> dict[str, str]:
    return {"agent": AGENT, "guard": guard, "signature": signature, "mode": mode}


def unstopped(guard: str, signature: str, start: int, lasts: int, rooms: int) -> Trouble:
    """Loops that trip at once and go on."""
    who = loop(guard, signature, "observe")
    trips = ("runguard.trips", "", labels(**who, action="none"))
    return Trouble(
        start,
        start + lasts,
        {trips: rooms / lasts},
        {("runguard.guards.open", labels(**who)): rooms},
    )


def stopped(guard: str, signature: str, action: str, start: int, lasts: int) -> Trouble:
    """One loop every other minute, each stopped."""
    who = labels(**loop(guard, signature, "enforce"), action=action)
    return Trouble(start, start + lasts, {("runguard.trips", "", who): 0.5})


def counted(start: int, lasts: int, a_minute: float, metric: str, suffix: str = "",
            **found: str) -> Trouble:  # fmt: skip
    return Trouble(start, start + lasts, {(metric, suffix, labels(**found)): a_minute})


def troubles(first: int, apart: int) -> dict[str, tuple[Trouble, tuple[str, ...]]]:
    """One of each class, one after the other: what it is to what is told of it, tickets first."""
    at = iter(range(first, first + 20 * apart, apart))
    cascade, echo = "track_subscribe", "vad_misfire:echo"
    return {
        "a reconnect loop that nobody stops": (
            unstopped("room_reconnect", "room_reconnect", next(at), 40, 1),
            ("page RunguardReconnectLoop",),
        ),
        "misfires that are stopped": (
            stopped("vad_misfire", echo, "mute_while_speaking", next(at), 30),
            ("ticket RunguardMisfireStorm",),
        ),
        "everything is dispatched twice": (
            stopped("job_dispatch", "job_claim:refused", "refuse_job", next(at), 30),
            ("ticket RunguardDuplicateDispatch",),
        ),
        "a cascade that nobody stops for half an hour": (
            unstopped(cascade, cascade, next(at), 30, 20),
            ("ticket RunguardSubscriptionCascade", "page RunguardStormNotStopped"),
        ),
        "agents alone, for eight minutes": (
            unstopped("session_overrun", "session_overrun:agent_alone", next(at), 8, 20),
            ("ticket RunguardSessionOverrun",),
        ),
        "the registry is away for ten minutes": (
            counted(next(at), 10, 20, "runguard.job.claim.duration", "_count", **REDIS,
                    result="error"),
            ("page RunguardClaimRegistryUnreachable",),
        ),
        "a job loses its room": (
            counted(next(at), 1, 3, "runguard.signatures", agent=AGENT, outcome="allowed",
                    signature="job_claim:lost"),
            ("page RunguardClaimLost",),
        ),
        "20 USD go into loops within an hour": (
            counted(next(at), 60, 1 / 3, "runguard.cost.wasted", agent=AGENT, component="llm",
                    guard="vad_misfire"),
            ("page RunguardWasteBurnFast",),
        ),
        "a fault of ours": (
            counted(next(at), 1, 1, "runguard.internal_errors", where="Room.connect"),
            ("ticket RunguardInternalErrors",),
        ),
        "two workers of five die": (
            Trouble(at_ := next(at), at_ + 20, dead=0.4),
            ("ticket RunguardWorkersDown",),
        ),
        "all die": (
            Trouble(at_ := next(at), at_ + 20, dead=1),
            ("page RunguardTelemetryAbsent",),
        ),
    }  # fmt: skip


Answer = list[tuple[dict[str, str], float]]


def evaluated(
    folder: Path, fleet: Fleet, queries: list[tuple[str, int]], rules: Mapping[str, str] = RULES
) -> list[Answer]:
    """The answers to queries at minutes of a fleet's days, the rules evaluated all along.

    ``promtool`` tells what it got where nothing was expected.
    """
    order = [g["name"] for text in rules.values() for g in yaml.safe_load(text)["groups"]]
    for name, text in rules.items():
        (folder / name).write_text(text)
    asked = [{"expr": e, "eval_time": f"{m}m", "exp_samples": []} for e, m in queries]
    series = [{"series": name, "values": values} for name, values in fleet.series().items()]
    story = {
        "rule_files": list(rules),
        "evaluation_interval": "1m",
        "group_eval_order": order,
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}],
    }
    (folder / "week.yml").write_text(json.dumps(story))  # JSON is YAML
    done = subprocess.run(
        [binary("promtool", "prometheus"), "test", "rules", "week.yml"],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    said = done.stdout + done.stderr
    found: dict[tuple[str, int], Answer] = {}
    for expr, at, got in FAILED.findall(said):
        samples = [(dict(LABEL.findall(s)), float(v)) for s, v in SAMPLE.findall(got)]
        found[json.loads(expr), _minutes(at)] = samples
    assert done.returncode == bool(found), said
    return [found.get(query, []) for query in queries]


def _minutes(text: str) -> int:
    units = {"d": DAY, "h": 60, "m": 1, "s": 0}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", text))


def told(answers: list[Answer]) -> dict[str, int]:
    """Severity and alert to how often it began."""
    severities = ("page", "ticket")
    return {
        f"{severity} {found['alertname']}": round(times)
        for severity, answer in zip(severities, answers, strict=True)
        for found, times in answer
    }


def test_a_healthy_fleet_wakes_nobody_and_makes_one_ticket_a_day_at_most(tmp_path: Path) -> None:
    """Mutant: without shares the noisy callers of a busy hour are a ticket in every one."""
    deploys = (1 * DAY + 600, 4 * DAY + 900) if LONG else (120,)
    fleet = Fleet(DAYS, WORKERS, CALLS, deploys=deploys)
    whole = fleet.minutes - 1
    days = range(DAY, fleet.minutes + 1, DAY) if LONG else (fleet.minutes,)
    asked = [(begun("ticket", min(DAY, whole)), day - 1) for day in days]
    noisy = "sum(increase(runguard_trips_total[1h]))"
    pages, heard, *tickets = evaluated(
        tmp_path, fleet, [(begun("page", whole), whole), (noisy, whole), *asked]
    )
    assert heard, "the rules saw a fleet"
    assert pages == []
    for day in tickets:
        assert sum(times for _, times in day) <= 1, day


def test_one_trouble_of_each_class_is_told_once(tmp_path: Path) -> None:
    first, apart = (600, 13 * 60) if LONG else (30, 45)
    happened = troubles(first, apart)
    fleet = Fleet(
        DAYS if LONG else (first + apart * len(happened) + 60) / DAY, WORKERS, CALLS,
        troubles=tuple(trouble for trouble, _ in happened.values()),
    )  # fmt: skip
    whole = fleet.minutes - 1
    queries = [(begun(severity, whole), whole) for severity in ("page", "ticket")]
    assert told(evaluated(tmp_path, fleet, queries)) == {
        alert: 1 for _, alerts in happened.values() for alert in alerts
    }


def test_the_week_notices_a_rule_that_forgets_shares(tmp_path: Path) -> None:
    """Two in a hundred is told, one in two hundred is not, however many they are."""
    busy = Fleet(0.15, 2, 80_000)
    whole = busy.minutes - 1
    query = [(begun("ticket", whole), whole)]
    assert evaluated(tmp_path, busy, query) == [[]]
    words, file = "(0.02 *", "recording.yml"
    assert words in RULES[file]
    wrong = {**RULES, file: RULES[file].replace(words, "(0 *")}
    ((found,),) = evaluated(tmp_path, busy, query, wrong)
    assert found[0]["alertname"] == "RunguardMisfireStorm"
