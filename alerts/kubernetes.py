"""The same alerts and routes for the Prometheus operator, with the dashboards beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .model import Alert, Record
from .routing import NOBODY, WATCHDOG, Match, PagerDuty, Routing, routing
from .rules import groups, severity, texts
from .tuning import Tuning
from .yamlfile import as_yaml

__all__ = ["AGENT_LABEL", "PORT_NAME", "SECRET", "kubernetes_files"]

AGENT_LABEL = ("runguard", "metrics")
"""The label of pods to scrape."""

PORT_NAME = "runguard"
"""The name of the container port with ``/metrics``; a name has at most 15 characters."""

SECRET = ("runguard-pagerduty", "routing-key")
"""Name and key of the secret with PagerDuty's integration key."""

_HEADER = "# Written by `runguard-otel export kubernetes`.\n"
_API = "monitoring.coreos.com"
_CAMEL = re.compile(r"_(\w)")


def kubernetes_files(
    tuning: Tuning, boards: Mapping[str, str], namespace: str, labels: Mapping[str, str]
) -> dict[str, str]:
    """File name to text, all of it applied by the kustomization.

    Args:
        tuning: Thresholds, selectors and names.
        boards: Dashboards by file name.
        namespace: Where Prometheus, Alertmanager and Grafana run.
        labels: What the operator selects by, such as ``release=prometheus``.
    """

    def made(api: str, kind: str, name: str, **body: Any) -> str:
        own = {"app.kubernetes.io/name": "runguard-otel", **labels, **body.pop("labels", {})}
        meta = {"name": name, "namespace": namespace, "labels": own, **body.pop("meta", {})}
        return _HEADER + as_yaml({"apiVersion": api, "kind": kind, "metadata": meta, **body})

    files = {
        "podmonitor.yaml": made(f"{_API}/v1", "PodMonitor", "runguard", spec=_scraped()),
        "prometheusrule.yaml": made(
            f"{_API}/v1", "PrometheusRule", "runguard", spec=_rules(tuning, namespace)
        ),
        "alertmanagerconfig.yaml": made(
            f"{_API}/v1alpha1", "AlertmanagerConfig", "runguard", spec=_routed(routing(tuning))
        ),
    }
    for name, text in boards.items():
        stem = name.removesuffix(".json")
        files[f"dashboards/{stem}.yaml"] = made(
            "v1",
            "ConfigMap",
            stem,
            labels={"grafana_dashboard": "1"},
            meta={"annotations": {"grafana_folder": "Runguard"}},
            data={name: text},
        )
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
    return {"kustomization.yaml": _HEADER + as_yaml(kustomization), **files}


def _scraped() -> dict[str, Any]:
    return {
        "namespaceSelector": {"any": True},
        "selector": {"matchLabels": dict([AGENT_LABEL])},
        "podMetricsEndpoints": [{"port": PORT_NAME, "path": "/metrics", "interval": "15s"}],
    }


def _rules(t: Tuning, namespace: str) -> dict[str, Any]:
    found = [group for file in groups(t).values() for group in file]
    return {
        "groups": [
            {"name": group.name, "rules": [_rule(rule, t, namespace) for rule in group.rules]}
            for group in found
        ]
    }


def _rule(rule: Record | Alert, t: Tuning, namespace: str) -> dict[str, Any]:
    if isinstance(rule, Record):
        return {"record": rule.record, "expr": f"{rule.expr}\n"}
    # The operator sends an AlertmanagerConfig only alerts of its own namespace, by this label.
    own = {"severity": severity(rule, t), "namespace": namespace}
    return {
        "alert": rule.name,
        "expr": f"{rule.expr}\n",
        "labels": {**own, **dict(rule.labels)},
        "annotations": texts(rule, t),
    }


def _routed(r: Routing) -> dict[str, Any]:
    return {
        "route": {
            "receiver": "pagerduty",
            "groupBy": list(r.group_by),
            **_camel(r.waits),
            "routes": [
                {
                    "matchers": [_match(route.match)],
                    # The operator's own stack brings a watchdog and a place where it arrives.
                    "receiver": NOBODY
                    if route.receiver == WATCHDOG
                    else route.receiver or "pagerduty",
                    **_camel(route.waits),
                }
                for route in r.routes
            ],
        },
        "inhibitRules": [
            {
                "sourceMatch": [_match(match) for match in inhibition.source],
                "targetMatch": [_match(match) for match in inhibition.target],
                "equal": list(inhibition.equal),
            }
            for inhibition in r.inhibitions
        ],
        "receivers": [
            {"name": "pagerduty", "pagerdutyConfigs": [_incident(r.pagerduty)]},
            {"name": NOBODY},
        ],
    }


def _incident(p: PagerDuty) -> dict[str, Any]:
    name, key = SECRET
    fields = {"clientURL" if k == "client_url" else k: v for k, v in p.fields.items()}
    return {
        "routingKey": {"name": name, "key": key},
        "sendResolved": True,
        **fields,
        "pagerDutyLinkConfigs": [{"href": href, "alt": text} for text, href in p.links.items()],
        "details": [{"key": key, "value": text} for key, text in p.details.items()],
    }


def _match(match: Match) -> dict[str, str]:
    return {"name": match.name, "matchType": match.operator, "value": match.value}


def _camel(waits: Mapping[str, str]) -> dict[str, str]:
    return {_CAMEL.sub(lambda m: m[1].upper(), name): wait for name, wait in waits.items()}
