"""How many STT streams are open, and how much audio goes into them: what providers bill.

Wraps the base class that every plugin's stream calls. Streams of adapters (fallback, stream,
multi-speaker) are left out: the streams inside them are the ones that cost.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Final

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["model_names", "patches"]

REPORT_SECONDS: Final = 1.0
"""Audio is reported by the second: a frame is 10 or 20 ms, and a report costs microseconds."""


@dataclass
class _Stream:
    provider: str
    model: str
    unreported: float = 0.0


def model_names(model: object) -> tuple[str, str]:
    """Provider and model of an STT as telemetry names them; ``unknown`` where it does not say."""
    provider = str(getattr(model, "provider", "") or "unknown")
    if provider == "unknown":  # before 1.2 there is no `provider`; the plugin's package says it
        module = type(model).__module__
        if module.startswith("livekit.plugins."):
            provider = module.split(".")[2]
    return provider, str(getattr(model, "model", "") or "unknown")


class _Streams:
    def __init__(self, services: Services) -> None:
        self._recorder: Recorder = services.recorder
        self._usage = services.usage
        self._open: weakref.WeakKeyDictionary[stt.RecognizeStream, _Stream] = (
            weakref.WeakKeyDictionary()
        )

    def opened(self, stream: stt.RecognizeStream) -> None:
        model = stream._stt
        if type(model).__module__.startswith("livekit.agents.stt."):
            return
        provider, name = model_names(model)
        entry = self._open[stream] = _Stream(provider, name)
        key = id(stream)
        self._recorder.add("runguard.stt.streams", 1, provider=provider, model=name)
        if self._usage is not None:
            self._usage.stream_opened(key, provider, name)
        stream._task.add_done_callback(lambda _: self._closed(entry, key))

    def pushed(self, stream: stt.RecognizeStream, frame: rtc.AudioFrame) -> None:
        entry = self._open.get(stream)
        if entry is None:
            return
        seconds = frame.samples_per_channel / frame.sample_rate
        entry.unreported += seconds
        if self._usage is not None:
            self._usage.stream_audio(id(stream), seconds)
        if entry.unreported >= REPORT_SECONDS:
            self._report(entry)

    def _closed(self, entry: _Stream, key: int) -> None:
        with shield(self._recorder, "RecognizeStream.__init__"):
            self._report(entry)
            self._recorder.add(
                "runguard.stt.streams", -1, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_closed(key)

    def _report(self, entry: _Stream) -> None:
        seconds, entry.unreported = entry.unreported, 0.0
        if seconds:
            self._recorder.add(
                "runguard.stt.audio", seconds, provider=entry.provider, model=entry.model
            )


def patches(services: Services) -> list[Patch]:
    """What this module touches in the host; it only watches."""
    streams = _Streams(services)
    recorder = services.recorder

    def init(
        wrapped: Any, stream: stt.RecognizeStream, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> None:
        wrapped(*args, **kw)
        with shield(recorder, "RecognizeStream.__init__"):
            streams.opened(stream)  # the plugin's own attributes do not exist yet

    def push_frame(
        wrapped: Any, stream: stt.RecognizeStream, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> Any:
        result = wrapped(*args, **kw)
        with shield(recorder, "RecognizeStream.push_frame"):
            streams.pushed(stream, args[0] if args else kw["frame"])
        return result

    owner, guard = stt.RecognizeStream, "telemetry"
    return [
        Patch(owner, "__init__", init, guard, "open STT streams: providers bill them"),
        Patch(owner, "push_frame", push_frame, guard, "audio that goes into them; observes"),
    ]
