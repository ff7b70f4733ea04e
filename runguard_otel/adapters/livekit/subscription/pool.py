"""Finds the stream that the next track may take over, and ends what is not taken."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.job import current_job
from runguard_otel.adapters.livekit.facts.models import interchangeable, settings_at_opening
from runguard_otel.adapters.livekit.facts.room import TrackOrigin
from runguard_otel.adapters.livekit.facts.streams import stream_task
from runguard_otel.adapters.livekit.subscription.context import Subscription, untracked
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.adapters.livekit.subscription.queue import HandoverQueue, Key
from runguard_otel.adapters.livekit.subscription.shared_stream import SharedStream, free_one
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["StreamPool"]

DRAIN_SECONDS: Final = 2.0
"""How long the last words of a job may take after its end."""
CLOSE_SECONDS: Final = 2.0
"""A provider that does not answer must not hold up the end of a job."""


class StreamPool:
    """The shared streams of this process.

    The lock is held for dictionary operations only; a stream itself belongs to one event loop.

    Args:
        recorder: Where failures of our own go.
        linger_seconds: How long a stream waits for the next track.
        grace_seconds: How long a track waits for the end of the one before.
    """

    def __init__(self, recorder: Recorder, linger_seconds: float, grace_seconds: float) -> None:
        self._recorder = recorder
        self._linger_seconds = linger_seconds
        self._lock = threading.Lock()
        self._streams: dict[Key, list[SharedStream]] = {}
        self._grace_seconds = grace_seconds
        self._queue = HandoverQueue(recorder, self._others, self.share, grace_seconds)
        self._closing: set[asyncio.Task[None]] = set()
        self._jobs: weakref.WeakSet[Any] = weakref.WeakSet()

    def key(
        self,
        origin: TrackOrigin,
        recogniser: stt.STT[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Key | None:
        """What must be equal for two streams to be one; ``None`` if nothing tells."""
        model = str(getattr(recogniser, "model", ""))
        parameters = (*args, *sorted(kwargs.items()))
        try:
            hash(parameters)
            loop = asyncio.get_running_loop()
        except (RuntimeError, TypeError):
            return None
        settings = settings_at_opening(recogniser)
        return (origin, id(loop), type(recogniser), model, settings, parameters)

    def take_over(
        self, key: Key, recogniser: stt.STT[Any], subscription: Subscription, own: Opener
    ) -> StreamHandle | None:
        """A handle on the stream of an earlier track that is gone, or may soon be said to be."""
        self._queue.look(key)  # whoever has waited comes first
        shared = free_one(self._others(key, recogniser, subscription))
        if shared is not None:
            handle = StreamHandle(shared, subscription, lambda: self.share(key, recogniser, own()))
            subscription.resolve("reused")
            return handle
        waits = self._queue.join(key, recogniser, subscription, own)
        if waits is not None:
            self._end_with_job(asyncio.get_running_loop())
        return waits

    def lend(
        self,
        key: Key,
        recogniser: stt.STT[Any],
        subscription: Subscription,
        real: stt.RecognizeStream,
        own: Opener,
    ) -> StreamHandle:
        """The first handle on ``real``, which was just opened."""
        for idle in self._idle(subscription.origin):
            if idle.subscription is subscription and not subscription.ended and idle.key == key:
                idle.end()  # the track is still there and has another: it was no republish
        shared = self.share(key, recogniser, real)
        return StreamHandle(shared, subscription, lambda: self.share(key, recogniser, own()))

    def share(self, key: Key, recogniser: stt.STT[Any], real: stt.RecognizeStream) -> SharedStream:
        """Remember ``real`` until it ends."""
        shared = SharedStream(
            key,
            real,
            recogniser,
            self._linger_seconds,
            self._grace_seconds,
            self._over,
            self._freed,
        )
        with self._lock:
            self._streams.setdefault(key, []).append(shared)
        task = stream_task(real)
        if task is not None:
            task.add_done_callback(lambda _: self._forget(key, shared))
        self._end_with_job(shared.loop)
        return shared

    def may_reuse(self, origin: TrackOrigin) -> bool:
        """Whether the next track of ``origin`` could take a stream over, now or in a moment."""
        with self._lock:
            groups = [list(alike) for key, alike in self._streams.items() if key[0] == origin]
        if any(free_one(alike) is not None for alike in groups):
            return True
        if origin.source == "unknown" or not self._grace_seconds:
            return False  # it waits for nothing
        return any(shared.to_be_had for alike in groups for shared in alike)

    def track_began(self, origin: TrackOrigin) -> None:
        """The next track is there, and what is pushed may be its audio already.

        A reader that follows the participant (``AudioStream.from_participant``) pushes that into
        the stream of the track before, until the new track's handler asks for a stream: under load
        for longer than any tail. It must not make that stream one that is in use otherwise.
        """
        for shared in self._all():
            if _origin(shared) == origin:
                shared.followed = True

    def track_ended(self, origin: TrackOrigin) -> None:
        """A track is gone, and ``ended`` is set on its subscription."""
        self._queue.track_ended(origin)

    def participant_left(self, room: str, own: str, participant: str) -> None:
        """Who waits for the last words of a participant that is gone gets them at once.

        What was closed waits on: who leaves may come back.
        """
        for shared in self._all():
            at = shared.subscription
            if at is not None and at.origin[:3] == (room, own, participant):
                at.left = True
                _look_soon(shared)

    def room_left(self, room: str, own: str) -> None:
        """That connection is over: nothing that is let go, now or later, awaits its next track."""
        for shared in self._all():
            at = shared.subscription
            if at is not None and at.origin[:2] == (room, own):
                at.over = True
                _look_soon(shared)

    def close(self) -> None:
        """End what has no holder; what is in use goes on and ends as soon as it is let go."""
        self._linger_seconds = 0.0
        for shared in self._all():
            shared.linger_seconds = 0.0
            _look_soon(shared)
        self._queue.close()

    def _others(
        self, key: Key, recogniser: stt.STT[Any], subscription: Subscription
    ) -> list[SharedStream]:
        """The live streams of other tracks that would do for this one, newest last."""
        with self._lock:
            streams = list(self._streams.get(key, ()))
        return [
            shared
            for shared in streams
            if shared.to_be_had
            and shared.subscription is not subscription
            and interchangeable(shared.recogniser, recogniser)
        ]

    def _idle(self, origin: TrackOrigin) -> list[SharedStream]:
        return [s for s in self._all() if s.idle and _origin(s) == origin]

    def _freed(self, shared: SharedStream) -> None:
        if shared.idle and shared.subscription is not None:
            for older in self._idle(shared.subscription.origin):
                if older.subscription is not shared.subscription:
                    older.end()  # the track after it had no use for it: nor will the next one
        self._queue.freed(shared.key)

    def _all(self) -> list[SharedStream]:
        with self._lock:
            return [shared for streams in self._streams.values() for shared in streams]

    def _forget(self, key: Key, shared: SharedStream) -> None:
        with self._lock:
            streams = self._streams.get(key, [])
            if shared in streams:
                streams.remove(shared)
            if not streams:
                self._streams.pop(key, None)

    def _over(self, shared: SharedStream, drain: bool) -> None:
        with shield(self._recorder, "STT.stream"):
            if drain:
                shared.real.end_input()
                return
            task = shared.loop.create_task(self._aclose(shared.real))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _drain(self, shared: SharedStream) -> None:
        with shield(self._recorder, "STT.stream"), contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(shared.drain(), DRAIN_SECONDS)

    async def _aclose(self, real: stt.RecognizeStream) -> None:
        with shield(self._recorder, "STT.stream"):
            await real.aclose()

    def _end_with_job(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the job close its streams when it ends; its process may serve no other."""
        job = current_job()
        if job is None or job in self._jobs:
            return
        self._jobs.add(job)

        async def close_streams(reason: str) -> None:
            await self._queue.dismiss(loop)
            mine = [s for s in self._all() if s.loop is loop and s.retire()]
            if mine:
                await asyncio.wait([asyncio.ensure_future(self._drain(s)) for s in mine])
                closing = [asyncio.ensure_future(self._aclose(s.real)) for s in mine]
                await asyncio.wait(closing, timeout=CLOSE_SECONDS)

        with shield(self._recorder, "JobContext.add_shutdown_callback"):
            job.add_shutdown_callback(close_streams)


class Opener:
    """Opens another real stream as user code asked for it, with nothing of ours inside."""

    def __init__(
        self,
        wrapped: Callable[..., stt.RecognizeStream],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._wrapped, self._args, self._kwargs = wrapped, args, kwargs

    def __call__(self) -> stt.RecognizeStream:
        with untracked():
            return self._wrapped(*self._args, **self._kwargs)


def _look_soon(shared: SharedStream) -> None:
    """Let it end in its own loop if it is time to, unless it is in use."""
    if not shared.loop.is_closed():
        shared.loop.call_soon_threadsafe(shared.look)


def _origin(shared: SharedStream) -> TrackOrigin | None:
    return shared.subscription.origin if shared.subscription is not None else None
