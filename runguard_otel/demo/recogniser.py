"""PocketSphinx as a streaming LiveKit recogniser: offline, small, and honest about what it heard.

It recognises the sentences of one small grammar. Speech outside of it comes out as nothing, or as
the nearest sentence with a low confidence: what any recogniser does with voices that do not speak
to the agent. Its own endpointer (WebRTC's voice detection) cuts the audio, as streaming providers
do, so noise that sounds like a voice yields a blank final result.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, stt

__all__ = ["GRAMMAR", "Recogniser", "confidence_of"]

RATE: Final = 16_000
_PADDING: Final = bytes(int(0.4 * RATE) * 2)
"""Silence around an utterance; the decoder needs it to find the ends of the grammar."""

GRAMMAR: Final = """#JSGF V1.0;
grammar restaurant;
public <utterance> = <guest> | <house>;
<guest> = [hello] i would like to (book | reserve) a table for <number>
        | can i (book | reserve) a table for <number> [tonight]
        | what time do you (open | close) [tonight]
        | cancel my (table | booking) [please]
        | yes [please] | no thank you;
<house> = your table for <number> is booked for <number> o clock
        | i am sorry i did not catch that
        | [could you] please say it again;
<number> = two | three | four | five | six | seven | eight;
"""


def confidence_of(probability: float, words: int) -> float:
    """The mean probability of a word, from that of the whole sentence.

    A sentence's posterior falls with its length; its geometric mean per word compares short and
    long ones. With this grammar spoken sentences get 0.65 and more, other talk 0.6 and less.

    Args:
        probability: Posterior of the best path, 0..1.
        words: How many words it has.
    """
    if words < 1 or probability <= 0:
        return 0.0
    return float(round(min(1.0, probability) ** (1 / words), 2))


class Recogniser(stt.STT[Any]):
    """A LiveKit STT that runs on this machine.

    Counts what a provider would bill: streams opened and seconds of audio sent.
    """

    def __init__(self) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=True, interim_results=False),
        )
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=RATE, lm=None, loglevel="FATAL")
        self._decoder.add_jsgf_string("restaurant", GRAMMAR)
        self._decoder.activate_search("restaurant")
        # One thread: the decoder is not for sharing, and decoding must not hold up the event loop.
        self._pool = ThreadPoolExecutor(1, "recogniser")
        self.streams: list[_Stream] = []

    @property
    def provider(self) -> str:
        """The vendor's name."""
        return "pocketsphinx"

    @property
    def model(self) -> str:
        """The model's name."""
        return "en-us-grammar"

    @property
    def seconds(self) -> float:
        """Audio sent to all streams, in seconds."""
        return sum(stream.seconds for stream in self.streams)

    def stream(
        self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> stt.RecognizeStream:
        """Open a stream; it is kept in ``streams``."""
        opened = _Stream(stt=self, conn_options=conn_options, sample_rate=RATE)
        self.streams.append(opened)
        return opened

    @property
    def open_seconds(self) -> float:
        """How long all streams have been open, in seconds, all together."""
        return sum(stream.open_seconds for stream in self.streams)

    async def hear(self, pcm: bytes) -> tuple[str, float]:
        """What was said in ``pcm`` (16 bit, 16 kHz), and how sure that is."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._decode, pcm)

    def _decode(self, pcm: bytes) -> tuple[str, float]:
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(_PADDING + pcm + _PADDING, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        if found is None or not found.hypstr:
            return "", 0.0
        return found.hypstr, confidence_of(found.prob, len(found.hypstr.split()))

    async def aclose(self) -> None:
        """Give the thread back."""
        self._pool.shutdown(wait=False)

    async def _recognize_impl(self, buffer: Any, **_: Any) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser only streams")


class _Stream(stt.RecognizeStream):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.seconds = 0.0
        self._opened = time.monotonic()
        self._closed: float | None = None
        self._task.add_done_callback(lambda _: self._end())

    @property
    def open_seconds(self) -> float:
        """How long the stream has been open, in seconds."""
        return (self._closed or time.monotonic()) - self._opened

    def _end(self) -> None:
        self._closed = time.monotonic()

    async def _run(self) -> None:
        from pocketsphinx import Endpointer

        endpointer = Endpointer(sample_rate=RATE)
        waiting, spoken, talking = bytearray(), bytearray(), False
        async for item in self._input_ch:
            if not isinstance(item, rtc.AudioFrame):
                continue
            self.seconds += item.duration
            waiting += item.data.cast("b")
            while len(waiting) >= endpointer.frame_bytes:
                voiced = endpointer.process(bytes(waiting[: endpointer.frame_bytes]))
                del waiting[: endpointer.frame_bytes]
                if voiced is not None:
                    spoken += voiced
                    if not talking:
                        talking = True
                        self._say(stt.SpeechEventType.START_OF_SPEECH)
                if talking and not endpointer.in_speech:
                    await self._finish(bytes(spoken))
                    spoken.clear()
                    talking = False
        if talking:
            await self._finish(bytes(spoken))

    async def _finish(self, pcm: bytes) -> None:
        recogniser: Any = self._stt
        text, confidence = await recogniser.hear(pcm)
        data: Any = stt.SpeechData  # `language` is a plain str before 1.6
        heard = data(language="en", text=text, confidence=confidence)
        self._say(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[heard])
        self._say(stt.SpeechEventType.END_OF_SPEECH)
        usage = stt.RecognitionUsage(audio_duration=len(pcm) / 2 / RATE)
        self._say(stt.SpeechEventType.RECOGNITION_USAGE, recognition_usage=usage)

    def _say(self, kind: stt.SpeechEventType, **fields: Any) -> None:
        if not self._event_ch.closed:
            self._event_ch.send_nowait(stt.SpeechEvent(type=kind, **fields))
