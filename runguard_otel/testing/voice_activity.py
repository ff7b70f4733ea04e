"""A scripted voice activity detector."""

from __future__ import annotations

import time

from livekit import rtc
from livekit.agents import vad

from runguard_otel.testing.rate import SAMPLE_RATE

__all__ = ["ScriptedVAD"]


class _VADStream(vad.VADStream):
    async def _main_task(self) -> None:
        async for _ in self._input_ch:
            pass

    def say(self, event: vad.VADEvent) -> None:
        if not self._event_ch.closed:
            self._event_ch.send_nowait(event)


class ScriptedVAD(vad.VAD):
    """A voice detector that hears what it is told, with Silero's thresholds to raise and restore.

    Args:
        activation_threshold: Probability from which on a frame is speech.
        deactivation_threshold: Probability below which speech ends.
    """

    def __init__(
        self, *, activation_threshold: float = 0.5, deactivation_threshold: float = 0.35
    ) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.032))
        self.streams: list[_VADStream] = []
        self._opts = _Thresholds(activation_threshold, deactivation_threshold)

    def stream(self) -> vad.VADStream:
        """Open a stream; it is kept in ``streams``."""
        opened = _VADStream(self)
        self.streams.append(opened)
        return opened

    def update_options(
        self, *, activation_threshold: float = -1, deactivation_threshold: float = -1
    ) -> None:
        """Change what is given, as Silero does."""
        if activation_threshold >= 0:
            self._opts.activation_threshold = activation_threshold
        if deactivation_threshold >= 0:
            self._opts.deactivation_threshold = deactivation_threshold

    @property
    def thresholds(self) -> tuple[float, float]:
        """Activation and deactivation threshold in force."""
        return self._opts.activation_threshold, self._opts.deactivation_threshold

    def start_of_speech(self) -> None:
        """A voice begins."""
        self._send(vad.VADEventType.START_OF_SPEECH)

    def still_speaking(self, seconds: float = 0.6) -> None:
        """The voice goes on; long enough, it interrupts the agent."""
        self._send(vad.VADEventType.INFERENCE_DONE, seconds)

    def end_of_speech(self, seconds: float = 0.6) -> None:
        """The voice ends after ``seconds`` in all."""
        self._send(vad.VADEventType.END_OF_SPEECH, seconds, speaking=False, silence=0.05)

    def _send(
        self,
        kind: vad.VADEventType,
        seconds: float = 0.6,
        *,
        speaking: bool = True,
        silence: float = 0.0,
    ) -> None:
        samples = max(1, int(SAMPLE_RATE * seconds))
        for stream in self.streams:
            event = vad.VADEvent(
                type=kind,
                samples_index=0,
                timestamp=time.time(),
                speech_duration=seconds,
                silence_duration=silence,
                frames=[rtc.AudioFrame.create(SAMPLE_RATE, 1, samples)],
                probability=0.9,
                inference_duration=0.0,
                speaking=speaking,
                raw_accumulated_silence=silence,
                raw_accumulated_speech=seconds if speaking else 0.0,
            )
            stream.say(event)


class _Thresholds:
    def __init__(self, activation: float, deactivation: float) -> None:
        self.activation_threshold = activation
        self.deactivation_threshold = deactivation
