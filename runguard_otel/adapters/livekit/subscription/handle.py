"""A handle on an STT stream that may be handed on to the next track.

Timeline of a flapping track: track 1 is subscribed, user code opens a stream and gets a handle; the
track ends, user code lets go (or forgets to); track 2 is subscribed, user code opens a stream and
gets another handle on the *same* stream. From then on the first one is taken: its iteration ends,
what it pushes is dropped, and every event it had not read yet is the second one's to read.

If the end of track 1 is announced after track 2, the second handle starts with a backlog: what is
pushed waits, and goes into the same stream as soon as track 1 is known to be gone, or into one of
its own when it turns out that both tracks are alive.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.streams import pushed_rate, takes_audio
from runguard_otel.adapters.livekit.subscription.context import Subscription
from runguard_otel.adapters.livekit.subscription.shared_stream import SharedStream

__all__ = ["Backlog", "StreamHandle"]


class _StandIn:
    """Has the class and the attributes of another object, but for those that begin ``_self_``.

    ``wrapt.ObjectProxy`` is that for any object at all. Its package is 16 modules, 0.2 MiB of each
    job process; and two handles on one stream are one and the same to it in a set.

    Args:
        real: Whom it stands in for.
    """

    __wrapped__: stt.RecognizeStream

    def __init__(self, real: stt.RecognizeStream) -> None:
        self.__wrapped__ = real

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance() asks
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # a copy that was never initialised
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_self_") or name == "__wrapped__":
            super().__setattr__(name, value)
        else:
            setattr(self.__wrapped__, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__wrapped__, name)

    def __dir__(self) -> list[str]:
        return dir(self.__wrapped__)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.__wrapped__!r}>"


class Backlog:
    """What is pushed into a handle while it is not known which stream it will be one of.

    Audio and segment ends, in order. Bounded, and still drops nothing.

    Args:
        seconds: How much audio it may hold.
        full: Called when it holds that much: there can be no more waiting.
        abandoned: Called when the handle is closed: it needs no stream.
    """

    def __init__(
        self, seconds: float, full: Callable[[], None], abandoned: Callable[[], None]
    ) -> None:
        self._limit = seconds
        self._full = full
        self.abandoned = abandoned
        self.decide: Callable[[Callable[[], SharedStream]], None]
        """Says which stream it is: set by the handle, called once, with what obtains the stream."""
        self.entries: list[rtc.AudioFrame | None] = []
        """Frames; ``None`` is the end of a segment."""
        self._rate = 0
        self._seconds = 0.0

    def push(self, frame: rtc.AudioFrame) -> None:
        """Keep a frame.

        Raises:
            ValueError: If its sample rate is not that of the frames before, as a stream would.
        """
        if self._rate and self._rate != frame.sample_rate:
            raise ValueError("the sample rate of the input frames must be consistent")
        self._rate = frame.sample_rate
        self.entries.append(frame)
        self._seconds += frame.samples_per_channel / frame.sample_rate
        if self._seconds >= self._limit:
            self._full()

    def flush(self) -> None:
        """Keep the end of a segment."""
        if self.entries and self.entries[-1] is not None:
            self.entries.append(None)


class StreamHandle(_StandIn):
    """What user code gets in place of a ``RecognizeStream``; everything else is the real one's.

    Args:
        shared: The stream it is a handle on.
        subscription: The track it is for.
        open_own: Opens a stream of its own and returns it shared, for audio that does not fit.
        backlog: Where audio waits while ``shared`` is still another track's; ``None``: it is free.
    """

    def __init__(
        self,
        shared: SharedStream,
        subscription: Subscription,
        open_own: Callable[[], SharedStream],
        backlog: Backlog | None = None,
    ) -> None:
        super().__init__(shared.real)
        self._self_shared = shared
        self._self_backlog = backlog
        self._self_failure: Exception | None = None
        self._self_subscription = subscription
        self._self_done: list[bool] = []
        self._self_open_own = open_own
        self._self_pushed = self._self_taken = self._self_closed = self._self_ended = False
        self._self_wake: asyncio.Future[None] = shared.loop.create_future()
        me, done = weakref.WeakMethod(self._self_open), self._self_done
        # One that user code has forgotten, and not closed, were an open stream without us.
        subscription.opened.append(lambda: not done and ((still := me()) is None or still()))
        if backlog is None:
            shared.give(self, subscription, self._self_take)
        else:
            backlog.decide = self._self_decide

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio of this track; dropped once a newer track has taken over."""
        if self._self_taken:
            return
        self._self_check()
        if self._self_lost():
            return
        if self._self_backlog is not None:
            self._self_backlog.push(frame)
        else:
            self._self_forward(frame)

    def flush(self) -> None:
        """Mark the end of a segment."""
        if self._self_taken:
            return
        self._self_check()
        if self._self_lost():
            return
        if self._self_backlog is not None:
            self._self_backlog.flush()
        else:
            self._self_shared.flush()

    def end_input(self) -> None:
        """No more audio of this track; results still due are delivered."""
        self._self_done.append(True)
        if self._self_taken:
            return
        self.flush()
        self._self_ended = True
        if self._self_backlog is None:
            self._self_shared.let_go(self, reads=True)

    async def aclose(self) -> None:
        """Let go. The real stream closes a little later unless a new track takes it over."""
        self._self_closed = True
        self._self_done.append(True)
        backlog, self._self_backlog = self._self_backlog, None
        if backlog is not None:
            backlog.abandoned()
        self._self_nudge()
        self._self_shared.let_go(self, reads=False)

    def __aiter__(self) -> StreamHandle:
        return self

    async def __anext__(self) -> stt.SpeechEvent:
        while not (self._self_taken or self._self_closed):
            shared, wake = self._self_shared, self._self_wake
            if self._self_failure is not None:
                raise self._self_failure
            if self._self_backlog is not None:
                await asyncio.wait({wake})
                continue
            task = shared.fetch()
            await asyncio.wait({task, wake}, return_when=asyncio.FIRST_COMPLETED)
            if not wake.done() and (event := shared.take(task)) is not None:
                return event
        raise StopAsyncIteration

    async def __aenter__(self) -> StreamHandle:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _self_check(self) -> None:
        """Refuse what the real stream would refuse after ``aclose`` or ``end_input``."""
        kind = type(self.__wrapped__)
        if self._self_closed:
            raise RuntimeError(f"{kind.__module__}.{kind.__name__} is closed")
        if self._self_ended:
            raise RuntimeError(f"{kind.__module__}.{kind.__name__} input ended")
        if self._self_failure is not None:
            raise self._self_failure

    def _self_open(self) -> bool:
        """Whether it takes audio, or did until another one got its stream."""
        waits = self._self_backlog is not None
        return waits or self._self_taken or takes_audio(self.__wrapped__)

    def _self_lost(self) -> bool:
        """The job is over and we have ended the input: user code may not have noticed yet."""
        return self._self_backlog is None and self._self_shared.over

    def _self_forward(self, frame: rtc.AudioFrame) -> None:
        self._self_shared.pushed(frame)
        if not self._self_pushed:
            self._self_pushed = True
            rate = pushed_rate(self.__wrapped__)
            if rate and rate != frame.sample_rate:
                self._self_move()
        self.__wrapped__.push_frame(frame)

    def _self_decide(self, obtain: Callable[[], SharedStream]) -> None:
        """The waiting is over: ``obtain`` says for which stream. What has waited goes into it."""
        backlog, self._self_backlog = self._self_backlog, None
        if backlog is None:
            return
        try:
            self._self_shared = obtain()
            self.__wrapped__ = self._self_shared.real
            self._self_shared.give(self, self._self_subscription, self._self_take)
            for entry in backlog.entries:
                if entry is not None:
                    self._self_forward(entry)
                else:
                    self._self_shared.flush()
        except Exception as error:  # noqa: BLE001 - the provider's error, kept for who holds us
            self._self_failure = error
        if self._self_ended:
            self._self_shared.let_go(self, reads=True)
        self._self_nudge()

    def _self_take(self) -> None:
        self._self_taken = True
        self._self_nudge()

    def _self_move(self) -> None:
        """This track's sample rate differs from what the stream was fed: it needs its own."""
        before, self._self_shared = self._self_shared, self._self_open_own()
        self.__wrapped__ = self._self_shared.real
        self._self_shared.give(self, self._self_subscription, self._self_take)
        before.let_go(self, reads=False)
        self._self_nudge()

    def _self_nudge(self) -> None:
        """Wake the reader, so that it looks again at what it reads from."""
        wake, self._self_wake = self._self_wake, self._self_shared.loop.create_future()
        if not wake.done():
            wake.set_result(None)
