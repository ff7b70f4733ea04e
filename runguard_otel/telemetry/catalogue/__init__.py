"""Every name this package emits, as data.

Instruments, the docs table, zero-initialisation, dashboards and alert rules derive from here.
Imports only the core, so that dashboards and alerts can be generated anywhere.
"""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import Final, NamedTuple

from runguard_otel.telemetry.catalogue.attributes import (
    ACTIONS,
    AGES,
    ATTRIBUTES,
    CLAIM_RESULTS,
    COMPONENTS,
    DISCONNECT_REASONS,
    GUARDS,
    PERIODS,
    SERVER,
    Attribute,
    prometheus_label,
)
from runguard_otel.telemetry.catalogue.zero import POSSIBLE, possible_outcomes

__all__ = [
    "ACTIONS",
    "AGES",
    "ATTRIBUTES",
    "CLAIM_RESULTS",
    "COMPONENTS",
    "DISCONNECT_REASONS",
    "GUARDS",
    "METRICS",
    "PERIODS",
    "SERVER",
    "SPANS",
    "Attribute",
    "Kind",
    "Metric",
    "possible_outcomes",
    "prometheus_label",
    "prometheus_name",
]


class Kind(str, Enum):
    """The OpenTelemetry instrument kinds in use."""

    COUNTER = "counter"
    UPDOWN = "updown"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class Metric(NamedTuple):
    """One instrument.

    Args:
        name: OpenTelemetry name.
        kind: Instrument kind.
        unit: UCUM unit; ``{thing}`` adds no suffix in Prometheus.
        brief: One sentence, ends in a full stop.
        attributes: Short names of the attributes it may carry.
        zero: Whether every combination of its closed attributes is exported as 0 from the start, so
            that ``increase()`` sees the very first event.
        buckets: Histogram bounds in the metric's unit.
    """

    name: str
    kind: Kind
    unit: str
    brief: str
    attributes: tuple[str, ...] = ()
    zero: bool = False
    buckets: tuple[float, ...] = ()

    def zero_series(self) -> list[dict[str, str]]:
        """Every attribute set to export as 0 at start, open attributes left out.

        The product of the closed sets, or where most of the product can never happen (a claim is
        not "reused") the rows of :mod:`~runguard_otel.telemetry.catalogue.zero`.
        """
        if not self.zero:
            return []
        if self.name in POSSIBLE:
            return [dict(row) for row in POSSIBLE[self.name]]
        closed = [ATTRIBUTES[a] for a in self.attributes if ATTRIBUTES[a].values]
        return [
            dict(zip((a.name for a in closed), combo, strict=True))
            for combo in product(*(a.values for a in closed))
        ]


# A bucket is a series per attribute set, and one worker has 200: few bounds, at the questions.
_CLAIM_SECONDS = (0.005, 0.025, 0.1, 0.25, 1.0)  # the last two: the bounds on a registry call
_SESSION_SECONDS = (30, 120, 300, 600, 1800, 3600)
_IDLE_SECONDS = (15, 60, 120, 300, 600, 1200)  # around the default limit of a silent caller
_GUARD_SECONDS = (1e-5, 1e-4, 1e-3)  # the goal, noticeable, a defect

