"""How many STT streams are open, and how much audio goes into them: what providers bill.

Wraps the base class that every plugin's stream calls. Streams of adapters (fallback, stream,
multi-speaker) are left out: the streams inside them are the ones that cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from livekit.agents import stt

from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

__all__ = ["model_names", "patches"]

REPORT_SECONDS: Final = 1.0
"""Audio is reported by the second: a frame is 10 or 20 ms, and a report costs microseconds."""
_ENTRY: Final = "_runguard_stream"


@dataclass(slots=True)
class _Stream:
    provider: str
    model: str
    key: int
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

    def opened(self, stream: stt.RecognizeStream) -> None:
        """A stream exists, its plugin's own attributes do not yet."""
        model = stream._stt
        if type(model).__module__.startswith("livekit.agents.stt."):
            return
        provider, name = model_names(model)
        entry = vars(stream)[_ENTRY] = _Stream(provider, name, id(stream))
        self._recorder.add("runguard.stt.streams", 1, provider=provider, model=name)
        if self._usage is not None:
            self._usage.stream_opened(entry.key, provider, name)
        stream._task.add_done_callback(lambda _: self._closed(entry))

    def report(self, entry: _Stream) -> None:
        """Hand on the audio that has gathered."""
        seconds, entry.unreported = entry.unreported, 0.0
        if seconds:
            self._recorder.add(
                "runguard.stt.audio", seconds, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_audio(entry.key, seconds)

    def _closed(self, entry: _Stream) -> None:
        with shield(self._recorder, "RecognizeStream.__init__"):
            self.report(entry)
            self._recorder.add(
                "runguard.stt.streams", -1, provider=entry.provider, model=entry.model
            )
            if self._usage is not None:
                self._usage.stream_closed(entry.key)


def patches(services: Services) -> list[Patch]:
    """What this module touches in the host; it only watches."""
    streams = _Streams(services)
    recorder = services.recorder

    def init(
        wrapped: Any, stream: stt.RecognizeStream, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> None:
        wrapped(*args, **kw)
        with shield(recorder, "RecognizeStream.__init__"):
            streams.opened(stream)

    def push_frame(
        wrapped: Any, stream: stt.RecognizeStream, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> Any:
        result = wrapped(*args, **kw)
        entry = stream.__dict__.get(_ENTRY)
        if entry is not None:
            # Up to a hundred times a second: a shield costs more than all the rest of this.
            try:
                frame = args[0] if args else kw["frame"]
                entry.unreported += frame.samples_per_channel / frame.sample_rate
            except (ArithmeticError, AttributeError, LookupError, TypeError):
                recorder.internal_error("RecognizeStream.push_frame")
            if entry.unreported >= REPORT_SECONDS:
                with shield(recorder, "RecognizeStream.push_frame"):
                    streams.report(entry)
        return result

    owner, guard = stt.RecognizeStream, "telemetry"
    return [
        Patch(owner, "__init__", init, guard, "open STT streams: providers bill them"),
        Patch(owner, "push_frame", push_frame, guard, "audio that goes into them; observes"),
    ]
