"""Finds the stream that the next track may take over, and ends what nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from livekit.agents import stt

from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.leases import Lease
from runguard_otel.adapters.agents_v1.recognisers import interchangeable
from runguard_otel.adapters.agents_v1.shared_streams import SharedStream, free_one
from runguard_otel.adapters.agents_v1.track_context import Place, Subscription, untracked
from runguard_otel.adapters.agents_v1.waiting import Key, WaitingLine
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
        self._line = WaitingLine(recorder, self._others, self.share, grace_seconds)
        self._closing: set[asyncio.Task[None]] = set()
        self._jobs: weakref.WeakSet[Any] = weakref.WeakSet()

    def key(
        self, place: Place, recognizer: stt.STT[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Key | None:
        """What must be equal for two streams to be one; ``None`` if parameters do not compare."""
        model = str(getattr(recognizer, "model", ""))
        parameters = (*args, *sorted(kwargs.items()))
        try:
            hash(parameters)
        except TypeError:
            return None
        loop = asyncio.get_running_loop()
        return (place, id(loop), type(recognizer), model, parameters)

    def take_over(
        self, key: Key, recognizer: stt.STT[Any], subscription: Subscription, own: Opener
    ) -> Lease | None:
        """A lease on the stream of an earlier track that is gone, or may soon be said to be."""
        self._line.look(key)  # whoever has waited comes first
        shared = free_one(self._others(key, recognizer, subscription))
        if shared is not None:
            lease = Lease(shared, subscription, lambda: self.share(key, recognizer, own()))
            subscription.resolve("reused")
            return lease
        waits = self._line.join(key, recognizer, subscription, own)
        if waits is not None:
            self._end_with_job(asyncio.get_running_loop())
        return waits

    def lend(
        self,
        key: Key,
        recognizer: stt.STT[Any],
        subscription: Subscription,
        real: stt.RecognizeStream,
        own: Opener,
    ) -> Lease:
        """The first lease on ``real``, which was just opened."""
        for idle in self._idle(subscription.place):
            if idle.subscription is subscription and not subscription.ended and idle.key == key:
                idle.end()  # the track is still there and has another: it was no republish
        shared = self.share(key, recognizer, real)
        return Lease(shared, subscription, lambda: self.share(key, recognizer, own()))

    def share(self, key: Key, recognizer: stt.STT[Any], real: stt.RecognizeStream) -> SharedStream:
        """Remember ``real`` until it ends."""
        shared = SharedStream(
            key,
            real,
            recognizer,
            self._linger_seconds,
            self._grace_seconds,
            self._over,
            self._freed,
        )
        with self._lock:
            self._streams.setdefault(key, []).append(shared)
        task = getattr(real, "_task", None)
        if task is not None:
            task.add_done_callback(lambda _: self._forget(key, shared))
        self._end_with_job(shared.loop)
        return shared

    def has_reusable(self, place: Place) -> bool:
        """Whether the next track of ``place`` could take a stream over."""
        with self._lock:
            groups = [list(alike) for key, alike in self._streams.items() if key[0] == place]
        return any(free_one(alike) is not None for alike in groups)

    def may_have_reusable(self, place: Place) -> bool:
        """Whether the next track of ``place`` would wait for the end of the one before."""
        if place.source == "unknown" or not self._grace_seconds:
            return False
        return any(shared.to_be_had for shared in self._all() if _place(shared) == place)

    def track_ended(self, place: Place) -> None:
        """A track is gone, and ``ended`` is set on its subscription."""
        self._line.track_ended(place)

    def participant_left(self, room: str, own: str, participant: str) -> None:
        """Who waits for the last words of a participant that is gone gets them at once.

        What was closed waits on: who leaves may come back.
        """
        for shared in self._all():
            at = shared.subscription
            if at is not None and at.place[:3] == (room, own, participant):
                at.left = True
                _look_soon(shared)

    def room_left(self, room: str, own: str) -> None:
        """That connection is over: nothing that is let go, now or later, awaits its next track."""
        for shared in self._all():
            at = shared.subscription
            if at is not None and at.place[:2] == (room, own):
                at.over = True
                _look_soon(shared)

    def close(self) -> None:
        """End what nobody holds; what is in use goes on and ends as soon as it is let go."""
        self._linger_seconds = 0.0
        for shared in self._all():
            shared.linger_seconds = 0.0
            _look_soon(shared)
        self._line.close()

    def _others(
        self, key: Key, recognizer: stt.STT[Any], subscription: Subscription
    ) -> list[SharedStream]:
        """The live streams of other tracks that would do for this one, newest last."""
        with self._lock:
            streams = list(self._streams.get(key, ()))
        return [
            shared
            for shared in streams
            if shared.to_be_had
            and shared.subscription is not subscription
            and interchangeable(shared.recognizer, recognizer)
        ]

    def _idle(self, place: Place) -> list[SharedStream]:
        return [s for s in self._all() if s.idle and _place(s) == place]

    def _freed(self, shared: SharedStream) -> None:
        if shared.idle and shared.subscription is not None:
            for older in self._idle(shared.subscription.place):
                if older.subscription is not shared.subscription:
                    older.end()  # the track after it had no use for it: nor will the next one
        self._line.freed(shared.key)

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
            await self._line.dismiss(loop)
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


def _place(shared: SharedStream) -> Place | None:
    return shared.subscription.place if shared.subscription is not None else None
