"""Which room, and as whom: read from what the application passes to ``Room.connect``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["RoomKey", "reason_name", "room_key"]


@dataclass(frozen=True)
class RoomKey:
    """A connection: the same room of another server, or as somebody else, is another one.

    Args:
        server: Host and port of the LiveKit server.
        room: The room in the token; ``?`` when the token names none.
        identity: The identity in the token.
    """

    server: str
    room: str
    identity: str


def room_key(url: str, token: str) -> RoomKey | None:
    """The key of a connect, or ``None`` if the token cannot be read (the connect will fail).

    A fresh ``rtc.Room`` knows no name before it is connected, and reconnect loops make a new one
    each time; the token is what stays. Its signature is the server's business.
    """
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return None
    video: dict[str, Any] = claims.get("video") or {}
    parts = urlsplit(url)
    server = (parts.netloc or parts.path).lower().rstrip("/")
    return RoomKey(server, str(video.get("room") or "?"), str(claims.get("sub") or ""))


def reason_name(reason: int) -> str:
    """LiveKit's disconnect reason as a word of the catalogue; ``unknown`` for a newer one."""
    from livekit.rtc import DisconnectReason

    try:
        name = DisconnectReason.Name(reason).lower()  # type: ignore[arg-type]
    except ValueError:
        return "unknown"
    return "unknown" if name == "unknown_reason" else name
