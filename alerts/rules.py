"""All groups, and the files they make."""

from __future__ import annotations

import json
from collections.abc import Iterator

from runguard_otel.telemetry.catalogue import prometheus_label

from .claims import claim_alerts
from .loops import loop_alerts
from .model import Alert, Group, Record
from .money import money_alerts
from .ourselves import own_alerts
from .recording import recordings
from .tuning import Tuning

__all__ = ["LATELY", "alerts", "groups", "rule_files", "severity", "texts"]

LATELY = "from=now-3h&to=now"
"""The time range of a link, for who knows none better: a page has the time of its alert."""

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


def texts(alert: Alert, tuning: Tuning) -> dict[str, str]:
    """What a person reads, links added from the alert's name and labels."""
    labels = {
        "cluster": tuning.cluster_label,
        "service": tuning.service_label,
        "agent": prometheus_label("agent"),
    }
    filters = "".join(
        f"{{{{ if $labels.{name} }}}}&var-{variable}={{{{ $labels.{name} | urlquery }}}}"
        "{{ end }}"
        for variable, name in labels.items()
    )
    return {
        "summary": alert.summary,
        "description": alert.description,
        "dashboard_url": f"{tuning.grafana_url}/d/{alert.dashboard}?{LATELY}{filters}",
        "runbook_url": f"{tuning.runbook_url}/{alert.name}.md",
    }


def severity(alert: Alert, tuning: Tuning) -> str:
    """What the installation calls it."""
    return str(getattr(tuning, f"{alert.severity}_name", alert.severity))


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
    yield "        labels:\n"
    for name, value in (("severity", severity(rule, tuning)), *rule.labels):
        yield f"          {name}: {value}\n"
    yield "        annotations:\n"
    for name, value in texts(rule, tuning).items():
        yield f"          {name}: {json.dumps(value)}\n"  # a JSON string is a YAML string


def _expr(expr: str) -> str:
    return "        expr: |\n" + "".join(f"          {line}\n" for line in expr.splitlines())
