"""The key under which a claim is kept: a hash, because room names are often phone numbers."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from runguard_otel.core.ports import JobFacts

__all__ = ["PREFIX", "claim_key", "fence_of", "normal_host"]

PREFIX = "rg:v1:"
_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_PER_PARTICIPANT = ("JT_PUBLISHER", "JT_PARTICIPANT")


def normal_host(url: str) -> str:
    """The same word for every spelling of one LiveKit server: lower case, no default port.

    ``ws`` and ``http`` (and their TLS forms) name the same server, and a path or credentials do not
    make it another one. A text that is no URL is taken as a project id, as it is.

    Args:
        url: ``LIVEKIT_URL``, or a project id.
    """
    if not re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*://", url):
        return url.strip()
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # a bracket that is not closed, say: it is no other server's name either
        return url.strip()
    host = (parts.hostname or "").rstrip(".")
    try:
        port = parts.port
    except ValueError:  # not a number: keep the text apart from every real host
        return parts.netloc.lower()
    if port is None or port == _DEFAULT_PORTS.get(parts.scheme.lower()):
        return host
    return f"{host}:{port}"


def claim_key(job: JobFacts) -> str:
    """``rg:v1:{<32 hex>}:<room sid>:<participant sid>``: a hash of names, and sids in clear.

    The hash is 128 bits of blake2b over the parts, each with its length.

    Length prefixes keep ``("ab", "c")`` and ``("a", "bc")`` apart. The braces make the hash the
    hash tag of Redis Cluster. A job per publisher or participant is one claim per participant; all
    other job types are one claim per room and agent name.

    A room that ended and was opened anew under its old name is another room: what still winds down
    in the old one, say a summary that takes minutes, must not keep a job out of the new one. The
    room's sid tells them apart. For the same reason a participant who hangs up and calls back is
    another one, told apart by its sid. A sid names no person, so it stands there in clear, and who
    knows only the names finds their claims by the part before it.

    Args:
        job: The job that wants to serve a room.
    """
    per_participant = job.job_type in _PER_PARTICIPANT
    participant = job.participant if per_participant else ""
    parts: tuple[str, ...] = (
        normal_host(job.host),
        job.namespace,
        job.room,
        job.agent_name,
        job.job_type,
        participant,
    )
    if job.metadata:
        parts += (job.metadata,)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    sids = [job.room_sid, job.participant_sid if per_participant else ""]
    while sids and not sids[-1]:
        sids.pop()
    known = (re.sub(r"[^A-Za-z0-9_-]", "", sid) for sid in sids)
    return ":".join((f"{PREFIX}{{{digest.hexdigest()}}}", *known))


def fence_of(key: str) -> str:
    """What agents of one room compare: enough of the hash to tell their claims apart, and a sid.

    The room's sid is left out: within a room it is the same for all.

    Args:
        key: A claim key.
    """
    name, _, sids = key.partition("}")
    participant = ".".join(sids.split(":")[2:])
    digest = name.partition("{")[2][:12]
    return f"{digest}.{participant}" if participant else digest