METRICS: Final[dict[str, Metric]] = {
    m.name: m
    for m in (
        Metric(
            "runguard.signatures",
            Kind.COUNTER,
            "{event}",
            "Events that the guards watch for.",
            ("signature", "outcome", "agent", "vantage"),
            zero=True,
        ),
        Metric(
            "runguard.trips",
            Kind.COUNTER,
            "{trip}",
            "Guards that found a loop.",
            ("guard", "signature", "mode", "action", "agent", "vantage"),
            zero=True,
        ),
        Metric(
            "runguard.guards.open",
            Kind.UPDOWN,
            "{guard}",
            "Guards that are open right now: loops that last, by what tripped them.",
            ("guard", "signature", "mode", "agent", "vantage"),
        ),
        Metric(
            "runguard.room.connects",
            Kind.COUNTER,
            "{connect}",
            "Times the application called Room.connect.",
            ("connect",),
            zero=True,
        ),
        Metric(
            "runguard.room.disconnects",
            Kind.COUNTER,
            "{disconnect}",
            "Rooms left, by LiveKit's reason.",
            ("reason",),
        ),
        Metric(
            "runguard.room.reconnect_episodes",
            Kind.COUNTER,
            "{episode}",
            "Outages the LiveKit SDK reconnected from, or did not.",
            ("episode",),
            zero=True,
        ),
        Metric(
            "runguard.stt.results",
            Kind.COUNTER,
            "{result}",
            "Final STT results by kind.",
            ("kind", "confidence", "provider", "model", "agent"),
        ),
        Metric(
            "runguard.stt.streams",
            Kind.UPDOWN,
            "{stream}",
            "STT streams open right now.",
            ("provider", "model", "agent"),
        ),
        Metric(
            "runguard.stt.audio",
            Kind.COUNTER,
            "s",
            "Audio pushed into STT streams.",
            ("provider", "model"),
        ),
        Metric(
            "runguard.job.claims",
            Kind.COUNTER,
            "{claim}",
            "Claims to serve a room, by result.",
            ("result", "backend"),
        ),
        Metric(
            "runguard.job.claim.duration",
            Kind.HISTOGRAM,
            "s",
            "Time of one call to the claim registry.",
            ("operation", "backend", "result"),
            buckets=_CLAIM_SECONDS,
        ),
        Metric(
            "runguard.job.refusals",
            Kind.COUNTER,
            "{job}",
            "Jobs refused their room, or asked to leave it to another job, by why.",
            ("refusal",),
            zero=True,
        ),
        Metric(
            "runguard.session.duration",
            Kind.HISTOGRAM,
            "s",
            "How long sessions lasted.",
            ("agent",),
            buckets=_SESSION_SECONDS,
        ),
        Metric(
            "runguard.session.idle",
            Kind.HISTOGRAM,
            "s",
            "The longest time of each session without speech, text, key or requested reply.",
            ("agent",),
            buckets=_IDLE_SECONDS,
        ),
        Metric(
            "runguard.open",
            Kind.GAUGE,
            "{period}",
            "What is open right now, by age.",
            ("period", "age"),
        ),
        Metric(
            "runguard.open.oldest",
            Kind.GAUGE,
            "s",
            "How long the oldest of what is open has been.",
            ("period",),
        ),
        Metric(
            "runguard.jobs",
            Kind.UPDOWN,
            "{job}",
            "Jobs running right now.",
            ("agent",),
            zero=True,
        ),
        Metric(
            "runguard.jobs.alone",
            Kind.UPDOWN,
            "{job}",
            "Jobs connected to a room without a caller right now.",
            ("agent",),
            zero=True,
        ),
        Metric(
            "runguard.jobs.ended",
            Kind.COUNTER,
            "{job}",
            "Jobs ended, by how.",
            ("job_outcome", "agent"),
            zero=True,
        ),
        Metric(
            "runguard.track.subscriptions",
            Kind.COUNTER,
            "{subscription}",
            "Track subscriptions and what became of them.",
            ("subscription", "source"),
        ),
        Metric(
            "runguard.cost.estimated",
            Kind.COUNTER,
            "{USD}",
            "Estimated cost of what was used.",
            ("component", "provider", "model", "agent", "vantage"),
        ),
        Metric(
            "runguard.cost.wasted",
            Kind.COUNTER,
            "{USD}",
            "Estimated cost of loops that were seen and not stopped.",
            ("guard", "component", "agent"),
            zero=True,
        ),
        Metric(
            "runguard.cost.avoided",
            Kind.COUNTER,
            "{USD}",
            "Estimated cost that a guard demonstrably stopped.",
            ("guard", "component", "agent"),
            zero=True,
        ),
        Metric(
            "runguard.cost.unpriced",
            Kind.COUNTER,
            "{unit}",
            "Usage without a row in the price book.",
            ("component", "provider", "model", "unit", "agent", "vantage"),
        ),
        Metric(
            "runguard.guard.duration",
            Kind.HISTOGRAM,
            "s",
            "Time our own code took in the host's path.",
            ("guard",),
            buckets=_GUARD_SECONDS,
        ),
        Metric(
            "runguard.internal_errors",
            Kind.COUNTER,
            "{error}",
            "Failures of our own code that the host never saw.",
            ("where",),
        ),
        Metric(
            "runguard.events.dropped",
            Kind.COUNTER,
            "{event}",
            "Events given up, by reason.",
            ("drop",),
            zero=True,
        ),
        Metric(
            "runguard.server.rooms",
            Kind.GAUGE,
            "{room}",
            "Rooms that are open on the server.",
        ),
        Metric(
            "runguard.server.rooms.oldest",
            Kind.GAUGE,
            "s",
            "How long the oldest room has been open.",
        ),
        Metric(
            "runguard.server.participants",
            Kind.GAUGE,
            "{participant}",
            "Who is in the rooms of the server.",
            ("party",),
        ),
        Metric(
            "runguard.server.watchers",
            Kind.GAUGE,
            "{watcher}",
            "Watchers of the server, by which of them reports and may act.",
            ("duty",),
        ),
        Metric(
            "runguard.server.webhooks",
            Kind.COUNTER,
            "{webhook}",
            "Webhooks of the server, and what became of them.",
            ("webhook",),
            zero=True,
        ),
        Metric(
            "runguard.server.questions",
            Kind.COUNTER,
            "{question}",
            "Questions put to the server, by how it answered.",
            ("answer",),
            zero=True,
        ),
        Metric(
            "runguard.server.acts",
            Kind.COUNTER,
            "{act}",
            "Interventions on rooms of the server.",
            ("action", "act"),
        ),
        Metric(
            "runguard.worker.heartbeat",
            Kind.GAUGE,
            "s",
            "Unix time of the worker's last sign of life.",
            (),
        ),
        Metric(
            "runguard.worker.start",
            Kind.GAUGE,
            "s",
            "Unix time at which the worker began to count: what it counted earlier is another's.",
            (),
        ),
        Metric(
            "runguard.worker.expected",
            Kind.GAUGE,
            "{worker}",
            "Whether the worker is to be missed when it falls silent: 0 in development, and from "
            "the moment it was asked to end.",
            (),
        ),
    )
}

SPANS: Final[dict[str, str]] = {
    "runguard.room_reconnect": "The application connected a room again.",
    "runguard.vad_misfire": "A final STT result that was not speech of the user.",
    "runguard.job_claim": "A step of the claim to serve a room.",
    "runguard.track_subscribe": "A track was subscribed.",
    "runguard.session_overrun": "A session, or what it holds, has gone on too long.",
    "runguard.trip": "A guard found a loop; linked to the events that led to it.",
    "runguard.job": "One job, around its events where LiveKit's own spans are not recorded.",
}


def prometheus_name(metric: str) -> str:
    """The name a metric has in Prometheus, after the standard translation.

    Args:
        metric: A key of :data:`METRICS`.

    Raises:
        KeyError: If there is no such metric.
    """
    row = METRICS[metric]
    name = row.name.replace(".", "_")
    if row.unit == "s":
        name += "_seconds"
    if row.kind is Kind.COUNTER:
        name += "_total"
    return name
