#!/usr/bin/env bash
# livekit-agents 1.8.9, stt.FallbackAdapter: how long a recogniser that failed once is listened to.
#
# Guess: after a failure the audio goes to the next recogniser, and the failed one gets a short probe.
# Seen:  the failed one gets a stream of its own with all the audio, until it returns a final transcript
#        with words. Where nobody speaks (hold, a forgotten call) that is to the end of the call: both
#        meters run. Once it has answered, the call stays with the second one all the same.
# Hurts: bills by open socket or by audio: twice the price of a silent call after one hiccup.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit import rtc
from livekit.agents import APIConnectionError, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN

logging.disable(logging.CRITICAL)
TENTH = rtc.AudioFrame(b"\0\0" * 1600, 16000, 1, 1600)


class Stream(stt.RecognizeStream):
    async def _run(self):
        recogniser = self._stt
        recogniser.opened += 1
        if recogniser.hiccup and recogniser.opened == 1:
            raise APIConnectionError("closed by the provider")
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            recogniser.frames += 1
            if recogniser.somebody_speaks and recogniser.frames % 20 == 0:
                words = stt.SpeechData(language="en", text="good morning")
                final = stt.SpeechEventType.FINAL_TRANSCRIPT
                self._event_ch.send_nowait(stt.SpeechEvent(type=final, alternatives=[words]))


class Recogniser(stt.STT):
    def __init__(self, *, hiccup, somebody_speaks):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))
        self.hiccup, self.somebody_speaks, self.opened, self.frames = hiccup, somebody_speaks, 0, 0

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, *, language=NOT_GIVEN, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Stream(stt=self, conn_options=conn_options)


async def minute(somebody_speaks):
    first = Recogniser(hiccup=True, somebody_speaks=somebody_speaks)
    second = Recogniser(hiccup=False, somebody_speaks=somebody_speaks)
    adapter = stt.FallbackAdapter([first, second], max_retry_per_stt=0)
    stream = adapter.stream()

    async def listen():
        async for _ in stream:
            pass

    listening = asyncio.ensure_future(listen())
    for _ in range(600):
        stream.push_frame(TENTH)
        await asyncio.sleep(0.001)
    await stream.aclose()
    listening.cancel()
    await adapter.aclose()
    whole = [r.frames > 550 for r in (first, second)]
    return f"first heard {'all' if whole[0] else 'the beginning'}, second {'all' if whole[1] else 'a part'}"


for speaks in (True, False):
    print("a minute of speech: " if speaks else "a minute of silence:", asyncio.run(minute(speaks)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a minute of speech:  first heard the beginning, second all
a minute of silence: first heard all, second all
SEEN
