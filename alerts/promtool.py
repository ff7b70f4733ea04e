"""Writes the cases as files of ``promtool test rules``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from runguard_otel.telemetry.catalogue import prometheus_label

from .cases import CASES, SILENCES
from .cases.story import Case, Silence
from .model import Alert
from .rules import alerts, groups, texts
from .tuning import Tuning

__all__ = ["test_files"]

_HEADER = "# Generated from alerts/cases/ by `make generate`. DO NOT EDIT.\n"
_IF = re.compile(r'{{ if (?:eq )?\$labels\.(\w+)(?: "(\w+)")? }}(.*?)(?:{{ else }}(.*?))?{{ end }}')
_LABEL = re.compile(r"{{ \$labels\.(\w+)(?: \| urlquery)? }}")
_VALUE = re.compile(r"{{ (?:printf \"[^\"]+\" \$value|\$value \| \w+) }}")


def test_files() -> dict[str, str]:
    """File name to text: alerts that fire, a file for each group, and stories in which none may."""
    by_name = {a.name: a for a in alerts(Tuning())}
    names = [name for name in by_name if name != "RunguardWatchdog"]
    silent = "".join(_silence(story, names) for story in SILENCES)
    files = {"silent.test.yml": _top() + silent}
    for group in groups(Tuning())["alerts.yml"]:
        mine = [c for c in CASES if c.alert in {getattr(rule, "name", "") for rule in group.rules}]
        told = "".join(_case(case, by_name[case.alert]) for case in mine)
        files[f"{group.name.removeprefix('runguard-')}.test.yml"] = _top() + told
    return files


def _top() -> str:
    order = [g.name for found in groups(Tuning()).values() for g in found]
    return (
        f"{_HEADER}rule_files: [../generated/recording.yml, ../generated/alerts.yml]\n"
        f"evaluation_interval: 1m\ngroup_eval_order: [{', '.join(order)}]\ntests:\n"
    )


def _input(name: str, input_series: Mapping[str, str]) -> Iterator[str]:
    yield f"  - name: {json.dumps(name)}\n    interval: 15s\n    input_series:"
    yield "\n" if input_series else " []\n"
    for series, values in input_series.items():
        # 0x40 is a number in YAML, so they are quoted.
        yield f"      - series: '{series}'\n        values: '{values}'\n"
    yield "    alert_rule_test:\n"


def _case(case: Case, alert: Alert) -> str:
    out = list(_input(f"{case.alert}: {case.story}", case.input))
    calm = (*case.silent, *case.quiet)
    out += [_at(minute, case.alert) + "        exp_alerts: []\n" for minute in calm]
    for minute in case.firing:
        out.append(_at(minute, case.alert) + "        exp_alerts:\n")
        out += [_expected(case, alert, owner, minute) for owner in case.owners]
    return "".join(out)


def _silence(story: Silence, names: list[str]) -> str:
    out = list(_input(story.story, story.input))
    for minute in story.minutes:
        out += [_at(minute, name) + "        exp_alerts: []\n" for name in names]
    return "".join(out)


def _at(minute: float, name: str) -> str:
    return f"      - eval_time: {round(minute * 60)}s\n        alertname: {name}\n"


def _expected(case: Case, alert: Alert, owner: Mapping[str, str], minute: float) -> str:
    labels = {"severity": alert.severity}
    if case.alert != "RunguardWatchdog":
        labels |= {**owner, **{prometheus_label(k): v for k, v in case.labels.items()}}
    value = case.values.get(minute, case.value)
    filled = {k: _filled(v, labels, value) for k, v in texts(alert, Tuning()).items()}
    return (
        f"          - exp_labels: {json.dumps(labels)}\n"
        f"            exp_annotations: {json.dumps(filled)}\n"
    )


def _filled(text: str, labels: Mapping[str, str], value: str) -> str:
    """The template as Prometheus fills it, for the few forms our annotations use."""

    def chosen(found: re.Match[str]) -> str:
        value = labels.get(found[1], "")
        held = value == found[2] if found[2] else bool(value)
        return (found[3] if held else found[4]) or ""

    text = _IF.sub(chosen, text)
    text = _LABEL.sub(lambda m: labels.get(m[1], ""), text)
    return _VALUE.sub(value, text)
