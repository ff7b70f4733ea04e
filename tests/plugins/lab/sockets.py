"""Stand-ins for recognisers that speak JSON over a websocket, one class per protocol.

The messages are those of the providers' public API references, cut to what a client may read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tests.plugins.lab.loopback import Script
from tests.plugins.lab.said import Said

__all__ = [
    "AssemblyAI",
    "Baseten",
    "CartesiaInk2",
    "CartesiaWhisper",
    "Deepgram",
    "DeepgramFlux",
    "ElevenLabs",
    "Fireworks",
    "Gladia",
    "Gnani",
    "Gradium",
    "Inference",
    "Inworld",
    "MetaMuse",
    "Nabrah",
    "OpenAIRealtime",
    "Rtzr",
    "Sarvam",
    "SarvamRealtime",
    "Simplismart",
    "Slng",
    "SmallestAI",
    "Soniox",
    "Speechmatics",
    "Telnyx",
    "XAI",
]

Messages = Iterable[Any]


def words(said: Said, text: str = "word", **names: str) -> list[dict[str, Any]]:
    """The words with their times in seconds, and each number under the name it has there.

    Args:
        said: The utterance.
        text: The field of the text.
        **names: Field by attribute of :class:`Word`; ``confidence`` and ``log`` only if sent.
    """
    found = []
    for word in said.words:
        entry: dict[str, Any] = {text: word.text}
        for attribute, field in names.items():
            if said.numbers or attribute not in ("confidence", "log"):
                entry[field] = getattr(word, attribute)
        found.append(entry)
    return found


class Deepgram(Script):
    """developers.deepgram.com, live audio v1."""

    ends_on = ("CloseStream",)

    def _results(self, said: Said | None, *, final: bool) -> dict[str, Any]:
        heard = {"transcript": "", "confidence": 0.0, "words": []}
        if said is not None:
            timed = words(said, confidence="confidence", start="start", end="end")
            best = said.utterance if said.numbers else 0.0
            heard = {"transcript": said.text, "confidence": best, "words": timed}
        return {
            "type": "Results",
            "channel": {"alternatives": [heard]},
            "metadata": {"request_id": "r"},
            "is_final": final,
            "speech_final": final,
            "start": said.start if said else 0.0,
            "duration": 1.0,
        }

    def turn(self, said: Said) -> Messages:
        started = {"type": "SpeechStarted", "channel": [0], "timestamp": said.start}
        return [started, self._results(said, final=False), self._results(said, final=True)]

    def noise(self) -> Messages:
        return [{"type": "SpeechStarted", "timestamp": 1.0}, self._results(None, final=True)]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        heard: dict[str, Any] = {"transcript": "", "confidence": 0.0, "words": []}
        if said is not None:
            timed = words(said, confidence="confidence", start="start", end="end")
            heard = {"transcript": said.text, "confidence": said.utterance, "words": timed}
        channel = {
            "alternatives": [heard],
            "detected_language": "en",
            "language_confidence": said.language if said else 0.0,
        }
        return {"metadata": {"request_id": "r"}, "results": {"channels": [channel]}}


class DeepgramFlux(Script):
    """developers.deepgram.com, live audio v2 (turns)."""

    ends_on = ("CloseStream",)

    def _info(self, event: str, said: Said | None) -> dict[str, Any]:
        return {
            "type": "TurnInfo",
            "event": event,
            "request_id": "r",
            "turn_index": self.turns,
            "audio_window_start": 0.0,
            "audio_window_end": 1.0,
            "transcript": said.text if said else "",
            "words": words(said, confidence="confidence", start="start", end="end") if said else [],
            "end_of_turn_confidence": 0.81,
            "languages": ["en"],
        }

    def turn(self, said: Said) -> Messages:
        self.turns += 1
        events = ("StartOfTurn", "Update", "EagerEndOfTurn", "EndOfTurn")
        return [self._info(event, said) for event in events]

    def noise(self) -> Messages:
        self.turns += 1
        return [self._info(event, None) for event in ("StartOfTurn", "EndOfTurn")]


class AssemblyAI(Script):
    """assemblyai.com/docs, universal streaming v3."""

    ends_on = ('"Terminate"',)

    def opened(self) -> Messages:
        return [{"type": "Begin", "id": "s", "expires_at": 2_000_000_000}]

    def _turn(self, said: Said | None, *, end: bool) -> dict[str, Any]:
        self.turns += end
        timed: list[dict[str, Any]] = []
        if said is not None:
            timed = words(said, "text", confidence="confidence")
            for entry, word in zip(timed, said.words, strict=True):
                entry |= {"start": int(word.start * 1e3), "end": int(word.end * 1e3)}
                entry["word_is_final"] = True
        return {
            "type": "Turn",
            "turn_order": self.turns,
            "turn_is_formatted": True,
            "end_of_turn": end,
            "transcript": said.text if said else "",
            "utterance": said.text if said and end else "",
            "end_of_turn_confidence": 0.81,
            "words": timed,
            "language_code": "en",
            **(said.measured(language_confidence=said.language) if said else {}),
        }

    def turn(self, said: Said) -> Messages:
        started = {"type": "SpeechStarted", "timestamp": int(said.start * 1e3)}
        return [started, self._turn(said, end=False), self._turn(said, end=True)]

    def noise(self) -> Messages:
        return [{"type": "SpeechStarted", "timestamp": 1000}, self._turn(None, end=True)]

    def goodbye(self) -> Messages:
        return [{"type": "Termination", "audio_duration_seconds": 1}]


class ElevenLabs(Script):
    """elevenlabs.io/docs, realtime speech to text: every commit comes plain, then with times."""

    def opened(self) -> Messages:
        return [{"message_type": "session_started", "session_id": "s", "config": {}}]

    def _commit(self, said: Said | None) -> Messages:
        text = said.text if said else ""
        timed = words(said, "text", start="start", end="end", log="logprob") if said else []
        for entry in timed:
            entry["type"] = "word"
        return [
            {"message_type": "committed_transcript", "text": text},
            {
                "message_type": "committed_transcript_with_timestamps",
                "text": text,
                "language_code": "en",
                "words": timed,
            },
        ]

    def turn(self, said: Said) -> Messages:
        return [{"message_type": "partial_transcript", "text": said.text}, *self._commit(said)]

    def noise(self) -> Messages:
        return self._commit(None)

    def answer(self, request: web.Request, said: Said | None) -> Any:
        timed = words(said, "text", start="start", end="end", log="logprob") if said else []
        for entry in timed:
            entry |= {"type": "word", "speaker_id": None}
        return {
            "language_code": "en",
            "language_probability": said.language if said else 0.0,
            "text": said.text if said else "",
            "words": timed,
        }


class CartesiaInk2(Script):
    """docs.cartesia.ai, turns."""

    ends_on = ('"close"', '"done"')

    def opened(self) -> Messages:
        return [{"type": "connected", "request_id": "r"}]

    def turn(self, said: Said) -> Messages:
        kinds = ("turn.update", "turn.eager_end", "turn.end")
        return [
            {"type": "turn.start", "request_id": "r"},
            *({"type": kind, "request_id": "r", "transcript": said.text} for kind in kinds),
        ]

    def noise(self) -> Messages:
        return [
            {"type": "turn.start", "request_id": "r"},
            {"type": "turn.end", "request_id": "r", "transcript": ""},
        ]


class CartesiaWhisper(Script):
    """docs.cartesia.ai, streaming ink-whisper."""

    ends_on = ("done", "close")

    def _transcript(self, said: Said | None, *, final: bool) -> dict[str, Any]:
        return {
            "type": "transcript",
            "is_final": final,
            "request_id": "r",
            "text": said.text if said else "",
            "duration": 1.0,
            "language": "en",
            "words": words(said, start="start", end="end") if said else [],
        }

    def turn(self, said: Said) -> Messages:
        return [self._transcript(said, final=False), self._transcript(said, final=True)]

    def noise(self) -> Messages:
        return [self._transcript(None, final=True)]

    def goodbye(self) -> Messages:
        return [{"type": "done", "request_id": "r"}]


class Soniox(Script):
    """soniox.com/docs, realtime: tokens, then a token that ends the utterance."""

    def _tokens(self, said: Said, *, final: bool) -> dict[str, Any]:
        self.turns += 1
        tokens = words(said, "text", confidence="confidence")
        for n, (entry, word) in enumerate(zip(tokens, said.words, strict=True)):
            entry["text"] = (" " if n else "") + word.text
            entry |= {"start_ms": word.start * 1e3, "end_ms": word.end * 1e3, "is_final": final}
        return {
            "tokens": tokens,
            "final_audio_proc_ms": 0,
            "total_audio_proc_ms": 500 * self.turns,
        }

    def _end(self) -> dict[str, Any]:
        token = {"text": "<end>", "is_final": True, "confidence": 1.0}
        return {"tokens": [token], "total_audio_proc_ms": 500 * self.turns}

    def turn(self, said: Said) -> Messages:
        return [self._tokens(said, final=False), self._tokens(said, final=True), self._end()]

    def noise(self) -> Messages:
        return [self._end()]


class Gladia(Script):
    """docs.gladia.io, live v2: a session by POST, then a websocket."""

    ends_on = ("stop_recording",)

    def answer(self, request: web.Request, said: Any) -> Any:
        return web.json_response({"id": "s", "url": f"ws://{request.host}/live"}, status=201)

    def _transcript(self, said: Said | None, *, final: bool) -> dict[str, Any]:
        utterance: dict[str, Any] = {"text": "", "language": "en", "words": []}
        if said is not None:
            utterance |= {
                "text": said.text,
                "start": said.start,
                "end": said.end,
                "words": words(said, confidence="confidence", start="start", end="end"),
                **said.measured(confidence=said.utterance),
            }
        return {"type": "transcript", "data": {"is_final": final, "utterance": utterance}}

    def turn(self, said: Said) -> Messages:
        return [self._transcript(said, final=False), self._transcript(said, final=True)]

    def noise(self) -> Messages:
        return [self._transcript(None, final=True)]

    def goodbye(self) -> Messages:
        return [{"type": "post_final_transcript", "data": {}}]


class SmallestAI(Script):
    """waves-docs.smallest.ai, realtime."""

    ends_on = ("close_stream",)

    def _result(self, said: Said | None, *, final: bool) -> dict[str, Any]:
        timed = words(said, confidence="confidence", start="start", end="end") if said else []
        return {
            "session_id": "s",
            "transcript": said.text if said else "",
            "is_final": final,
            "is_last": False,
            "speech_final": final,
            "language": "en",
            "words": timed,
        }

    def turn(self, said: Said) -> Messages:
        return [
            {"type": "speech_started"},
            self._result(said, final=False),
            self._result(said, final=True),
            {"type": "speech_ended"},
        ]

    def noise(self) -> Messages:
        started, ended = {"type": "speech_started"}, {"type": "speech_ended"}
        return [started, self._result(None, final=True), ended]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        timed = words(said, confidence="confidence", start="start", end="end") if said else []
        return {"status": "success", "transcription": said.text if said else "", "words": timed}


class Telnyx(Script):
    """developers.telnyx.com, speech to text over a websocket."""

    def turn(self, said: Said) -> Messages:
        sent = {"transcript": said.text, **said.measured(confidence=said.utterance)}
        return [{**sent, "is_final": final} for final in (False, True)]

    def noise(self) -> Messages:
        return [{"transcript": "", "is_final": True, "confidence": 0.0}]


class Gradium(Script):
    """gradium.ai/api_docs: text, then steps with the probability that nobody speaks."""

    def opened(self) -> Messages:
        ready = {"type": "ready", "request_id": "r", "sample_rate": 24000, "frame_size": 1920}
        return [{**ready, "delay_in_frames": 2, "delay_in_tokens": 2}]

    def _steps(self, number: int) -> list[dict[str, Any]]:
        silent = [{"horizon_s": n, "inactivity_prob": 0.99} for n in range(4)]
        return [{"type": "step", "vad": silent, "step_idx": n} for n in range(number)]

    def turn(self, said: Said) -> Messages:
        heard = [{"type": "text", "text": w.text, "start_s": w.start} for w in said.words]
        return [*heard, *self._steps(8)]

    def noise(self) -> Messages:
        return self._steps(8)


class Baseten(Script):
    """docs.baseten.co, streaming transcription."""

    def _result(self, said: Said | None, *, final: bool) -> dict[str, Any]:
        segments = []
        if said is not None:
            timed = words(said, start="start_time", end="end_time")
            times = {"start_time": said.start, "end_time": said.end}
            segments = [{"text": said.text, "word_timestamps": timed, **times}]
        return {
            "type": "transcription",
            "is_final": final,
            "transcript": said.text if said else "",
            "segments": segments,
            "language_code": "en",
            **(said.measured(confidence=said.utterance) if said else {}),
        }

    def turn(self, said: Said) -> Messages:
        return [self._result(said, final=False), self._result(said, final=True)]

    def noise(self) -> Messages:
        return [self._result(None, final=True)]


class Fireworks(Script):
    """docs.fireworks.ai, streaming transcription: segments with words."""

    ends_on = ("checkpoint_id", "trace_id")

    def _segments(self, said: Said, *, final: bool) -> dict[str, Any]:
        timed = words(said, confidence="probability")
        for entry in timed:
            entry |= {"is_final": final, "language": "en", "language_probability": said.language}
        return {"segments": [{"id": str(self.turns), "text": said.text, "words": timed}]}

    def turn(self, said: Said) -> Messages:
        heard = [self._numbered(said, final=final) for final in (False, True)]
        self.turns += 1
        return heard

    def _numbered(self, said: Said, *, final: bool) -> dict[str, Any]:
        message = self._segments(said, final=final)
        message["segments"][0]["id"] = self.turns
        return message

    def noise(self) -> Messages:
        return [{"segments": []}]


class Inworld(Script):
    """docs.inworld.ai, streaming transcription."""

    ends_on = ("closeStream",)

    def turn(self, said: Said) -> Messages:
        timed = words(said, confidence="confidence")
        heard: dict[str, Any] = {"transcript": said.text, "wordTimestamps": timed}
        heard |= said.measured(confidence=said.utterance)
        return [
            {"result": {"speechStarted": {"startTimeMs": 0}}},
            {"result": {"transcription": {**heard, "isFinal": False}}},
            {"result": {"transcription": {**heard, "isFinal": True}}},
        ]

    def noise(self) -> Messages:
        return [
            {"result": {"speechStarted": {"startTimeMs": 0}}},
            {"result": {"transcription": {"transcript": "", "isFinal": True}}},
        ]


class XAI(Script):
    """docs.x.ai, speech to text."""

    ends_on = ("audio.done",)

    def opened(self) -> Messages:
        return [{"type": "transcript.created"}]

    def turn(self, said: Said) -> Messages:
        timed = words(said, "text", confidence="confidence", start="start", end="end")
        heard = {"type": "transcript.partial", "text": said.text, "words": timed, "language": "en"}
        states = ((False, False), (True, False), (True, True))
        return [{**heard, "is_final": final, "speech_final": end} for final, end in states]

    def noise(self) -> Messages:
        blank = {"type": "transcript.partial", "text": "", "words": []}
        return [{**blank, "is_final": True, "speech_final": True}]

    def goodbye(self) -> Messages:
        return [{"type": "transcript.done", "text": "", "words": [], "duration": 1.0}]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        timed = (
            words(said, "text", confidence="confidence", start="start", end="end") if said else []
        )
        text = said.text if said else ""
        return {"text": text, "language": "en", "duration": 1.0, "words": timed}


class OpenAIRealtime(Script):
    """platform.openai.com, a transcription session of the realtime API."""

    _of_item = "conversation.item.input_audio_transcription"

    def opened(self) -> Messages:
        return [{"type": "session.created", "session": {"id": "s"}}]

    def _turn(self, said: Said | None) -> Messages:
        self.turns += 1
        item = {"item_id": f"item-{self.turns}"}
        start = (self.turns - 1) * 2000
        yield {
            "type": "input_audio_buffer.speech_started",
            "audio_start_ms": start + 200,
            **item,
        }
        yield {
            "type": "input_audio_buffer.speech_stopped",
            "audio_end_ms": start + 1200,
            **item,
        }
        if said is not None:
            yield {"type": f"{self._of_item}.delta", "delta": said.text, **item}
        tokens = {"type": "tokens", "total_tokens": 15, "input_tokens": 10, "output_tokens": 5}
        details = {"input_token_details": {"text_tokens": 0, "audio_tokens": 10}}
        logs = (
            [{"token": w.text, "logprob": w.log, "bytes": []} for w in said.words] if said else []
        )
        yield {
            "type": f"{self._of_item}.completed",
            "transcript": said.text if said else "",
            "logprobs": logs,
            "usage": {**tokens, **details},
            **item,
        }

    def turn(self, said: Said) -> Messages:
        return self._turn(said)

    def noise(self) -> Messages:
        return self._turn(None)


class Slng(Script):
    """docs.slng.ai, the bridge."""

    ends_on = ('"close"',)

    def heard(self, message: str) -> Messages:
        return [{"type": "ready", "session_id": "s"}] if '"init"' in message else []

    def turn(self, said: Said) -> Messages:
        timed = words(said, confidence="confidence", start="start", end="end")
        heard: dict[str, Any] = {"transcript": said.text, "words": timed, "language": "en"}
        heard |= said.measured(confidence=said.utterance)
        return [{"type": f"{kind}_transcript", **heard} for kind in ("partial", "final")]

    def noise(self) -> Messages:
        return [{"type": "final_transcript", "transcript": "", "confidence": 0.0, "words": []}]


class Rtzr(Script):
    """developers.rtzr.ai: a token by POST, then a websocket."""

    ends_on = ("EOS",)

    def answer(self, request: web.Request, said: Any) -> Any:
        return {"access_token": "none", "expire_at": 4_000_000_000}

    def turn(self, said: Said) -> Messages:
        timed = [
            {"text": w.text, "start_at": int(w.start * 1e3), "duration": 400, "spk": "0"}
            for w in said.words
        ]
        best = {"text": said.text, **said.measured(confidence=said.utterance), "words": timed}
        heard = {"start_at": int(said.start * 1e3), "duration": 900, "alternatives": [best]}
        return [{**heard, "seq": n, "final": final} for n, final in enumerate((False, True))]

    def noise(self) -> Messages:
        return [{"seq": 0, "final": True, "alternatives": [{"text": "", "confidence": 0.0}]}]


class Simplismart(Script):
    """docs.simplismart.ai: text in binary frames."""

    def turn(self, said: Said) -> Messages:
        return [said.text.encode()]

    def noise(self) -> Messages:
        return [b""]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        times = [[word.start, word.end] for word in said.words] if said else []
        text = [said.text] if said else []
        info = {"language": "en", "language_probability": said.language if said else 0.0}
        return {"request_id": "r", "transcription": text, "timestamps": times, "info": info}


class MetaMuse(Script):
    """Meta's realtime transcription: turns with an id."""

    ends_on = ("endStream",)

    def heard(self, message: str) -> Messages:
        return [] if "endStream" in message else [{"type": "ready", "sessionId": "s"}]

    def _progress(self) -> dict[str, Any]:
        return {"type": "audioProgress", "audioProcessedMs": 1000 * self.turns}

    def turn(self, said: Said) -> Messages:
        self.turns += 1
        turn = {"turnId": f"t{self.turns}"}
        return [
            {"type": "speechStart", **turn},
            {"type": "transcript", "transcript": said.text, **turn},
            self._progress(),
            {"type": "speechEnd", **turn},
            {"type": "speechComplete", "transcript": said.text, **turn},
        ]

    def noise(self) -> Messages:
        self.turns += 1
        turn = {"turnId": f"t{self.turns}"}
        return [
            {"type": "speechStart", **turn},
            {"type": "speechEnd", **turn},
            {"type": "speechComplete", "transcript": "", **turn},
        ]


