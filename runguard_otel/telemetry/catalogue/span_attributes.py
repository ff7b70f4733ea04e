"""What spans and log records carry besides metric attributes, as data for the documentation.

Keys of other libraries' attributes (``gen_ai.*``, ``lk.*``) keep their meaning there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SPAN_ATTRIBUTES"]

SPAN_ATTRIBUTES: Final[dict[str, str]] = {
    "runguard.signature": "What happened.",
    "runguard.outcome": "What was done with it.",
    "runguard.guard": "Which guard it belongs to.",
    "runguard.agent.name": "LiveKit's agent name.",
    "runguard.room.hash": "Salted hash of the room's name; groups the spans of one room.",
    "runguard.participant.hash": "Salted hash of the participant's identity.",
    "runguard.session.hash": "Salted hash of the session's key.",
    "runguard.track.source": "The track's source.",
    "runguard.signature_with_key.hash": "Signature class and hashed key, as in "
    "`room_reconnect:<hash>`; groups trips of one room or participant.",
    "runguard.trip.count": "How many events were counted.",
    "runguard.trip.window_seconds": "In which window, in seconds.",
    "runguard.trip.threshold": "How many are a loop.",
    "runguard.trip.evidence": "The events that led to it, oldest first, each with its age.",
    "runguard.claim.backend": "The claim registry.",
    "runguard.claim.cause": "Why, in a word: what a claim was lost to, or who holds it.",
    "runguard.claim.token": "The claim's fencing token.",
    "runguard.claim.holder_token": "The fencing token of whoever holds the room.",
    "runguard.claim.waited_seconds": "How long the job waited for the claim.",
    "runguard.mode": "Whether the guard acted (`enforce`) or only said so (`observe`).",
    "runguard.action": "What was done.",
    "runguard.cost.<component>": "Estimated cost of the session so far, in USD.",
    "lk.job_id": "LiveKit's id of the job.",
    "lk.pii.room_name": "The room's name. LiveKit's redaction strips it; never in logs or metrics.",
    "lk.pii.participant_identity": "The participant's identity. As above.",
    "lk.pii.runguard.signature_with_key": "Signature class and key in clear, as in "
    "`room_reconnect:support-42`. As above.",
}
