"""Stand-ins for voices that are asked over a websocket: text in pieces, then the second of audio.

Each answers when its client has sent all of the text, in three parts like the others: what is no
audio yet, half of it, and the rest with what ends it.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable
from typing import Any

from tests.plugins.lab.voices import Speech

__all__ = [
    "AssemblyAI",
    "Baseten",
    "Cartesia",
    "Deepgram",
    "DeepgramFlux",
    "Elevenlabs",
    "Inference",
    "Inworld",
    "Neuphonic",
    "Resemble",
    "Rime",
    "Sarvam",
    "SmallestAI",
    "Telnyx",
    "TelnyxWhole",
    "XAI",
    "XAIWhole",
]

ANSWER = 3
"""Parts of an answer; fewer are sent where the laboratory wants it to pause."""


class Socket(Speech):
    """What all of them have."""

    streams = True

    def ends(self, said: Any) -> bool:
        """Whether a message says that all of the text was sent."""
        raise NotImplementedError

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        """The three parts: lists of messages."""
        raise NotImplementedError

    def heard(self, message: str) -> Iterable[Any]:
        said: Any = message
        with contextlib.suppress(ValueError):
            said = json.loads(message)
        if not self.ends(said):
            return self.at_once(said)
        self.asked += 1
        return [one for part in self.answer_to(said)[: self.pause] for one in part]

    def at_once(self, said: Any) -> Iterable[Any]:
        """What is answered to other messages."""
        return ()

    @property
    def pieces(self) -> tuple[str, str]:
        """The audio's halves in base64."""
        first, second = (base64.b64encode(half).decode() for half in self.halves)
        return first, second


class AssemblyAI(Socket):
    """assemblyai.com/docs, streaming text to speech."""

    def opened(self) -> Iterable[Any]:
        return [{"type": "Begin", "id": "s", "configuration": {"word_boundaries": False}}]

    def ends(self, said: Any) -> bool:
        return bool(said["type"] == "Flush")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = self.pieces
        mine = {"flush_id": self.asked - 1}
        audio = {"type": "Audio", **mine}
        done = {"type": "FlushDone", "audio_duration_ms": 1000, **mine}
        return (), [{**audio, "audio": first}], [{**audio, "audio": second}, done]

    def at_once(self, said: Any) -> Iterable[Any]:
        return [{"type": "Cancelled"}] if said["type"] == "Cancel" else []


class Baseten(Socket):
    """baseten.co, Orpheus over a websocket: raw audio, and the closing is the end."""

    @property
    def ends_on(self) -> tuple[str, ...]:  # type: ignore[override]  # stays open where it pauses
        return ("__END__",) if self.pause == ANSWER else ()

    def ends(self, said: Any) -> bool:
        return bool(said == "__END__")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = self.halves
        return (), [first], [second]


class Cartesia(Socket):
    """docs.cartesia.ai, text to speech over a websocket."""

    def ends(self, said: Any) -> bool:
        return said.get("continue") is False

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        whose = {"context_id": said["context_id"], "status_code": 206}
        first, second = ({"type": "chunk", "done": False, "data": p, **whose} for p in self.pieces)
        return (), [first], [second, {"type": "done", "done": True, **whose}]


class Deepgram(Socket):
    """developers.deepgram.com, Aura over a websocket."""

    end = "Flushed"

    def ends(self, said: Any) -> bool:
        return bool(said["type"] == "Flush")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = self.halves
        return (), [first], [second, {"type": self.end}]


class DeepgramFlux(Deepgram):
    """developers.deepgram.com, Flux text to speech."""

    end = "SpeechMetadata"


class Elevenlabs(Socket):
    """elevenlabs.io, several contexts on one socket."""

    kind = "mp3"
    rate = 22050

    def ends(self, said: Any) -> bool:
        return bool(said.get("close_context"))

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        whose = {"contextId": said["context_id"]}
        first, second = ({"audio": piece, **whose} for piece in self.pieces)
        return (), [first], [second, {"isFinal": True, **whose}]


