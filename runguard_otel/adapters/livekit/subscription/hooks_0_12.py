"""Every place we touch in 0.12: its ``HumanInput`` opens a stream for every track it is given.

Recognition that starts inside ``track_subscribed`` is found by the context variable of
``context``. A track that was there before the agent is looked up: without that, the stream of the
first track would never be one that the next track can take over.
"""

from __future__ import annotations

import weakref
from typing import Any

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.facts.pipeline_0_12 import hears
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription import hooks as rows_of_1x
from runguard_otel.adapters.livekit.subscription.context import Subscription, current_track
from runguard_otel.adapters.livekit.subscription.guard import GUARD
from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


def patches(services: Services) -> list[Patch]:
    """Those of 1.x, and two more."""
    rows = rows_of_1x.patches(services)
    if not rows:
        return []
    hooks, tracks = Hooks(services.recorder, GUARD), _Tracks()
    return [
        # Before the others: of several hooks the last one is the outermost.
        hooks.before(
            "livekit.rtc:Room",
            "emit",
            tracks.event,
            why="Remembers tracks that are there before the agent.",
        ),
        hooks.before(
            "livekit.agents.pipeline.human_input:HumanInput",
            "_recognize_task",
            tracks.recognised,
            why="Knows the track that an STT stream is opened for, so that the next one may have "
            "it.",
        ),
        *rows,
    ]


class _Tracks:
    """The live subscriptions of each room, by the track's sid."""

    def __init__(self) -> None:
        self._live: weakref.WeakKeyDictionary[Any, dict[str, Subscription]] = (
            weakref.WeakKeyDictionary()
        )

    def event(self, room: Any, event: str, *args: Any, **_: Any) -> None:
        """``Room.emit``, inside the hook that sets the context variable."""
        subscription = current_track.get() if event == "track_subscribed" else None
        if subscription is None:
            return
        known = self._live.setdefault(room, {})
        for sid in [sid for sid, old in known.items() if old.ended]:
            del known[sid]
        known[str(args[1].sid)] = subscription

    def recognised(self, human_input: Any, *_: Any, **__: Any) -> None:
        """``HumanInput._recognize_task`` starts; its task is the track's alone."""
        room, sid = hears(human_input)
        subscription = self._live.get(room, {}).get(sid)
        if subscription is not None:
            current_track.set(subscription)
