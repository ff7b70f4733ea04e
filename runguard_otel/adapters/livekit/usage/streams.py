"""How many STT streams are open, and how much audio goes into them: what providers bill.

Wraps the base class that every plugin's stream calls. Streams of adapters (fallback, stream,
multi-speaker) are left out: the streams inside them are the ones that cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.models import (
    billed_as,
    is_stt_adapter,
    model_names,
    stt_of,
    when_stream_ends,
)
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["Streams"]

REPORT_SECONDS: Final = 1.0
"""Audio is reported by the second: a frame is 10 or 20 ms, and a report costs microseconds."""
ENTRY: Final = "_runguard_stream"


@dataclass(slots=True)
class _Stream:
    provider: str = ""
    model: str = ""
    key: int = 0
    unreported: int = 0  # samples
    due: float = math.inf  # so many are a report; of one that counts, known from its first frame on
    rate: int = 0


class Streams:
    """Counts STT streams and their audio, and reports them to be priced.

    Args:
        services: The recorder, and ``usage`` where it is priced.
    """

    def __init__(self, services: Services) -> None:
        self._recorder: Recorder = services.recorder
        self._usage = services.usage

    def opened(self, stream: Any, *_: Any, **__: Any) -> None:
        """``RecognizeStream.__init__``: it exists, its plugin's own attributes do not yet."""
        entry = vars(stream)[ENTRY] = _Stream()  # looked at; an adapter's stays like this
        model = stt_of(stream)
        if is_stt_adapter(model):
            return
        entry.provider, entry.model = model_names(model)
        entry.key, entry.due = id(stream), 0.0
        self._recorder.add("runguard.stt.streams", 1, provider=entry.provider, model=entry.model)
        if self._usage is not None:
            self._usage.stream_opened(entry.key, entry.provider, billed_as(model))
        when_stream_ends(stream, lambda _: self._closed(entry))

    def heard(self, stream: Any, _: Any, frame: Any, *__: Any, **___: Any) -> None:
        """``RecognizeStream.push_frame``, where it takes more than a frame."""
        entry = self._entry(stream)
        entry.unreported += frame.samples_per_channel
        if entry.unreported >= entry.due:
            self._due(entry, frame)

    def _entry(self, stream: Any) -> _Stream:
        """What is known of a stream; one that was open before us is met at its next frame."""
        if ENTRY not in vars(stream):
            self.opened(stream)
        entry: _Stream = vars(stream)[ENTRY]
        return entry

    def pushing(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``RecognizeStream.push_frame(frame)`` written out: :meth:`heard` without a call more.

        It runs up to a hundred times a second for as long as a call lasts, which is more often than
        all the rest of this package together.
        """
        due, known = self._due, self._entry

        def push_frame(self: Any, frame: Any) -> Any:
            result = original(self, frame)
            if live:
                try:
                    try:
                        entry = self.__dict__[ENTRY]
                    except KeyError:
                        entry = known(self)
                    entry.unreported += frame.samples_per_channel
                    if entry.unreported >= entry.due:
                        due(entry, frame)
                except Exception:  # noqa: BLE001 - the contract that hooks.flat leaves to it
                    failed("RecognizeStream.push_frame")
            return result

        return push_frame

    def _due(self, entry: _Stream, frame: Any) -> None:
        if not entry.rate:  # the host refuses a stream whose frames differ in it
            entry.rate = frame.sample_rate
            entry.due = REPORT_SECONDS * entry.rate
        if entry.unreported >= entry.due:
            self._report(entry)

    def _report(self, entry: _Stream) -> None:
        """Hand on the audio that has gathered."""
        samples, entry.unreported = entry.unreported, 0
        if samples and entry.rate:
            seconds = samples / entry.rate
            self._recorder.add(
                "runguard.stt.audio", seconds, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_audio(entry.key, seconds)

    def _closed(self, entry: _Stream) -> None:
        with shield(self._recorder, "RecognizeStream.__init__"):
            self._report(entry)
            self._recorder.add(
                "runguard.stt.streams", -1, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_closed(entry.key)
