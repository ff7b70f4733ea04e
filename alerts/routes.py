"""Alertmanager's configuration, from :mod:`.routing`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .routing import NOBODY, WATCHDOG, Inhibition, Match, PagerDuty, Route, Routing, routing
from .tuning import Tuning
from .yamlfile import scalar

__all__ = ["route_files"]

_HEADER = "# Generated from alerts/routes.py by `make generate`. DO NOT EDIT.\n"
_PAGERDUTY = """\
# Alertmanager (0.25 or newer) with PagerDuty. Put the integration key of an "Events API v2"
# integration into the file below and nothing else; it never belongs into this one.
# Without PagerDuty: alertmanager-webhook.yml.
"""
_WEBHOOK = """\
# Alertmanager (0.25 or newer) without PagerDuty: everything goes to one webhook, with the same
# grouping and inhibition as alertmanager.yml. Any service that takes Alertmanager's webhook will do.
"""
_GROUPED = """\
  # One incident per alert, cluster, service and signature. PagerDuty's dedup key is made of exactly
  # these labels, so never add a room, a job or an instance: 200 events in 20 rooms are one incident.
"""
_HOOK = """\
  - name: webhook
    webhook_configs:
      - url: http://127.0.0.1:9095/alerts
        send_resolved: true
"""
_REST = f"""\
  # The watchdog calls this every minute or two; a service outside your network complains when it stops.
  - name: {WATCHDOG}
    webhook_configs:
      - url: http://127.0.0.1:9095/watchdog
        send_resolved: false
  - name: {NOBODY}
"""


def route_files(tuning: Tuning) -> dict[str, str]:
    """File name to text, with PagerDuty and without.

    Args:
        tuning: Names of labels and severities.
    """
    all_of_it = routing(tuning)
    receivers = {
        "pagerduty": (_PAGERDUTY, "".join(_incident(all_of_it.pagerduty))),
        "webhook": (_WEBHOOK, _HOOK),
    }
    names = {"pagerduty": "alertmanager.yml", "webhook": "alertmanager-webhook.yml"}
    return {
        names[receiver]: _HEADER
        + about
        + "".join(_routes(all_of_it, receiver))
        + "\nreceivers:\n"
        + body
        + _REST
        for receiver, (about, body) in receivers.items()
    }


def _routes(all_of_it: Routing, receiver: str) -> Iterator[str]:
    yield f"route:\n  receiver: {receiver}\n{_GROUPED}"
    yield f"  group_by: [{', '.join(all_of_it.group_by)}]\n"
    yield from (f"  {name}: {wait}\n" for name, wait in all_of_it.waits.items())
    yield "  routes:\n"
    for route in all_of_it.routes:
        yield from _route(route, receiver)
    yield "\ninhibit_rules:\n"
    for inhibition in all_of_it.inhibitions:
        yield from _inhibition(inhibition)


def _route(route: Route, receiver: str) -> Iterator[str]:
    yield f"    - matchers: {_matchers([route.match])}\n"
    yield f"      receiver: {route.receiver or receiver}\n"
    *waits, last = [f"      {name}: {wait}" for name, wait in route.waits.items()] or [""]
    if route.why:
        last += f" # {route.why}"
    yield from (f"{line}\n" for line in (*waits, last) if line)


def _inhibition(inhibition: Inhibition) -> Iterator[str]:
    if inhibition.why:
        yield f"  # {inhibition.why}\n"
    yield f"  - source_matchers: {_matchers(inhibition.source)}\n"
    yield f"    target_matchers: {_matchers(inhibition.target)}\n"
    yield f"    equal: [{', '.join(inhibition.equal)}]\n"


def _matchers(matches: Iterable[Match]) -> str:
    return f"[{', '.join(map(str, matches))}]"


def _incident(pagerduty: PagerDuty) -> Iterator[str]:
    yield "  - name: pagerduty\n    pagerduty_configs:\n"
    yield "      - routing_key_file: /etc/alertmanager/secrets/pagerduty_routing_key\n"
    yield "        send_resolved: true\n"
    yield from (f"        {name}: {scalar(text)}\n" for name, text in pagerduty.fields.items())
    yield "        links:\n"
    for text, href in pagerduty.links.items():
        yield f"          - href: {scalar(href)}\n            text: {text}\n"
    yield (
        "        # Alertmanager from 0.29 on reads each of these as YAML: no value may look like a "
        "number, a\n"
        "        # list or a mapping, so each begins with a word and holds no colon with a space "
        "behind it.\n        details:\n"
    )
    yield from (f"          {name}: {scalar(text)}\n" for name, text in pagerduty.details.items())
