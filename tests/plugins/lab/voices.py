"""Stand-ins for voices that are asked by HTTP: one second of audio, as each protocol carries it."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, Final

from tests.plugins.lab.paused import Paused
from tests.plugins.lab.probe import frames

__all__ = [
    "HEARD",
    "SPOKEN",
    "Elevenlabs",
    "Gemini",
    "Hume",
    "Inworld",
    "Mistral",
    "Mp3",
    "Neuphonic",
    "Raw",
    "Resemble",
    "Sarvam",
    "SpeechEvents",
    "Wave",
]

SPOKEN: Final = 40
"""Tokens of the text, where the provider counts any."""
HEARD: Final = 20
"""Tokens of the audio."""
SECONDS: Final = 1.0


@lru_cache
def audio(kind: str, rate: int) -> bytes:
    """The second.

    Args:
        kind: ``pcm``, ``wav`` or ``mp3``.
        rate: Samples in a second.
    """
    pcm = b"".join(bytes(frame.data) for frame in frames(SECONDS, rate))
    if kind == "pcm":
        return pcm
    into = io.BytesIO()
    if kind == "wav":
        with wave.open(into, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(rate)
            written.writeframes(pcm)
        return into.getvalue()
    import av
    import numpy as np

    with av.open(into, "w", format=kind) as made:
        stream: Any = made.add_stream(kind, rate=rate, layout="mono")
        samples = np.frombuffer(pcm, np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate, frame.time_base = rate, Fraction(1, rate)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            made.mux(packet)
    return into.getvalue()


class Speech(Paused):
    """What all of them have: a kind of audio, at a rate."""

    kind = "pcm"
    rate = 24000

    @property
    def halves(self) -> tuple[bytes, bytes]:
        """The audio, in two pieces."""
        whole = audio(self.kind, self.rate)
        middle = len(whole) // 4 * 2
        return whole[:middle], whole[middle:]


class Raw(Speech):
    """The body is the audio."""

    @property
    def content_type(self) -> str:  # type: ignore[override]  # by its kind
        return f"audio/{self.kind}"

    def parts(self) -> Iterable[bytes]:
        return b"", *self.halves


class Lines(Speech):
    """Lines of JSON, with audio in base64 under a path of fields."""

    path: tuple[str, ...] = ("audio",)
    prefix = b""

    def _line(self, piece: bytes) -> bytes:
        message: Any = base64.b64encode(piece).decode()
        for field in reversed(self.path):
            message = {field: message}
        return self.prefix + json.dumps(message).encode() + b"\n\n"

    def parts(self) -> Iterable[bytes]:
        return b"", *(self._line(piece) for piece in self.halves)


class Whole(Speech):
    """One document with all of it: nothing is heard before its end."""

    content_type = "application/json"
    begins = False

    def document(self, whole: str) -> Any:
        """Around the audio, in base64."""
        raise NotImplementedError

    def parts(self) -> Iterable[bytes]:
        whole = base64.b64encode(audio(self.kind, self.rate)).decode()
        return b"", json.dumps(self.document(whole)).encode(), b""


class SpeechEvents(Speech):
    """platform.openai.com, audio speech as server-sent events; also Mistral's."""

    content_type = "text/event-stream"
    kind = "mp3"
    field = "delta"
    usage: ClassVar[dict[str, int]] = {"input_tokens": SPOKEN, "output_tokens": HEARD}

    @staticmethod
    def _event(kind: str, **fields: Any) -> bytes:
        said = json.dumps({"type": kind, **fields})
        return f"event: {kind}\ndata: {said}\n\n".encode()

    def parts(self) -> Iterable[bytes]:
        first, second = (
            self._event("speech.audio.delta", **{self.field: base64.b64encode(piece).decode()})
            for piece in self.halves
        )
        usage = {**self.usage, "total_tokens": SPOKEN + HEARD}
        return b"", first, second + self._event("speech.audio.done", usage=usage)


class Mistral(SpeechEvents):
    """docs.mistral.ai, audio speech."""

    field = "audio_data"
    usage: ClassVar[dict[str, int]] = {"prompt_tokens": SPOKEN, "completion_tokens": HEARD}


class Gemini(Speech):
    """ai.google.dev, speech from streamGenerateContent: it tells the tokens of both."""

    @property
    def content_type(self) -> str:  # type: ignore[override]  # by how it is asked
        return "text/event-stream" if self.begins else "application/json"

    def _said(self, piece: bytes) -> bytes:
        data = base64.b64encode(piece).decode()
        inline = {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": data}
        content = {"role": "model", "parts": [{"inlineData": inline}]}
        usage = {"promptTokenCount": SPOKEN, "candidatesTokenCount": HEARD}
        message = {
            "candidates": [{"index": 0, "content": content}],
            "usageMetadata": {**usage, "totalTokenCount": SPOKEN + HEARD},
        }
        written = json.dumps(message).encode()
        return b"data: " + written + b"\n\n" if self.begins else written

    def parts(self) -> Iterable[bytes]:
        if not self.begins:
            return b"", b"", self._said(b"".join(self.halves))
        return b"", *(self._said(piece) for piece in self.halves)


class Mp3(Raw):
    """ElevenLabs, LMNT."""

    kind = "mp3"


class Elevenlabs(Mp3):
    """elevenlabs.io, text to speech."""

    rate = 22050


class Wave(Raw):
    """console.groq.com, audio speech."""

    kind = "wav"


class Hume(Lines):
    """dev.hume.ai, text to speech as JSON."""

    kind = "mp3"
    rate = 48000


class Inworld(Lines):
    """docs.inworld.ai, streamed synthesis."""

    path = ("result", "audioContent")


class Neuphonic(Lines):
    """docs.neuphonic.com, server-sent events."""

    path = ("data", "audio")
    prefix = b"data: "
    rate = 22050


class Resemble(Whole):
    """docs.resemble.ai, synchronous synthesis."""

    kind = "wav"
    rate = 44100

    def document(self, whole: str) -> Any:
        return {"success": True, "audio_content": whole, "issues": []}


class Sarvam(Whole):
    """docs.sarvam.ai, text to speech."""

    kind = "mp3"
    rate = 22050

    def document(self, whole: str) -> Any:
        return {"request_id": "r", "audios": [whole]}
