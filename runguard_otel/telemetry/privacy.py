"""Names of people and rooms: what may be written where.

Metric labels and log messages never carry a name. Spans carry it under LiveKit's ``lk.pii.*`` keys,
which LiveKit's redaction strips, next to a salted hash that still groups the spans of one room.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable

from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.verdict import Subject

__all__ = ["Privacy", "pii_allowed"]

_HASH_HEX_DIGITS = 16
_REMEMBERED = 1024  # a job has a handful of subjects, each in many events


def pii_allowed() -> bool:
    """Whether LiveKit's own switch (``LIVEKIT_TELEMETRY_ALLOW_PII``) lets names onto spans.

    Our spans may leave through a provider that LiveKit's redaction never sees, so we ask as well.
    """
    value = os.environ.get("LIVEKIT_TELEMETRY_ALLOW_PII", "").strip().lower()
    return value not in ("0", "false", "no", "off")


class Privacy:
    """Hashes names with a salt that never leaves the deployment.

    Args:
        salt: The salt; ``""`` derives it from ``LIVEKIT_API_SECRET``, which all workers of one
            project share. Without either, a random salt groups only within this process: an
            unsalted hash of a room name is a name that takes a minute to guess.
    """

    def __init__(self, salt: str = "") -> None:
        self._secret = "" if salt else os.environ.get("LIVEKIT_API_SECRET", "")
        self._salt = salt or ("" if self._secret else secrets.token_hex(32))
        self._names = pii_allowed()

    @functools.cached_property
    def _key(self) -> bytes:
        """Made with the first name: most jobs hash none, and OpenSSL touches 0.1 MiB for it."""
        if self._salt:
            return self._salt.encode()
        return hmac.new(self._secret.encode(), b"runguard hash salt", hashlib.sha256).digest()

    def hash(self, name: str) -> str:
        """The same short word for the same name; ``""`` for no name."""
        if not name:
            return ""
        digest = hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return digest.hexdigest()[:_HASH_HEX_DIGITS]

    @functools.cached_property
    def _attributes(self) -> Callable[[Subject], dict[str, AttributeValue]]:
        return functools.lru_cache(_REMEMBERED)(self._attributes_of)

    def span_attributes(self, subject: Subject) -> dict[str, AttributeValue]:
        """What a span says about whom it happened to. Shared: do not change it."""
        return self._attributes(subject)

    def _attributes_of(self, subject: Subject) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {}
        if subject.room:
            found["runguard.room.hash"] = self.hash(subject.room)
            if self._names:
                found["lk.pii.room_name"] = subject.room
        if subject.participant:
            found["runguard.participant.hash"] = self.hash(subject.participant)
            if self._names:
                found["lk.pii.participant_identity"] = subject.participant
        if subject.session:
            found["runguard.session.hash"] = self.hash(subject.session)
        if subject.job_id:
            found["lk.job_id"] = subject.job_id
        if subject.track_source:
            found["runguard.track.source"] = subject.track_source
        return found

    def named(self, attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
        """``attributes`` without the keys that hold names, if names are not allowed."""
        if self._names:
            return attributes
        return {k: v for k, v in attributes.items() if "pii" not in k.split(".")}
