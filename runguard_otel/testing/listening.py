"""Scripted speech recognition: streaming and batch, and the events a script is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, stt, utils

from runguard_otel.testing.named import Named

__all__ = ["ScriptedBatchSTT", "ScriptedSTT", "final", "interim", "malformed_final", "preflight"]

Event = stt.SpeechEventType


def _event(kind: stt.SpeechEventType, text: str, confidence: float) -> stt.SpeechEvent:
    data: Any = stt.SpeechData  # `language` is a plain str before 1.6
    alternative = data(language="en", text=text, confidence=confidence)
    return stt.SpeechEvent(type=kind, request_id="scripted", alternatives=[alternative])


def final(text: str, confidence: float = 0.9) -> stt.SpeechEvent:
    """A final result. Confidence 0.0 is what an STT says that does not report any."""
    return _event(Event.FINAL_TRANSCRIPT, text, confidence)


def malformed_final() -> stt.SpeechEvent:
    """A final result without any alternative."""
    return stt.SpeechEvent(type=Event.FINAL_TRANSCRIPT, request_id="scripted", alternatives=[])


def interim(text: str, confidence: float = 0.5) -> stt.SpeechEvent:
    """A guess that may still change."""
    return _event(Event.INTERIM_TRANSCRIPT, text, confidence)


def preflight(text: str, confidence: float = 0.9) -> stt.SpeechEvent:
    """A guess the provider trusts enough to start answering (1.2 and newer)."""
    return _event(Event.PREFLIGHT_TRANSCRIPT, text, confidence)


class _RecognizeStream(stt.RecognizeStream):
    seconds = 0.0

    async def _run(self) -> None:
        async for frame in self._input_ch:
            if isinstance(frame, rtc.AudioFrame):
                self.seconds += frame.duration

    def say(self, event: stt.SpeechEvent) -> None:
        self._event_ch.send_nowait(event)


class ScriptedSTT(Named, stt.STT[Any]):
    """A streaming recogniser that says what :meth:`send` is given.

    Args:
        provider: What telemetry calls the vendor.
        model: What telemetry calls the model.
    """

    def __init__(self, provider: str = "scripted", model: str = "scripted-stt") -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=True, interim_results=True),
        )
        self._provider_name, self._model_name = provider, model
        self.streams: list[_RecognizeStream] = []

    @property
    def seconds(self) -> float:
        """Audio heard by all streams, in seconds: the unit that is billed."""
        return sum(stream.seconds for stream in self.streams)

    def stream(
        self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> stt.RecognizeStream:
        """Open a stream; it is kept in ``streams``."""
        opened = _RecognizeStream(stt=self, conn_options=conn_options)
        self.streams.append(opened)
        return opened

    def send(self, event: stt.SpeechEvent) -> None:
        """Say ``event`` on the newest stream."""
        self.streams[-1].say(event)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser only streams")


class ScriptedBatchSTT(Named, stt.STT[Any]):
    """A recogniser without streaming: one request, and one bill, per voice segment.

    Args:
        script: The answers, in order, as events (:func:`final`); after them it hears nothing.
        provider: What telemetry calls the vendor.
        model: What telemetry calls the model.
    """

    def __init__(
        self,
        script: Iterable[stt.SpeechEvent],
        provider: str = "scripted",
        model: str = "scripted-batch",
    ) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=False, interim_results=False),
        )
        self._provider_name, self._model_name = provider, model
        self._script = iter(script)
        self.requests: list[float] = []

    @property
    def seconds(self) -> float:
        """Audio sent in all requests, in seconds."""
        return sum(self.requests)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        self.requests.append(utils.merge_frames(buffer).duration)
        return next(self._script, final("", 0.0))
