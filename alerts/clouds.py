"""The same alerts where Prometheus reads no files: Mimir, Grafana Cloud, Grafana's own alerting."""

from __future__ import annotations

import re
from typing import Any

from .model import Alert
from .rules import alerts, groups, rule_files, severity, texts
from .tuning import Tuning
from .yamlfile import as_yaml

__all__ = ["grafana_files", "mimir_files"]

_NAMESPACE = "runguard"
_VALUE = re.compile(r"\$value\b")
_QUERY, _ANY, _FIRES = "query", "any", "fires"
_EXPRESSION = "__expr__"  # Grafana's name of the data source that computes


def mimir_files(tuning: Tuning) -> dict[str, str]:
    """One rule namespace, as ``mimirtool rules load`` takes it.

    Args:
        tuning: Thresholds, selectors and names.
    """
    read = [text.split("groups:\n", 1)[1] for text in rule_files(tuning).values()]
    header = "# Written by `runguard-otel export mimir`: mimirtool rules load runguard.yaml\n"
    return {"runguard.yaml": f"{header}namespace: {_NAMESPACE}\ngroups:\n{''.join(read)}"}


def grafana_files(tuning: Tuning, datasource: str) -> dict[str, str]:
    """Alert rules that Grafana evaluates, for its folder ``provisioning/alerting``.

    They ask for the recordings, so those run where the metrics are: ``recording.yml`` goes to
    Prometheus, or its namespace to Mimir.

    Args:
        tuning: Thresholds, selectors and names.
        datasource: uid of the data source with the metrics and the recordings.
    """
    told = {a.name for a in alerts(tuning)} - {"RunguardWatchdog"}  # Grafana has no one to miss it
    document = {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                "folder": "Runguard",
                "interval": "1m",
                "rules": [
                    _rule(rule, tuning, datasource)
                    for rule in group.rules
                    if isinstance(rule, Alert) and rule.name in told
                ],
            }
            for group in groups(tuning)["alerts.yml"]
        ],
    }
    header = "# Written by `runguard-otel export grafana`, for Grafana's provisioning/alerting.\n"
    return {
        "runguard-alerting.yaml": header + as_yaml(document),
        "recording.yml": rule_files(tuning)["recording.yml"],
    }


def _rule(alert: Alert, t: Tuning, datasource: str) -> dict[str, Any]:
    return {
        "uid": alert.name,
        "title": alert.name,
        "condition": _FIRES,
        "for": "0s",
        "data": [
            _data(
                _QUERY, datasource,
                {"expr": f"{alert.expr}\n", "instant": True, "range": False}, seconds=600,
            ),
            # Whatever the query returns fires, as in Prometheus: a value of 0 as well.
            _data(
                _ANY, _EXPRESSION,
                {"type": "math",
                 "expression": f"is_number(${_QUERY}) || is_nan(${_QUERY}) || is_inf(${_QUERY})"},
            ),
            _data(
                _FIRES, _EXPRESSION,
                {"type": "threshold", "expression": _ANY,
                 "conditions": [{"evaluator": {"type": "gt", "params": [0]}}]},
            ),
        ],
        "noDataState": "OK",  # no loop is no series
        "execErrState": "Error",
        "labels": {"severity": severity(alert, t), **dict(alert.labels)},
        "annotations": {
            # In Grafana `$value` is a sentence on all parts of the condition.
            name: _VALUE.sub(f"$values.{_QUERY}.Value", text)
            for name, text in texts(alert, t).items()
        },
    }  # fmt: skip


def _data(ref: str, datasource: str, model: dict[str, Any], seconds: int = 0) -> dict[str, Any]:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": seconds, "to": 0},
        "datasourceUid": datasource,
        "model": {"refId": ref, **model},
    }
