"""Makes the clips in this folder: ``python -m runguard_otel.demo.audio.make`` (needs espeak-ng).

The clips are committed, so the synthesiser is not needed to run the demonstration. All voices are
synthetic. Ogg/Opus, mono; ``clips.load`` decodes them to 16 kHz.
"""

from __future__ import annotations

import io
import subprocess
import wave
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

RATE: Final = 16_000
HERE: Final = Path(__file__).parent
Signal = np.ndarray[Any, np.dtype[np.float64]]

SPOKEN: Final[dict[str, tuple[str, str, float]]] = {
    # name: voice, words, loudness (1 = close to the microphone)
    "guest_book": ("en-us", "I would like to book a table for two", 0.8),
    "guest_reserve": ("en-us", "Can I reserve a table for four tonight", 0.8),
    "echo_booked": ("en-gb+f2", "Your table for two is booked for eight o'clock", 0.5),
    "echo_again": ("en-gb+f2", "please say it again", 0.5),
    "chatter_salt": ("en-us", "Pass me the salt, would you", 0.4),
    "chatter_thursday": ("en-us", "No, we should move the meeting to Thursday", 0.4),
    "chatter_coming": ("en-us+f3", "Yes dear, I am coming", 0.4),
    "chatter_yeah": ("en-us", "Yeah", 0.5),
    "chatter_radio": ("en-us+f3", "Turn the radio down", 0.4),
}
OFFICE: Final = (
    ("en-us", "Could you send the slides over before lunch, they are still missing", 0.00),
    ("en-gb+f2", "And then she told me the printer on the third floor is broken again", 0.15),
    ("en-us+m3", "We ship on Friday unless the numbers change once more", 0.30),
    ("en-gb+m5", "He is on another call, try him after four, or write to his assistant", 0.05),
    ("en-us+f4", "Did anybody order the sandwiches or is that my job today", 0.25),
)


def speak(voice: str, words: str, speed: int = 150) -> Signal:
    """Synthesise ``words``; 16 kHz, mono, -1..1."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", words]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
    samples = np.frombuffer(said[44:], np.int16).astype(np.float64) / 32768
    at = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    resampled: Signal = np.interp(at, np.arange(len(samples)), samples)
    return resampled


def office_babble() -> Signal:
    """Five people talking at once, none of them to the agent."""
    voices = [(int(delay * RATE), speak(v, words, 170)) for v, words, delay in OFFICE]
    mixed = np.zeros(max(start + len(x) for start, x in voices))
    for start, x in voices:
        mixed[start : start + len(x)] += x
    return mixed[: int(2.2 * RATE)]


def save(name: str, signal: Signal, loudness: float) -> None:
    """Write one clip, scaled to a peak of ``loudness``."""
    scaled = (signal / np.abs(signal).max() * loudness * 32767).astype(np.int16)
    with av.open(str(HERE / f"{name}.ogg"), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(scaled.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def main() -> None:
    """Write every clip."""
    for name, (voice, words, loudness) in SPOKEN.items():
        save(name, speak(voice, words), loudness)
    save("office_babble", office_babble(), 0.6)


if __name__ == "__main__":
    main()
