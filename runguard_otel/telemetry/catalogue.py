"""Every name this package emits, as data.

Instruments, the docs table, zero-initialisation, dashboards and alert rules derive from here.
Imports only the core, so that dashboards and alerts can be generated anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Final

from runguard_otel.core.signatures import CLAIM_SIGNATURES, SIGNATURES, GuardName
from runguard_otel.core.verdict import Mode, Outcome

__all__ = ["ATTRIBUTES", "METRICS", "SPANS", "Attribute", "Kind", "Metric", "prometheus_name"]


class Kind(str, Enum):
    """The OpenTelemetry instrument kinds in use."""

    COUNTER = "counter"
    UPDOWN = "updown"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True)
class Attribute:
    """A metric attribute.

    Args:
        name: The short name adapters use, and the last part of the Prometheus label.
        key: The OpenTelemetry attribute key.
        values: The closed set; empty means open but capped (see ``cap``).
        cap: For open sets: how many distinct values are kept before ``other`` takes the rest.
        brief: One sentence.
    """

    name: str
    key: str
    values: tuple[str, ...]
    brief: str
    cap: int = 0


@dataclass(frozen=True)
class Metric:
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
        """Every attribute set to export as 0 at start: the product of the closed sets."""
        if not self.zero:
            return []
        closed = [ATTRIBUTES[a] for a in self.attributes if ATTRIBUTES[a].values]
        if self.name == "runguard.signatures":  # only what can happen: a claim is never "reused"
            return [
                {"signature": s, "outcome": o} for s in SIGNATURES for o in possible_outcomes(s)
            ]
        return [
            dict(zip((a.name for a in closed), combo, strict=True))
            for combo in product(*(a.values for a in closed))
        ]


DISCONNECT_REASONS: Final = (
    "unknown",
    "client_initiated",
    "duplicate_identity",
    "server_shutdown",
    "participant_removed",
    "room_deleted",
    "state_mismatch",
    "join_failure",
    "migration",
    "signal_close",
    "room_closed",
    "user_unavailable",
    "user_rejected",
    "sip_trunk_failure",
    "connection_timeout",
    "media_failure",
    "agent_error",
)
CLAIM_RESULTS: Final = tuple(s.partition(":")[2] for s in CLAIM_SIGNATURES)
COMPONENTS: Final = ("transport", "agent", "stt", "llm", "tts")
GUARDS: Final = tuple(str(g) for g in GuardName)
ACTIONS: Final = (
    "none",
    "refuse_connect",
    "shutdown_job",
    "suppress",
    "mute_while_speaking",
    "refuse_job",
    "reuse_stream",
    "close_session",
    "delete_room",
)


def possible_outcomes(signature: str) -> tuple[str, ...]:
    """The outcomes an event of this signature can have; bounds the number of series."""
    kind = signature.partition(":")[0]
    if signature == "vad_misfire:no_transcript":
        return ("observed",)
    if signature == "job_claim:refused":
        return ("observed", "refused")
    if kind == "job_claim":
        return ("observed", "allowed")
    if kind == "vad_misfire":
        return ("observed", "allowed", "suppressed")
    if kind == "room_reconnect":
        return ("observed", "allowed", "refused")
    return ("observed", "allowed", "reused")


def _closed(name: str, brief: str, values: tuple[str, ...], key: str = "") -> Attribute:
    return Attribute(name, key or f"runguard.{name}", values, brief)


ATTRIBUTES: Final[dict[str, Attribute]] = {
    a.name: a
    for a in (
        _closed("signature", "What happened.", SIGNATURES),
        _closed("outcome", "What was done with it.", tuple(str(o) for o in Outcome)),
        _closed("guard", "Which guard.", GUARDS),
        _closed("mode", "Whether the guard may act.", (str(Mode.OBSERVE), str(Mode.ENFORCE))),
        _closed("action", "What a trip did.", ACTIONS),
        _closed("connect", "How a connect ended.", ("ok", "failed", "refused")),
        _closed("reason", "Why a room was left.", DISCONNECT_REASONS),
        _closed("episode", "How a reconnect episode ended.", ("recovered", "lost")),
        _closed(
            "kind", "What a final STT result was.", ("genuine", "empty", "low_confidence", "echo")
        ),
        _closed("result", "How a claim ended.", (*CLAIM_RESULTS, "error")),
        _closed(
            "backend", "The claim registry.", ("memory", "sqlite", "redis", "postgres", "dynamodb")
        ),
        _closed("operation", "The registry call.", ("acquire", "renew", "release")),
        _closed("job_outcome", "How a job ended.", ("clean", "crashed", "killed", "refused")),
        _closed("subscription", "What became of a subscription.", ("opened", "reused", "observed")),
        _closed(
            "source",
            "The track's source.",
            ("microphone", "screenshare_audio", "camera", "screenshare", "unknown"),
        ),
        _closed("component", "Which part of the bill.", COMPONENTS),
        _closed("where", "Which wrapper or worker of ours failed.", ()),
        _closed(
            "drop",
            "Why an event was dropped.",
            ("queue_full", "malformed", "version", "peer", "closed"),
        ),
        Attribute("agent", "runguard.agent.name", (), "LiveKit's agent name, capped.", cap=20),
        Attribute("provider", "gen_ai.provider.name", (), "The model's provider, capped.", cap=20),
        Attribute("model", "gen_ai.request.model", (), "The model, capped.", cap=40),
        Attribute(
            "unit",
            "runguard.unit",
            ("second", "token", "character", "minute", "request", "gigabyte"),
            "What could not be priced.",
        ),
    )
}

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_MICRO = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2)

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
            buckets=_SECONDS,
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
            buckets=_MICRO,
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
    "runguard.track_subscribe": "A track was subscribed again.",
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


def prometheus_label(attribute: str) -> str:
    """The label an attribute has in Prometheus.

    Args:
        attribute: A key of :data:`ATTRIBUTES`.

    Raises:
        KeyError: If there is no such attribute.
    """
    return ATTRIBUTES[attribute].key.replace(".", "_")
