"""Every name this package emits, as data.

Instruments, the docs table, zero-initialisation, dashboards and alert rules derive from here.
Imports only the core, so that dashboards and alerts can be generated anywhere.
"""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import Final, NamedTuple

from runguard_otel.telemetry.attributes import (
    ACTIONS,
    ATTRIBUTES,
    CLAIM_RESULTS,
    COMPONENTS,
    DISCONNECT_REASONS,
    GUARDS,
    Attribute,
    prometheus_label,
)
from runguard_otel.telemetry.possible import POSSIBLE, possible_outcomes

__all__ = [
    "ACTIONS",
    "ATTRIBUTES",
    "CLAIM_RESULTS",
    "COMPONENTS",
    "DISCONNECT_REASONS",
    "GUARDS",
    "METRICS",
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
        not "reused") the rows of :mod:`~runguard_otel.telemetry.possible`.
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


# A bucket is a series per attribute set, and one worker has 150: few bounds, at the questions.
_CLAIM_SECONDS = (0.005, 0.025, 0.1, 0.25, 1.0)  # the last two: the bounds on a registry call
_GUARD_SECONDS = (1e-5, 1e-4, 1e-3)  # the goal, noticeable, a defect

METRICS: Final[dict[str, Metric]] = {
    m.name: m
    for m in (
        Metric(
            "runguard.signatures",
            Kind.COUNTER,
            "{event}",
            "Events that belong to one of the four loops.",
            ("signature", "outcome", "agent"),
            zero=True,
        ),
        Metric(
            "runguard.trips",
            Kind.COUNTER,
            "{trip}",
            "Guards that found a loop.",
            ("guard", "signature", "mode", "action", "agent"),
            zero=True,
        ),
        Metric(
            "runguard.guards.open",
            Kind.UPDOWN,
            "{guard}",
            "Guards that are open right now.",
            ("guard", "agent"),
            zero=True,
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
            ("kind", "provider", "model"),
        ),
        Metric(
            "runguard.stt.streams",
            Kind.UPDOWN,
            "{stream}",
            "STT streams open right now.",
            ("provider", "model"),
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
        Metric("runguard.jobs", Kind.UPDOWN, "{job}", "Jobs running right now.", (), zero=True),
        Metric(
            "runguard.jobs.ended",
            Kind.COUNTER,
            "{job}",
            "Jobs ended, by how.",
            ("job_outcome",),
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
            ("component", "provider", "model"),
        ),
        Metric(
            "runguard.cost.wasted",
            Kind.COUNTER,
            "{USD}",
            "Estimated cost of loops that were seen and not stopped.",
            ("guard", "component"),
            zero=True,
        ),
        Metric(
            "runguard.cost.avoided",
            Kind.COUNTER,
            "{USD}",
            "Estimated cost that a guard demonstrably stopped.",
            ("guard", "component"),
            zero=True,
        ),
        Metric(
            "runguard.cost.unpriced",
            Kind.COUNTER,
            "{unit}",
            "Usage without a row in the price book.",
            ("component", "provider", "model", "unit"),
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
            "runguard.worker.heartbeat",
            Kind.GAUGE,
            "s",
            "Unix time of the worker's last sign of life.",
            (),
        ),
    )
}

SPANS: Final[dict[str, str]] = {
    "runguard.room_reconnect": "The application connected a room again.",
    "runguard.vad_misfire": "A final STT result that was not speech of the user.",
    "runguard.job_claim": "A step of the claim to serve a room.",
    "runguard.track_subscribe": "A track was subscribed.",
    "runguard.trip": "A guard found a loop; linked to the events that led to it.",
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
