"""STT leases for ``HumanInput``, which opens a stream for every track it is given.

Recognition that starts inside ``track_subscribed`` is found by the context variable of
``agents_v1.tracks``. A track that was there before the agent is looked up: without that, the stream
of the first track would never be one that the next track can take over.
"""

from __future__ import annotations

import weakref
from typing import Any

from livekit import rtc

from runguard_otel.adapters.agents_v0 import host
from runguard_otel.adapters.agents_v1 import tracks
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.track_context import Subscription, current_track
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.signatures import GuardName

__all__ = ["patches"]

GUARD = GuardName.TRACK_SUBSCRIBE


def patches(services: Services) -> list[Patch]:
    """What is touched in addition to ``agents_v1.tracks``; nothing unless the guard enforces."""
    table = tracks.patches(services)
    if not services.enforcing(GUARD):
        return table
    recorder = services.recorder
    live: weakref.WeakKeyDictionary[Any, dict[str, Subscription]] = weakref.WeakKeyDictionary()

    def emit(wrapped: Any, room: Any, args: Any, kwargs: Any) -> Any:
        subscription = current_track.get() if args and args[0] == "track_subscribed" else None
        if subscription is not None:
            with shield(recorder, "Room.emit"):
                known = live.setdefault(room, {})
                for sid in [sid for sid, old in known.items() if old.ended]:
                    del known[sid]
                known[str(args[2].sid)] = subscription
        return wrapped(*args, **kwargs)

    async def recognize(wrapped: Any, ears: Any, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "HumanInput._recognize_task"):
            track = ears._subscribed_track
            subscription = live.get(ears._room, {}).get(str(getattr(track, "sid", "")))
            if subscription is not None:
                current_track.set(subscription)  # this task is the track's alone
        return await wrapped(*args, **kwargs)

    return [
        # Before the others: of several wrappers the last one is the outermost.
        Patch(rtc.Room, "emit", emit, GUARD, "remembers tracks that are there before the agent"),
        Patch(
            host.human_input(),
            "_recognize_task",
            recognize,
            GUARD,
            "knows the track that an STT stream is opened for, so that the next one may have it",
        ),
        *table,
    ]