class Inference(Socket):
    """LiveKit Inference."""

    def at_once(self, said: Any) -> Iterable[Any]:
        created = {"type": "session.created", "session_id": "s"}
        return [created] if said["type"] == "session.create" else []

    def ends(self, said: Any) -> bool:
        return bool(said["type"] == "session.flush")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        whose = {"session_id": "s"}
        first, second = ({"type": "output_audio", "audio": p, **whose} for p in self.pieces)
        return (), [first], [second, {"type": "done", **whose}]


class Inworld(Socket):
    """docs.inworld.ai, text to speech over a websocket."""

    def _result(self, said: Any, **fields: Any) -> Any:
        return {"result": {"contextId": said["contextId"], "status": {"code": 0}, **fields}}

    def at_once(self, said: Any) -> Iterable[Any]:
        return [self._result(said, contextCreated={})] if "create" in said else []

    def ends(self, said: Any) -> bool:
        return "close_context" in said

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = (
            self._result(said, audioChunk={"audioContent": piece}) for piece in self.pieces
        )
        return (), [first], [second, self._result(said, contextClosed={})]


class Neuphonic(Socket):
    """docs.neuphonic.com, text to speech over a websocket: each sentence ends."""

    rate = 22050

    def ends(self, said: Any) -> bool:
        return "<STOP>" in said["text"]

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        whose = {"context_id": said["context_id"]}
        first, second = ({"audio": piece, **whose} for piece in self.pieces)
        return (), [{"data": first}], [{"data": {**second, "stop": True}}]


class Resemble(Socket):
    """docs.resemble.ai, streamed synthesis over a websocket."""

    kind = "mp3"
    rate = 44100

    def ends(self, said: Any) -> bool:
        return "request_id" in said

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = ({"type": "audio", "audio_content": piece} for piece in self.pieces)
        return (), [first], [second, {"type": "audio_end", "request_id": said["request_id"]}]


class Rime(Socket):
    """docs.rime.ai, websocket with JSON."""

    def ends(self, said: Any) -> bool:
        return bool(said.get("operation") == "flush")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        whose = {"contextId": said["contextId"]}
        first, second = ({"type": "chunk", "data": piece, **whose} for piece in self.pieces)
        return (), [first], [second, {"type": "done", "done": True, **whose}]


class Sarvam(Socket):
    """docs.sarvam.ai, streamed text to speech."""

    kind = "mp3"
    rate = 22050

    def ends(self, said: Any) -> bool:
        return bool(said["type"] == "flush")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = ({"type": "audio", "data": {"audio": piece}} for piece in self.pieces)
        return (), [first], [second, {"type": "event", "data": {"event_type": "final"}}]


class SmallestAI(Socket):
    """waves-docs.smallest.ai, Lightning over a websocket."""

    def ends(self, said: Any) -> bool:
        return said.get("continue") is False

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = ({"status": "chunk", "data": {"audio": piece}} for piece in self.pieces)
        return (), [first], [second, {"status": "complete"}]


class Telnyx(Socket):
    """developers.telnyx.com, text to speech over a websocket: the closing is the end."""

    kind = "mp3"

    @property
    def ends_on(self) -> tuple[str, ...]:  # type: ignore[override]  # stays open where it pauses
        return ('{"text": ""}',) if self.pause == ANSWER else ()

    def ends(self, said: Any) -> bool:
        return bool(said.get("text") == "")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = ({"audio": piece} for piece in self.pieces)
        return (), [first], [second]


class XAI(Socket):
    """docs.x.ai, text to speech over a websocket."""

    def ends(self, said: Any) -> bool:
        return bool(said["type"] == "text.done")

    def answer_to(self, said: Any) -> tuple[Any, ...]:
        first, second = ({"type": "audio.delta", "delta": piece} for piece in self.pieces)
        return (), [first], [second, {"type": "audio.done"}]


class TelnyxWhole(Telnyx):
    """The same asked by ``synthesize()``: there is no other way to it than the websocket."""

    streams = False


class XAIWhole(XAI):
    """The same asked by ``synthesize()``: there is no other way to it than the websocket."""

    streams = False
