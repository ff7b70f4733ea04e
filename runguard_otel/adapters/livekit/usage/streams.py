"""How many STT streams are open, and how much audio goes into them: what providers bill.

Wraps the base class that every plugin's stream calls. Streams of adapters (fallback, stream,
multi-speaker) are left out: the streams inside them are the ones that cost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.models import billed_as, is_stt_adapter, model_names
from runguard_otel.adapters.livekit.facts.streams import pushed_rate, stt_of, when_stream_ends
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.notes import forget, note, noted, read
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Count, Recorder

__all__ = ["Streams"]

REPORT_SECONDS: Final = 1.0
"""How often audio is reported: a frame is 10 or 20 ms, and a report costs microseconds."""
HEARD: Final = "_runguard_heard"
"""Set on a stream: what takes the samples of a frame."""

_forget: Final = deque[int](maxlen=0).append


@dataclass(eq=False, slots=True)
class _Stream:
    stream: Any
    key: int
    provider: str
    model: str
    count: Count
    later: Callable[..., object]
    rate: int = 0
    samples: list[int] = field(default_factory=list)  # of each frame that is not reported yet


class Streams:
    """Counts STT streams and their audio, and reports them to be priced.

    Args:
        services: The recorder, and ``usage`` where it is priced.
    """

    def __init__(self, services: Services) -> None:
        self._recorder: Recorder = services.recorder
        self._usage = services.usage
        self._open: set[_Stream] = set()
        services.before_flush.insert(0, self.settle)  # ahead of what prices it
        services.on_close.append(self.close)

    def opened(self, stream: Any, *_: Any, **__: Any) -> None:
        """``RecognizeStream.__init__``: it exists, its plugin's own attributes do not yet."""
        note(stream, HEARD, _forget)  # looked at; an adapter's stays like this
        model = stt_of(stream)
        if is_stt_adapter(model):
            return
        provider, name = model_names(model)
        count = self._recorder.bind("runguard.stt.audio", provider=provider, model=name)
        later = asyncio.get_running_loop().call_later
        entry = _Stream(stream, id(stream), provider, name, count, later)
        when_stream_ends(stream, lambda _: self._closed(entry))
        entry.later(REPORT_SECONDS, self._due, entry)  # first: without it, notes would pile up
        note(stream, HEARD, entry.samples.append)
        self._open.add(entry)
        self._recorder.add("runguard.stt.streams", 1, provider=entry.provider, model=entry.model)
        if self._usage is not None:
            self._usage.stream_opened(entry.key, entry.provider, billed_as(model))

    def heard(self, stream: Any, _: Any, frame: Any, *__: Any, **___: Any) -> None:
        """``RecognizeStream.push_frame``, where it takes more than a frame, or was open before."""
        if noted(stream, HEARD) is None:
            self.opened(stream)
        read(stream, HEARD)(frame.samples_per_channel)

    def pushing(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``RecognizeStream.push_frame(frame)`` written out: :meth:`heard` without a call more.

        It runs up to a hundred times a second for as long as a call lasts, which is more often than
        all the rest of this package together. So it takes a note, and a timer adds the notes up.
        """

        def push_frame(self: Any, frame: Any) -> Any:
            result = original(self, frame)
            try:
                self._runguard_heard(frame.samples_per_channel)
            except Exception:  # noqa: BLE001 - the contract that hooks.flat leaves to it
                unheard(self, frame)
            return result

        def unheard(stream: Any, frame: Any) -> None:
            """It was open before us; or is after us, for the note it takes goes with us."""
            if live:
                try:
                    self.heard(stream, None, frame)
                except Exception:  # noqa: BLE001 - as above
                    failed("RecognizeStream.push_frame")

        return push_frame

    def settle(self) -> None:
        """Report the audio of all streams that are open."""
        for entry in list(self._open):
            self._report(entry)

    def close(self) -> None:
        """Leave the streams alone that are open. Whoever instruments them next meets them anew."""
        self.settle()
        for entry in list(self._open):
            forget(entry.stream, HEARD)
        self._open.clear()

    def _due(self, entry: _Stream) -> None:
        if entry in self._open:
            entry.later(REPORT_SECONDS, self._due, entry)
            try:
                self._report(entry)
            except Exception:  # noqa: BLE001 - as a shield, which costs more
                self._recorder.internal_error("RecognizeStream.push_frame")

    def _report(self, entry: _Stream) -> None:
        """Hand on the audio that has gathered."""
        samples = entry.samples[:]  # frames go on to come while another thread settles
        if not samples:
            return
        del entry.samples[: len(samples)]
        if not entry.rate:  # the host refuses a stream whose frames differ in it
            entry.rate = pushed_rate(entry.stream)
        if entry.rate:
            seconds = sum(samples) / entry.rate
            entry.count(seconds)
            if self._usage is not None:
                self._usage.stream_audio(entry.key, seconds)

    def _closed(self, entry: _Stream) -> None:
        with shield(self._recorder, "RecognizeStream.__init__"):
            self._open.discard(entry)
            self._report(entry)
            self._recorder.add(
                "runguard.stt.streams", -1, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_closed(entry.key)
