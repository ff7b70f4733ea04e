"""Every place we touch for ``room_reconnect``: what applications and the server do to a room."""

from __future__ import annotations

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.reconnect.guard import GUARD, RoomGuard
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


def patches(services: Services) -> list[Patch]:
    """Four rows, in every release."""
    hooks, guard = Hooks(services.recorder, GUARD), RoomGuard(services)
    room = "livekit.rtc:Room"
    return [
        hooks.around(
            room,
            "connect",
            guard.connect,
            why="Only applications call it, never the SDK: counts reconnects and refuses a loop.",
        ),
        hooks.before(
            room,
            "disconnect",
            guard.leaves,
            why="The application leaves by itself: what connects next is no reconnect.",
        ),
        hooks.before(
            "livekit.api.room_service:RoomService",
            "delete_room",
            guard.deletes,
            why="Another way to leave by itself.",
        ),
        hooks.before(
            room,
            "emit",
            guard.event,
            why="Outages of the SDK, and why a room was left; observes.",
        ),
    ]
