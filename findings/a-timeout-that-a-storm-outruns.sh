#!/usr/bin/env bash
# livekit-agents 1.8.9, AgentSession(transcription_timeout=...): speech that gets no transcript.
#
# Guess: one `user_transcription_timeout` for each time that somebody seemed to speak and no words came.
# Seen:  one clock for the session, and the next beginning of speech stops it. Ten in a second each: ten
#        events. Ten that follow each other faster than the timeout: one, after the last.
# Hurts: whoever counts these events to notice noise; the worse the noise, the fewer there are.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit import rtc
from livekit.agents import Agent, AgentSession, stt, vad
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice import io

logging.disable(logging.CRITICAL)
TIMES, SPEECH, TIMEOUT = 10, 0.1, 0.5


class Microphone(io.AudioInput):
    def __init__(self):
        super().__init__(label="microphone")

    async def __anext__(self):
        await asyncio.sleep(0.02)
        return rtc.AudioFrame(bytes(640), 16000, 1, 320)


class Detector(vad.VAD):
    def __init__(self, pause):
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.02))
        self.pause = pause

    def stream(self):
        return Detection(self)


class Detection(vad.VADStream):
    async def _main_task(self):
        for _ in range(TIMES):
            await asyncio.sleep(self._vad.pause)
            self._say(vad.VADEventType.START_OF_SPEECH, 0.0)
            await asyncio.sleep(SPEECH)
            self._say(vad.VADEventType.END_OF_SPEECH, SPEECH)
        async for _ in self._input_ch: ...

    def _say(self, what, spoken):
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=what, samples_index=0, timestamp=0.0, speech_duration=spoken, silence_duration=0.0
            )
        )


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, *, language=None, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return NoWords(stt=self, conn_options=conn_options)


class NoWords(stt.RecognizeStream):
    async def _run(self):
        async for _ in self._input_ch: ...


async def events(pause):
    session, seen, speaking = AgentSession(transcription_timeout=TIMEOUT), [], []
    session.input.audio = Microphone()
    session.on("user_transcription_timeout", seen.append)
    session.on("user_state_changed", lambda it: speaking.append(it.new_state == "speaking"))
    await session.start(Agent(instructions="", stt=Recogniser(), vad=Detector(pause)))
    await asyncio.sleep((pause + SPEECH) * TIMES + 3 * TIMEOUT)
    await session.aclose()
    return f"{sum(speaking)} times speech without words, {len(seen)} events"


print("each longer apart than the timeout:", asyncio.run(events(2 * TIMEOUT)))
print("each sooner than the timeout:", asyncio.run(events(TIMEOUT / 2)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
each longer apart than the timeout: 10 times speech without words, 10 events
each sooner than the timeout: 10 times speech without words, 1 events
SEEN
