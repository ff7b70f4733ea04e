"""The attributes metrics may carry, as data. Part of the catalogue; import it from there."""

from __future__ import annotations

from typing import Final, NamedTuple

from runguard_otel.core.refusals import REASONS
from runguard_otel.core.signatures import CLAIM_SIGNATURES, SIGNATURES, GuardName
from runguard_otel.core.verdict import Mode, Outcome

__all__ = ["ATTRIBUTES", "Attribute", "prometheus_label"]


class Attribute(NamedTuple):
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
AGES: Final = ("under_1m", "under_10m", "under_1h", "older")
COMPONENTS: Final = ("transport", "agent", "stt", "llm", "tts")
GUARDS: Final = tuple(str(g) for g in GuardName)
ACTIONS: Final = (
    "none",
    "refuse_connect",
    "shutdown_job",
    "suppress",
    "mute_while_speaking",
    "close_input",
    "refuse_job",
    "reuse_stream",
    "close_session",
    "delete_room",
    "end_process",
    "fail_stream",
    "remove_agent",
)
SERVER: Final = "server"
"""The vantage of ``runguard-otel watch``; what jobs and workers count themselves has none."""
PERIODS: Final = ("job", "session", "connection", "stt_stream", "waste")


def _closed(name: str, brief: str, values: tuple[str, ...], key: str = "") -> Attribute:
    return Attribute(name, key or f"runguard.{name}", values, brief)


ATTRIBUTES: Final[dict[str, Attribute]] = {
    a.name: a
    for a in (
        _closed("signature", "What happened.", SIGNATURES),
        _closed("outcome", "What was done with it.", tuple(str(o) for o in Outcome)),
        _closed(
            "vantage",
            "Who saw it: `server` for `runguard-otel watch`; absent for the agent itself.",
            (SERVER,),
        ),
        _closed("guard", "Which guard.", GUARDS),
        _closed("mode", "Whether the guard may act.", (str(Mode.OBSERVE), str(Mode.ENFORCE))),
        _closed("action", "What a trip did.", ACTIONS),
        _closed("connect", "How a connect ended.", ("ok", "failed", "refused")),
        _closed("reason", "Why a room was left.", DISCONNECT_REASONS),
        _closed("episode", "How a reconnect episode ended.", ("recovered", "lost")),
        _closed(
            "kind",
            "What a final STT result was.",
            ("genuine", "empty", "low_confidence", "echo", "duplicate"),
        ),
        _closed(
            "confidence",
            "Whether a result could be judged by its confidence: it had one, none, or a number "
            "that is something else.",
            ("judged", "absent", "unusable"),
            "runguard.stt.confidence",
        ),
        _closed("result", "How a claim ended.", (*CLAIM_RESULTS, "error")),
        _closed(
            "backend", "The claim registry.", ("memory", "sqlite", "redis", "postgres", "dynamodb")
        ),
        _closed("refusal", "Why a job was refused its room, or left it to another.", REASONS),
        _closed("operation", "The registry call.", ("acquire", "renew", "release")),
        _closed(
            "job_outcome",
            "How a job ended.",
            ("clean", "crashed", "killed", "refused", "alone", "caller_lost", "hung"),
        ),
        _closed("period", "What is open.", PERIODS),
        _closed("age", "For how long it has been open.", AGES),
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
            ("queue_full", "malformed", "version", "peer", "closed", "journal"),
        ),
        _closed(
            "webhook",
            "What became of a webhook.",
            ("accepted", "repeated", "forged", "stale", "oversized", "malformed", "busy", "lost"),
        ),
        _closed("answer", "How the server answered a question.", ("ok", "failed")),
        _closed("party", "What a participant is.", ("agent", "caller", "other")),
        _closed(
            "act",
            "What became of an intervention.",
            ("done", "dry_run", "changed", "limited", "failed", "not_ours"),
        ),
        _closed(
            "duty",
            "What a watcher does, of several of one server.",
            ("alone", "active", "standby", "unproven"),
        ),
        Attribute(
            "agent",
            "runguard.agent.name",
            (),
            "LiveKit's agent name, capped; `unnamed` without one.",
            cap=20,
        ),
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


def prometheus_label(attribute: str) -> str:
    """The label an attribute has in Prometheus.

    Args:
        attribute: A key of :data:`ATTRIBUTES`.

    Raises:
        KeyError: If there is no such attribute.
    """
    return ATTRIBUTES[attribute].key.replace(".", "_")
