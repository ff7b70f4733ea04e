"""All groups, and the files they make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .claims import claim_alerts
from .loops import loop_alerts
from .model import Alert, Group, Record
from .money import money_alerts
from .ourselves import own_alerts
from .recording import recordings
from .tuning import Tuning

__all__ = ["alerts", "generated", "groups", "rule_files", "texts"]

HERE = Path(__file__).resolve().parent
_HEADER = "# Generated from alerts/*.py by `make generate`. DO NOT EDIT.\n"


def groups(tuning: Tuning) -> dict[str, tuple[Group, ...]]:
    """Groups by file."""
    return {
        "recording.yml": recordings(tuning),
        "alerts.yml": (
            Group("runguard-loops", loop_alerts(tuning)),
            Group("runguard-claims", claim_alerts(tuning)),
            Group("runguard-money", money_alerts(tuning)),
            Group("runguard-itself", own_alerts(tuning)),
        ),
    }


def alerts(tuning: Tuning) -> list[Alert]:
    """Every alert."""
    found = groups(tuning)["alerts.yml"]
    return [rule for group in found for rule in group.rules if isinstance(rule, Alert)]


def rule_files(tuning: Tuning) -> dict[str, str]:
    """File name to text.

    Args:
        tuning: Thresholds and selectors.
    """
    return {
        name: _HEADER + "groups:\n" + "".join(_group(g, tuning) for g in found)
        for name, found in groups(tuning).items()
    }


def generated() -> dict[Path, str]:
    """The committed files, for ``make generate``."""
    from .promtool import test_files

    files = {HERE / "generated" / name: text for name, text in rule_files(Tuning()).items()}
    return files | {HERE / "tests" / name: text for name, text in test_files().items()}


def texts(alert: Alert, tuning: Tuning) -> dict[str, str]:
    """What a person reads, links added from the alert's name and labels."""
    agent = "&var-agent={{ $labels.runguard_agent_name | urlquery }}"
    filters = "?var-service={{ $labels.service_name | urlquery }}"
    if "runguard_agent_name" in alert.expr:
        filters += agent
    return {
        "summary": alert.summary,
        "description": alert.description,
        "dashboard_url": f"{tuning.grafana_url}/d/{alert.dashboard}{filters}",
        "runbook_url": f"{tuning.runbook_url}/{alert.name}.md",
    }


def _group(group: Group, tuning: Tuning) -> str:
    return f"  - name: {group.name}\n    rules:\n" + "".join(
        line for rule in group.rules for line in _rule(rule, tuning)
    )


def _rule(rule: Record | Alert, tuning: Tuning) -> Iterator[str]:
    if isinstance(rule, Record):
        yield f"      - record: {rule.record} # {rule.why}\n"
        yield _expr(rule.expr)
        return
    yield f"      - alert: {rule.name}\n"
    yield _expr(rule.expr)
    if rule.hold:
        yield f"        for: {rule.hold}\n"
    if rule.keep:
        yield f"        keep_firing_for: {rule.keep}\n"
    yield "        labels:\n"
    for name, value in (("severity", rule.severity), *rule.labels):
        yield f"          {name}: {value}\n"
    yield "        annotations:\n"
    for name, value in texts(rule, tuning).items():
        yield f"          {name}: {json.dumps(value)}\n"  # a JSON string is a YAML string


def _expr(expr: str) -> str:
    return "        expr: |\n" + "".join(f"          {line}\n" for line in expr.splitlines())
