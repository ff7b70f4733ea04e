#!/usr/bin/env bash
# livekit-agents 1.8.9, AgentSession as it comes: requests to the model for one sentence of a caller.
#
# Guess: one, when the caller has finished.
# Seen:  one, if the recogniser sends interim results. If it sends preflight results (words it expects to
#        stay, as several do), each that differs from the one before asks the model and the last answer is
#        thrown away, three times at most: four requests with the whole conversation for one reply.
# Hurts: a change of recogniser multiplies the model's bill, and nothing in the agent's code says so.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice import io

logging.disable(logging.CRITICAL)
WORDS = "I would like to book a table for four".split()
Kind = stt.SpeechEventType


class Microphone(io.AudioInput):
    def __init__(self):
        super().__init__(label="microphone")

    async def __anext__(self):
        await asyncio.sleep(0.02)
        return rtc.AudioFrame(bytes(640), 16000, 1, 320)


class Recogniser(stt.STT):
    def __init__(self, partial):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.partial = partial

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, *, language=None, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Hears(stt=self, conn_options=conn_options)


class Hears(stt.RecognizeStream):
    async def _run(self):
        await asyncio.sleep(0.2)
        self._say(Kind.START_OF_SPEECH)
        for known in range(1, len(WORDS)):
            self._say(self._stt.partial, " ".join(WORDS[:known]))
            await asyncio.sleep(0.2)
        self._say(Kind.FINAL_TRANSCRIPT, " ".join(WORDS))
        self._say(Kind.END_OF_SPEECH)
        async for _ in self._input_ch: ...

    def _say(self, kind, text=""):
        said = [stt.SpeechData(language="en", text=text, confidence=0.9)] if text else []
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=said))


class Model(llm.LLM):
    def __init__(self):
        super().__init__()
        self.asked = []

    def chat(self, *, chat_ctx, conn_options=None, **kwargs):
        self.asked.append(chat_ctx.items[-1].text_content)
        return Answers(self, chat_ctx=chat_ctx, tools=[], conn_options=conn_options)


class Answers(llm.LLMStream):
    async def _run(self):
        delta = llm.ChoiceDelta(role="assistant", content="Certainly.")
        self._event_ch.send_nowait(llm.ChatChunk(id="reply", delta=delta))


async def main(partial):
    model = Model()
    session = AgentSession(stt=Recogniser(partial), llm=model, turn_detection="stt")
    session.input.audio = Microphone()
    await session.start(Agent(instructions=""))
    await asyncio.sleep(5)
    await session.aclose()
    print(f"{partial.value}: the model was asked about", *(repr(text) for text in model.asked))


for partial in (Kind.INTERIM_TRANSCRIPT, Kind.PREFLIGHT_TRANSCRIPT):
    asyncio.run(main(partial))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
interim_transcript: the model was asked about 'I would like to book a table for four'
preflight_transcript: the model was asked about 'I' 'I would' 'I would like' 'I would like to book a table for four'
SEEN