class Sarvam(Script):
    """docs.sarvam.ai, streaming with voice events."""

    def _result(self, said: Said) -> dict[str, Any]:
        found = {
            "request_id": "r",
            "transcript": said.text,
            "language_code": "en-IN",
            "metrics": {"audio_duration": 1.5, "processing_latency": 0.1},
            **said.measured(language_probability=said.language),
        }
        return {"type": "data", "data": found}

    def _signal(self, kind: str) -> dict[str, Any]:
        return {"type": "events", "data": {"signal_type": kind, "occured_at": 1.0}}

    def turn(self, said: Said) -> Messages:
        return [self._signal("START_SPEECH"), self._result(said), self._signal("END_SPEECH")]

    def noise(self) -> Messages:
        blank = {"type": "data", "data": {"request_id": "r", "transcript": "", "metrics": {}}}
        return [self._signal("START_SPEECH"), blank, self._signal("END_SPEECH")]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        text = said.text if said else ""
        found = {"request_id": "r", "transcript": text, "language_code": "en-IN"}
        return {**found, "language_probability": said.language if said else 0.0}


class SarvamRealtime(Script):
    """docs.sarvam.ai, realtime v2."""

    ends_on = ('"end"',)

    def opened(self) -> Messages:
        return [{"event": "session.begin", "session_id": "s", "config": {"endpointing": "vad"}}]

    def turn(self, said: Said) -> Messages:
        heard: dict[str, Any] = {"text": said.text, "language": "en-IN"}
        heard |= said.measured(confidence=said.utterance, language_confidence=said.language)
        return [
            {"event": "vad.speech_start", "utterance_idx": self.turns},
            {"event": "transcript.partial", **heard},
            {"event": "vad.speech_end", "utterance_idx": self.turns},
            {"event": "transcript.final", "start_s": said.start, "end_s": said.end, **heard},
        ]

    def noise(self) -> Messages:
        return [
            {"event": "vad.speech_start"},
            {"event": "vad.speech_end"},
            {"event": "transcript.final", "text": ""},
        ]

    def goodbye(self) -> Messages:
        return [{"event": "session.end", "audio_duration_s": 1.0}]


