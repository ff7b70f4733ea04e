"""Which alerts begin in a fleet's days, by the rules evaluated each minute in ``promtool``.

Long days are cut into parts that several processes evaluate at once. Each begins early enough that
nothing before it matters any more: rules look back as far as :func:`memory` says, and no further.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tests.kit.fleet import DAY, Fleet
from tests.kit.servers import binary
from tests.kit.stories import RULES

__all__ = ["SEVERITIES", "began", "memory"]

SEVERITIES = ("page", "ticket")
_OWNER = "cluster, service_name"
_FAILED = re.compile(r'expr: (".*"), time: \w+,\s+exp: ?\w*\s+got: ?(.*)')
_SAMPLE = re.compile(r"({[^}]*}) (\S+?)(?:,|$)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_SELECTOR = re.compile(
    r"(?P<name>[a-z_][\w:]*)(?:{[^}]*})?"
    r"(?:\[(?P<range>\w+)(?::\w+)?\])?(?: offset (?P<offset>\w+))?"
)
_UNITS = {"d": DAY, "h": 60, "m": 1, "s": 1 / 60}
_HEARD = "sum(sum_over_time(service:runguard_jobs:now[1h]))"
_LOOKBACK = 5

Answer = list[tuple[dict[str, str], float]]


def memory(rules: Mapping[str, str]) -> float:
    """How many minutes back the rules look, through what they record."""
    groups = [g for text in rules.values() for g in yaml.safe_load(text)["groups"]]
    found = {r.get("record") or r["alert"]: r["expr"] for g in groups for r in g["rules"]}
    assert not any(")[" in expr for expr in found.values()), "a range of an expression: count it"

    def back(expr: str) -> float:
        # One that is not recorded is a series; without a range it is as old as the lookback allows.
        return max(
            _minutes(s["range"] or "")
            + _minutes(s["offset"] or "")
            + (back(found[s["name"]]) if s["name"] in found else _LOOKBACK)
            for s in _SELECTOR.finditer(expr)
        )

    return max(map(back, found.values()))


def began(
    folder: Path, fleet: Fleet, rules: Mapping[str, str] = RULES, part: int = DAY
) -> list[Counter[str]]:
    """How often each alert began in each part of a fleet's days, as Alertmanager groups them.

    Args:
        folder: For what ``promtool`` reads.
        fleet: Whose days.
        rules: Rule files by name.
        part: Minutes of a part; the last may be shorter.

    Returns:
        For each part severity, alert and signature, with spaces between, to how often.
    """
    lead = round(memory(rules)) + 2  # an alert begins if it was not there a minute before
    starts = range(0, fleet.minutes, part)

    def one(start: int) -> Counter[str]:
        end = min(start + part, fleet.minutes)
        early = max(0, start - lead)
        own = folder / f"{start}"
        own.mkdir()
        series = fleet.series(early, end)
        queries = [_begun(severity, end - start) for severity in SEVERITIES]
        *answers, heard = _evaluated(own, series, [*queries, _HEARD], end - 1 - early, rules)
        assert heard, "the rules saw a fleet"
        return Counter(dict(_told(answers)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, starts))


def _begun(severity: str, minutes: int) -> str:
    """How many alerts began in the last minutes."""

    def firing(before: str = "") -> str:
        return (
            f"max by (alertname, {_OWNER}, runguard_signature) "
            f'(ALERTS{{alertstate="firing", severity="{severity}"}}{before})'
        )

    begins = f"({firing()}) unless ({firing(' offset 1m')})"
    # Half a minute less, so that no release takes the minute before the first as well.
    window = f"{60 * minutes - 30}s"
    return f"sum by (alertname, runguard_signature) (sum_over_time(({begins})[{window}:1m]))"


def _told(answers: list[Answer]) -> Iterator[tuple[str, int]]:
    for severity, answer in zip(SEVERITIES, answers, strict=True):
        for found, times in answer:
            words = (severity, found["alertname"], found.get("runguard_signature", ""))
            yield " ".join(filter(None, words)), round(times)


def _evaluated(
    folder: Path, series: Mapping[str, str], queries: list[str], at: int, rules: Mapping[str, str]
) -> list[Answer]:
    """The answers at a minute, the rules evaluated all along.

    ``promtool`` tells what it got where nothing was expected.
    """
    order = [g["name"] for text in rules.values() for g in yaml.safe_load(text)["groups"]]
    for name, text in rules.items():
        (folder / name).write_text(text)
    asked = [{"expr": e, "eval_time": f"{at}m", "exp_samples": []} for e in queries]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    story = {
        "rule_files": list(rules),
        "evaluation_interval": "1m",
        "group_eval_order": order,
        "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": asked}],
    }
    (folder / "story.yml").write_text(json.dumps(story))  # JSON is YAML
    done = subprocess.run(
        [binary("promtool", "prometheus"), "test", "rules", "story.yml"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    found: dict[str, Answer] = {}
    for expr, got in _FAILED.findall(said):
        samples = [(dict(_LABEL.findall(s)), float(v)) for s, v in _SAMPLE.findall(got)]
        found[json.loads(expr)] = samples
    assert done.returncode == bool(found), said
    return [found.get(query, []) for query in queries]


def _minutes(text: str) -> float:
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([dhms])", text))
