"""A real STT stream that tracks of one source hand on to each other, and who holds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.models import flush_ends, interchangeable
from runguard_otel.adapters.livekit.facts.streams import stream_task
from runguard_otel.adapters.livekit.subscription.context import Subscription
from runguard_otel.adapters.livekit.subscription.patience import PatientTimer

__all__ = ["SharedStream", "free_one"]

_END = object()
LAST_WORDS_SECONDS: Final = 1.0
"""How long who reads on after the end of the input, for the last words, waits for a next track."""
LATE_END_SECONDS: Final = 0.25
"""The same while the track is there: its end may be announced late (120 to 160 ms were seen)."""
TAIL_SECONDS: Final = 0.5
"""Audio of a track that may still arrive after its end was announced; more is another source's."""


class SharedStream:
    """One real STT stream and who holds it. Lives in one event loop; not thread-safe.

    Args:
        key: What must be equal for a track to have it.
        real: The stream.
        recogniser: The STT that opened it.
        linger_seconds: How long it stays open after its holder closed it and its track ended.
        grace_seconds: How long it stays open for the end of its track to be announced.
        close: Called when it is over: ``close(shared, drain)`` ends the real stream's input
            (``drain``, somebody still reads) or closes it, and forgets it.
        freed: Called when its holder lets go.
    """

    def __init__(
        self,
        key: tuple[Hashable, ...],
        real: stt.RecognizeStream,
        recogniser: stt.STT[Any],
        linger_seconds: float,
        grace_seconds: float,
        close: Callable[[SharedStream, bool], None],
        freed: Callable[[SharedStream], None],
    ) -> None:
        self.key = key
        self.real = real
        self.recogniser = recogniser
        self.linger_seconds = linger_seconds
        self.grace_seconds = grace_seconds
        self.loop = asyncio.get_running_loop()
        self.holder: object | None = None
        self._taken: Callable[[], None] | None = None
        self.subscription: Subscription | None = None
        self.kept = False
        """Its holder feeds it, or may feed it, although its track is gone: not to be handed on."""
        self.followed = False
        """The next track of its origin is there: what is pushed late may be that one's audio."""
        self._close = close
        self._freed = freed
        self._late_seconds = self._late_at = 0.0
        self._let_go = False
        self._let_go_at = 0.0
        self._was_read = False
        self._read: asyncio.Future[None] = self.loop.create_future()
        self._over = False
        self._spent = False
        self._fetching: asyncio.Task[Any] | None = None
        self._timer: PatientTimer | None = None

    @property
    def alive(self) -> bool:
        """Whether it takes more audio."""
        task = stream_task(self.real)
        return not (self._over or self._spent) and (task is None or not task.done())

    @property
    def over(self) -> bool:
        """Whether its input has ended, or is about to: nothing that is pushed arrives."""
        return self._over

    @property
    def released(self) -> bool:
        """Whether its holder let go of it."""
        return self._let_go

    @property
    def idle(self) -> bool:
        """Whether it has no holder: it is open for the next track only."""
        return self.alive and self._let_go and self.holder is None

    @property
    def to_be_had(self) -> bool:
        """Whether a track may have it once its own is gone: it is alive, and not fed otherwise."""
        return self.alive and (self._let_go or not self.kept)

    @property
    def trackless(self) -> bool:
        """Whether it is alive and its own track is gone."""
        return self.alive and self.subscription is not None and self.subscription.ended

    @property
    def alone(self) -> bool:
        """Whether it is the only one of its kind that was opened for its track.

        Where there were several and none was let go, it cannot be told which of them was fed
        by the track: another may be a recording of the whole room that the first track started.
        """
        streams = self.subscription.streams if self.subscription is not None else []
        alike = (m for key, m in streams if key == self.key and interchangeable(m, self.recogniser))
        return sum(1 for _ in alike) == 1

    def flush(self) -> None:
        """The end of a segment. Some recognisers hear nothing after it: no track gets those."""
        self.real.flush()
        self._spent = self._spent or flush_ends(self.recogniser)

    def pushed(self, frame: rtc.AudioFrame) -> None:
        """Its holder pushes audio; long after the end of the track that is not the track's.

        Of audio that comes faster than it sounds only the time counts that it takes: a loop that
        was blocked reads the track's last seconds at once.
        """
        track = self.subscription
        if track is not None and track.ended and not (self.kept or self.followed):
            before, self._late_at = self._late_at, self.loop.time()
            sounds = frame.samples_per_channel / frame.sample_rate
            self._late_seconds += min(sounds, self._late_at - before)
            self.kept = self._late_seconds > TAIL_SECONDS

    def give(self, holder: object, subscription: Subscription, taken: Callable[[], None]) -> None:
        """Give it to a new holder.

        Args:
            holder: Who pushes its audio and reads its events from now on.
            subscription: The track that is for.
            taken: Called when another one gets it.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.holder is not None and self._taken is not None:
            self._taken()
        if subscription is not self.subscription:
            subscription.streams.append((self.key, self.recogniser))
        self.kept, self.followed, self._late_seconds = False, False, 0.0
        if self._read.done():
            self._read = self.loop.create_future()
        self.holder, self._taken, self.subscription = holder, taken, subscription
        self._let_go = False

    def let_go(self, holder: object, *, reads: bool) -> None:
        """The holder ended its input (and still reads) or closed."""
        if self.holder is not holder:
            return
        if not reads:
            self.holder = None
            self._read_to_end()
        if not self._let_go:
            self._let_go, self._let_go_at = True, self.loop.time()
        if self._over:  # its input has ended already
            if not reads:
                self._close(self, False)
            return
        self.look()
        self._freed(self)

    def look(self) -> None:
        """End it if it was not taken in time; else look again then. One in use is left alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._let_go or self._over:
            return
        left = self._let_go_at + self._patience() - self.loop.time()
        if left > 0:
            self._timer = PatientTimer(self.loop, left, self._waited)
        else:
            self.end()

    def _waited(self) -> None:
        if self._timer is not None:
            self._let_go_at += self._timer.late
        self.look()

    def _patience(self) -> float:
        """Seconds from the letting go in which the next track may have it.

        Who closed it waits for nothing; while the track is there its end can only be late. Who
        only ended the input waits for the last words, which many providers say not before that.
        """
        track = self.subscription
        if track is None or track.over or (track.left and self.holder is not None):
            return 0.0
        if self.holder is None:
            return (
                self.linger_seconds if track.ended else min(self.linger_seconds, self.grace_seconds)
            )
        last_words = LAST_WORDS_SECONDS if track.ended else LATE_END_SECONDS
        return min(self.linger_seconds, last_words)

    def end(self) -> None:
        """End it, in use or not."""
        if self.retire():
            self._close(self, self.holder is not None)

    def retire(self) -> bool:
        """Give it to no other holder; false if it was over already. The caller closes it."""
        if self._over:
            return False
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        return True

    def fetch(self) -> asyncio.Task[Any]:
        """The task that reads the next event; it survives its reader, so no event is lost."""
        self._was_read = True
        if self._fetching is None:
            self._fetching = self.loop.create_task(self._next())
            self._fetching.add_done_callback(_retrieve)
        return self._fetching

    def take(self, task: asyncio.Task[Any]) -> stt.SpeechEvent | None:
        """What ``task`` has read; ``None`` if another reader was quicker.

        Raises:
            StopAsyncIteration: At the end of the real stream, each time.
            Exception: What the real stream raised, each time.
        """
        if self._fetching is not task:
            return None
        try:
            result = task.result()
        except Exception:
            self._read_to_end()
            raise
        if result is _END:
            self._read_to_end()
            raise StopAsyncIteration
        self._fetching = None
        event: stt.SpeechEvent = result
        return event

    async def drain(self) -> None:
        """End the input and wait until who reads has read it all. The caller sets a limit."""
        if self.holder is None:
            return
        with contextlib.suppress(RuntimeError):  # it ended by itself, or was ended before
            self.real.end_input()
        task = stream_task(self.real)
        if task is not None:
            await asyncio.wait({task})
        if self._was_read:
            await asyncio.wait({self._read})

    def _read_to_end(self) -> None:
        if not self._read.done():
            self._read.set_result(None)

    async def _next(self) -> Any:
        try:
            return await self.real.__anext__()
        except StopAsyncIteration:
            return _END


def _retrieve(task: asyncio.Task[Any]) -> None:
    """An error that no reader is left for is not worth a message at garbage collection."""
    if not task.cancelled():
        task.exception()


def free_one(streams: Sequence[SharedStream]) -> SharedStream | None:
    """The one of ``streams`` (newest last) that the next track may have, if any.

    One that was let go has no holder. One that was not may be forgotten, as user code does, or
    in use for something else than its track: it is taken only where there can be no mistake.
    """
    trackless = [shared for shared in reversed(streams) if shared.trackless]
    for shared in trackless:
        if shared.released:
            return shared
    for shared in trackless:
        if not shared.kept and shared.alone:
            return shared
    return None