class Nabrah(Script):
    """nabrah.ai: text that grows, with a token at the end of a turn."""

    ends_on = ('"eos"', '"end"', "end_of_stream")

    def heard(self, message: str) -> Messages:
        return [{"type": "ready"}] if "api_key" in message else []

    def turn(self, said: Said) -> Messages:
        self.turns += 1
        timed = words(said, confidence="confidence")
        for entry, word in zip(timed, said.words, strict=True):
            entry |= {"start_time": word.start * 1e3, "end_time": word.end * 1e3}
        heard = {"type": "transcript", "words": timed, "audio_processed": 1.5 * self.turns}
        return [
            {**heard, "text": said.text, "is_final": False},
            {**heard, "text": said.text + " <eot>", "is_final": True},
        ]

    def noise(self) -> Messages:
        self.turns += 1
        blank = {"type": "transcript", "words": [], "audio_processed": 1.5 * self.turns}
        return [{**blank, "text": "", "is_final": True}]


class Inference(Script):
    """LiveKit Inference: one protocol for the recognisers of several providers."""

    ends_on = ("session.close",)

    def heard(self, message: str) -> Messages:
        return [{"type": "session.created"}] if "session.create" in message else []

    def turn(self, said: Said) -> Messages:
        timed = words(said, confidence="confidence", start="start", end="end")
        heard = {"transcript": said.text, "language": "en", "start": said.start, "words": timed}
        heard |= {"duration": said.end - said.start, **said.measured(confidence=said.utterance)}
        kinds = ("interim", "preflight", "final")
        return [
            {"type": "start_of_speech"},
            *({"type": f"{kind}_transcript", **heard} for kind in kinds),
        ]

    def noise(self) -> Messages:
        return [{"type": "final_transcript", "transcript": "", "language": "en", "words": []}]

    def goodbye(self) -> Messages:
        return [{"type": "session.finalized"}, {"type": "session.closed"}]


