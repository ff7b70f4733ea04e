"""Who is told, what is one incident, what goes without saying: as data, for every Alertmanager."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .rules import LATELY
from .tuning import Tuning

__all__ = [
    "NOBODY", "PagerDuty", "Inhibition", "Match", "Route", "Routing", "WATCHDOG", "routing"
]  # fmt: skip

WATCHDOG = "dead-mans-switch"
"""The receiver of the alert that always fires."""

NOBODY = "nobody"
"""The receiver of what is only shown."""

_MATCH = re.compile(r'(\w+)(=~|!~|!=|=)"(.*)"')
_LOOPS = (
    "RunguardReconnectLoop|RunguardMisfireStorm|RunguardSubscriptionCascade|RunguardSessionOverrun"
)


@dataclass(frozen=True)
class Match:
    """One matcher; ``str()`` is how Alertmanager writes it."""

    name: str
    operator: str
    value: str

    @classmethod
    def of(cls, text: str) -> Match:
        """Read one as Alertmanager writes it.

        Raises:
            ValueError: If it is none.
        """
        found = _MATCH.fullmatch(text)
        if found is None:
            raise ValueError(f"{text} is no matcher")
        return cls(*found.groups())

    def __str__(self) -> str:
        return f'{self.name}{self.operator}"{self.value}"'


@dataclass(frozen=True)
class Route:
    """Which alerts go where.

    Args:
        match: Which.
        receiver: Where; empty is the default receiver.
        waits: ``group_wait``, ``group_interval``, ``repeat_interval`` where they differ.
        why: A word on them.
    """

    match: Match
    receiver: str
    waits: dict[str, str]
    why: str = ""


@dataclass(frozen=True)
class Inhibition:
    """What need not be told while something else is. Empty ``why``: as the one before."""

    why: str
    source: tuple[Match, ...]
    target: tuple[Match, ...]
    equal: tuple[str, ...]


@dataclass(frozen=True)
class PagerDuty:
    """What an incident says: field to template, in Alertmanager's names."""

    fields: dict[str, str]
    links: dict[str, str]
    details: dict[str, str]


@dataclass(frozen=True)
class Routing:
    """All of it, for one installation."""

    group_by: tuple[str, ...]
    waits: dict[str, str]
    routes: tuple[Route, ...]
    inhibitions: tuple[Inhibition, ...]
    pagerduty: PagerDuty


def routing(t: Tuning) -> Routing:
    """The routes.

    Args:
        t: Names of labels and severities.
    """
    owner = (t.cluster_label, t.service_label)
    return Routing(
        group_by=("alertname", *owner, "runguard_signature"),
        waits={"group_wait": "10s", "group_interval": "5m", "repeat_interval": "4h"},
        routes=(
            Route(
                Match.of('alertname="RunguardWatchdog"'),
                WATCHDOG,
                {"group_wait": "1s", "group_interval": "1m", "repeat_interval": "1m"},
                "not less than group_interval, which it cannot undercut",
            ),
            Route(Match("severity", "=", t.page_name), "", {"group_wait": "5s"}),
            Route(
                Match("severity", "=", t.ticket_name),
                "",
                {"group_wait": "30s", "repeat_interval": "24h"},
            ),
            Route(Match("severity", "=", t.info_name), NOBODY, {}),
        ),
        inhibitions=tuple(_inhibitions(t, owner)),
        pagerduty=_pagerduty(t),
    )


