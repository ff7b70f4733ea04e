"""Reads the clips in ``audio/`` and lays them out on a timeline, as a microphone hears them."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

from livekit import rtc

__all__ = ["FRAME_SECONDS", "Cue", "Soundtrack", "load"]

RATE: Final = 16_000
FRAME_SECONDS: Final = 0.02
_HISS: Final = 12
"""Amplitude of the hiss every real microphone has (of 32768): digital silence is not natural."""


@dataclass(frozen=True)
class Cue:
    """One clip on the timeline.

    Args:
        at: When it starts, in seconds.
        clip: Name of a file in ``audio/``, without its ending.
        what: What it is, in words for people.
    """

    at: float
    clip: str
    what: str


def load(name: str) -> array[int]:
    """Decode a clip to 16 kHz mono samples."""
    import av

    samples: array[int] = array("h")
    path = resources.files("runguard_otel.demo.audio").joinpath(f"{name}.ogg")
    with path.open("rb") as file, av.open(file, mode="r") as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for decoded in (*container.decode(audio=0), None):
            for frame in resampler.resample(decoded):
                samples.frombytes(bytes(frame.planes[0])[: frame.samples * 2])
    return samples


class Soundtrack:
    """Clips on a timeline, with a little hiss between them. The same input every time.

    Args:
        cues: The clips.
        seconds: Total length, in seconds.
    """

    def __init__(self, cues: Iterable[Cue], seconds: float) -> None:
        self.cues = tuple(cues)
        noise = random.Random(7)  # the same hiss in every run: not for secrets
        self._samples = array("h", (noise.randint(-_HISS, _HISS) for _ in range(_n(seconds))))
        for cue in self.cues:
            start = _n(cue.at)
            for n, sample in enumerate(load(cue.clip)):
                if start + n < len(self._samples):
                    mixed = self._samples[start + n] + sample
                    self._samples[start + n] = max(-32768, min(32767, mixed))

    @property
    def seconds(self) -> float:
        """Total length."""
        return len(self._samples) / RATE

    def frames(self) -> Iterator[tuple[float, rtc.AudioFrame]]:
        """Frames of 20 ms with the second at which each starts."""
        step = _n(FRAME_SECONDS)
        for start in range(0, len(self._samples) - step + 1, step):
            data = self._samples[start : start + step].tobytes()
            yield start / RATE, rtc.AudioFrame(data, RATE, 1, step)


def _n(seconds: float) -> int:
    return round(seconds * RATE)