class Speechmatics(Script):
    """docs.speechmatics.com, agent API: segments and turns."""

    ends_on = ("EndOfStream",)

    def heard(self, message: str) -> Messages:
        if '"StartRecognition"' in message or '"StartSession"' in message:
            return [{"message": "RecognitionStarted", "id": "s", "language_pack_info": {}}]
        return []

    def _segment(self, kind: str, said: Said) -> dict[str, Any]:
        results = [
            {
                "type": "word",
                "start_time": w.start,
                "end_time": w.end,
                "alternatives": [
                    {"content": w.text, "language": "en", **said.measured(confidence=w.confidence)}
                ],
            }
            for w in said.words
        ]
        times = {"start_time": said.start, "end_time": said.end}
        return {
            "message": kind,
            "metadata": {**times, "transcript": said.text},
            "segment": {"transcript": said.text, "speaker": "S1", "results": results},
        }

    def turn(self, said: Said) -> Messages:
        self.turns += 1
        turn = {"turn_id": self.turns, "metadata": {"start_time": 1.0, "end_time": 2.0}}
        return [
            {"message": "StartOfTurn", **turn},
            self._segment("AddPartialSegment", said),
            self._segment("AddSegment", said),
            {"message": "EndOfTurn", **turn},
        ]

    def noise(self) -> Messages:
        self.turns += 1
        turn = {"turn_id": self.turns, "metadata": {"start_time": 1.0, "end_time": 2.0}}
        return [{"message": "StartOfTurn", **turn}, {"message": "EndOfTurn", **turn}]

    def goodbye(self) -> Messages:
        return [{"message": "EndOfTranscript"}]


class Gnani(Script):
    """docs.gnani.ai, streaming."""

    def opened(self) -> Messages:
        return [{"type": "connected"}]

    def turn(self, said: Said) -> Messages:
        heard = {"type": "transcript", "text": said.text, "segment_id": str(self.turns)}
        return [{**heard, **said.measured(confidence=said.utterance), "is_final": True}]

    def noise(self) -> Messages:
        return [{"type": "transcript", "text": "", "is_final": True}]

    def answer(self, request: web.Request, said: Said | None) -> Any:
        text = said.text if said else ""
        return {"success": True, "request_id": "r", "transcript": text}