def _inhibitions(t: Tuning, owner: tuple[str, ...]) -> list[Inhibition]:
    signature = "runguard_signature"
    loud = f'severity="{t.page_name}"'

    def row(why: str, source: list[str], target: list[str], *more: str) -> Inhibition:
        read = [tuple(Match.of(text) for text in side) for side in (source, target)]
        return Inhibition(why, read[0], read[1], (*owner, *more))

    return [
        row(
            "Without telemetry everything else of that service is guesswork.",
            ['alertname="RunguardTelemetryAbsent"'],
            ['alertname=~"Runguard.+"', 'alertname!~"RunguardTelemetryAbsent|RunguardWatchdog"'],
        ),
        row(
            "A page says it already.",
            [loud, f'{signature}=~".+"'],
            [f'severity=~"{t.ticket_name}|{t.info_name}"', f'{signature}=~".+"'],
            signature,
        ),
        row(
            "",
            ['alertname="RunguardWasteBurnFast"'],
            ['alertname="RunguardWasteBurnSlow"'],
        ),
        row(
            "The cause, not its consequences.",
            ['alertname="RunguardClaimRegistryUnreachable"'],
            ['alertname=~"RunguardClaimsUnverified|RunguardClaimLost"'],
        ),
        row(
            "",
            ['alertname="RunguardDuplicateWork"'],
            ['alertname="RunguardDuplicateDispatch"'],
            signature,
        ),
        row(
            "A loop that pages by itself says whether it is stopped.",
            [loud, f'alertname=~"{_LOOPS}"'],
            ['alertname="RunguardStormNotStopped"'],
            signature,
        ),
        row(
            "What an unstopped loop costs is said by its own page; costs without one still page.",
            [loud, 'runguard_mode="observe"', f'alertname=~"{_LOOPS}|RunguardStormNotStopped"'],
            ['alertname="RunguardWasteBurnFast"'],
        ),
        row(
            "",
            ['alertname="RunguardDuplicateWork"'],
            ['alertname="RunguardWasteBurnFast"'],
        ),
    ]


# From a quarter of an hour before the first alert to now, or to its end. 900000000000 ns = 15 min.
_BOARD = (
    '{{ $a := index .Alerts 0 }}{{ reReplaceAll "' + LATELY + '" '
    '(printf "from=%d&to=%s" ($a.StartsAt.Add -900000000000).UnixMilli '
    '(or (and (eq .Status "resolved") (print ($a.EndsAt.Add 900000000000).UnixMilli)) "now")) '
    "$a.Annotations.dashboard_url }}"
)
_RUNBOOK = "{{ (index .Alerts 0).Annotations.runbook_url }}"
_DETAILS = {
    "what": '{{ reReplaceAll "([:#]) " "$1" (index .Alerts 0).Annotations.description }}',
    "agents": "agent{{ range .Alerts }} {{ with .Labels.runguard_agent_name }}"
    '{{ reReplaceAll "[:#]" "." . }}{{ else }}unnamed{{ end }}{{ end }}',
    "signature": 'signature {{ or .CommonLabels.runguard_signature "none" }}',
    "stopped": '{{ if eq .CommonLabels.runguard_mode "observe" }}'
    "not stopped, the guard only observes"
    '{{ else if eq .CommonLabels.runguard_mode "enforce" }}stopped by the guard'
    "{{ else }}not about a loop{{ end }}",
    "runbook": _RUNBOOK,
    "dashboard": _BOARD,
    # Alertmanager adds these four by itself, with every label in them, unless they are set.
    "firing": "{{ .Alerts.Firing | len }} firing",
    "resolved": "{{ .Alerts.Resolved | len }} resolved",
    "num_firing": "{{ .Alerts.Firing | len }} firing",
    "num_resolved": "{{ .Alerts.Resolved | len }} resolved",
}


def _pagerduty(t: Tuning) -> PagerDuty:
    common = "{{ or .CommonLabels."
    service = f'{common}{t.service_label} "livekit-agents" }}}}'
    return PagerDuty(
        fields={
            "severity": f'{{{{ if eq .CommonLabels.severity "{t.page_name}" }}}}critical'
            f'{{{{ else if eq .CommonLabels.severity "{t.ticket_name}" }}}}warning'
            "{{ else }}info{{ end }}",
            "description": "{{ .CommonLabels.alertname }}: "
            "{{ (index .Alerts 0).Annotations.summary }}",
            "class": "{{ or .CommonLabels.runguard_signature .CommonLabels.alertname }}",
            "component": service,
            "group": f'{common}{t.cluster_label} "no cluster" }}}}',
            "source": f"{service}{{{{ with .CommonLabels.{t.cluster_label} }}}} in {{{{ . }}}}"
            "{{ end }}",
            "client": "runguard",
            "client_url": _BOARD,
        },
        links={"Runbook": _RUNBOOK, "Dashboard": _BOARD},
        details=_DETAILS,
    )
