"""Handles that do not know their stream yet: the end of an earlier track may be announced late.

A real LiveKit server said so 120 to 160 ms after the unpublishing, where the next track took 20 to
30 ms to arrive. A track that is still live must never be silenced, so its stream is handed on only
when it is known to be gone; when the grace period is over, both tracks are really there.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.room import TrackOrigin
from runguard_otel.adapters.livekit.subscription.context import Subscription
from runguard_otel.adapters.livekit.subscription.handle import Backlog, StreamHandle
from runguard_otel.adapters.livekit.subscription.patience import PatientTimer
from runguard_otel.adapters.livekit.subscription.shared_stream import SharedStream, free_one
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["Key", "HandoverQueue"]

BACKLOG_SECONDS: Final = 10.0
"""Audio that a handle keeps: more than comes in a grace period, for what a blocked loop has not
read comes all at once."""

Key = tuple[Hashable, ...]
Others = Callable[[Key, "stt.STT[Any]", Subscription], list[SharedStream]]
Share = Callable[[Key, "stt.STT[Any]", stt.RecognizeStream], SharedStream]


@dataclass(eq=False)
class _Waiting:
    """A handle without a stream, and how to open one as its owner asked."""

    key: Key
    recogniser: stt.STT[Any]
    subscription: Subscription
    open: Callable[[], SharedStream]
    loop: asyncio.AbstractEventLoop
    backlog: Backlog | None = None
    handle: StreamHandle | None = None
    timer: PatientTimer | None = None


class HandoverQueue:
    """Who waits for the stream of an earlier track. First come, first served.

    Args:
        recorder: Where failures of our own go.
        others: The live streams of other tracks that would do, newest last.
        share: Makes a real stream one that can be handed on.
        grace_seconds: How long a track waits for the end of the one before.
    """

    def __init__(
        self, recorder: Recorder, others: Others, share: Share, grace_seconds: float
    ) -> None:
        self._recorder = recorder
        self._others = others
        self._share = share
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._lines: dict[Key, list[_Waiting]] = {}

    def join(
        self,
        key: Key,
        recogniser: stt.STT[Any],
        subscription: Subscription,
        own: Callable[[], stt.RecognizeStream],
    ) -> StreamHandle | None:
        """A handle that waits for the end of an earlier track, ``None`` if there is none such.

        Tracks of unknown source may be many at a time: they wait for nothing.
        """
        held = self._others(key, recogniser, subscription)
        if subscription.origin.source == "unknown" or not held or not self._grace_seconds:
            return None
        context = contextvars.copy_context()  # of the code that wants the stream, not of a timer
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            key,
            recogniser,
            subscription,
            lambda: self._share(key, recogniser, context.run(own)),
            loop,
        )
        waiting.backlog = Backlog(
            BACKLOG_SECONDS,
            lambda: self._open(waiting),
            lambda: self._abandoned(waiting),
        )
        waiting.handle = StreamHandle(
            held[-1], subscription, lambda: self._share(key, recogniser, own()), waiting.backlog
        )
        waiting.timer = PatientTimer(loop, self._grace_seconds, lambda: self._in_vain(waiting))
        with self._lock:
            self._lines.setdefault(key, []).append(waiting)
        subscription.waiting += 1
        return waiting.handle

    def look(self, key: Key) -> None:
        """Hand on what has become free, and open a stream where nothing is left to wait for."""
        with self._lock:
            line = list(self._lines.get(key, ()))
        ahead: list[Subscription] = []
        for waiting in line:
            others = self._others(key, waiting.recogniser, waiting.subscription)
            free = free_one(others)
            if free is not None:
                self._decide(waiting, "reused", free)
            elif not others and all(s is waiting.subscription for s in ahead):
                self._open(waiting)
            else:
                ahead.append(waiting.subscription)

    def track_ended(self, origin: TrackOrigin) -> None:
        """A track is gone; somebody may have waited for that."""
        with self._lock:
            ready = {key: line[0].loop for key, line in self._lines.items() if key[0] == origin}
        for key, loop in ready.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.look, key)

    def freed(self, key: Key) -> None:
        """A stream was let go; somebody may have waited for that, too. Called in its loop."""
        with self._lock:
            line = self._lines.get(key, ())
            loop = line[0].loop if line else None
        if loop is not None:
            loop.call_soon(self.look, key)

    async def dismiss(self, loop: asyncio.AbstractEventLoop) -> None:
        """The job is over: close what waits in ``loop``."""
        for waiting in self._all():
            if waiting.loop is loop and waiting.handle is not None:
                await waiting.handle.aclose()

    def close(self) -> None:
        """Streams are no longer handed on: each handle gets one."""
        for waiting in self._all():
            if not waiting.loop.is_closed():
                waiting.loop.call_soon_threadsafe(self._open, waiting)

    def _in_vain(self, waiting: _Waiting) -> None:
        """The grace period is over. What was not let go is not waited for again."""
        for shared in self._others(waiting.key, waiting.recogniser, waiting.subscription):
            shared.kept = shared.kept or shared.trackless
        self._open(waiting)

    def _open(self, waiting: _Waiting) -> None:
        self._decide(waiting, "opened")

    def _decide(self, waiting: _Waiting, outcome: str, stream: SharedStream | None = None) -> None:
        if not self._leave(waiting) or waiting.backlog is None:
            return
        waiting.subscription.waiting -= 1
        with shield(self._recorder, "STT.stream"):
            waiting.subscription.resolve(outcome)
        waiting.backlog.decide(waiting.open if stream is None else lambda: stream)

    def _abandoned(self, waiting: _Waiting) -> None:
        if self._leave(waiting):
            waiting.subscription.abandoned()

    def _leave(self, waiting: _Waiting) -> bool:
        """Take it out of its line; false if that has been done."""
        with self._lock:
            line = self._lines.get(waiting.key, [])
            if waiting not in line:
                return False
            line.remove(waiting)
            if not line:
                del self._lines[waiting.key]
        if waiting.timer is not None:
            waiting.timer.cancel()
        return True

    def _all(self) -> list[_Waiting]:
        with self._lock:
            return [waiting for line in self._lines.values() for waiting in line]
