#!/usr/bin/env bash
# livekit-agents 1.8.9, stt.StreamAdapter (a batch recogniser behind a voice detector): when speech starts.
#
# Guess: START_OF_SPEECH comes when the voice detector hears it; only transcripts wait for the provider.
# Seen:  the adapter asks the provider inside the loop that reads the detector. Whoever goes on speaking
#        while the sentence before is recognised starts speaking only when that answer is there: start and
#        end of the second sentence arrive together, one round trip late.
# Hurts: interruptions and everything measured from the start of speech; not seen with quick providers.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import time

from livekit import rtc
from livekit.agents import stt, vad
from livekit.agents.types import NOT_GIVEN

logging.disable(logging.CRITICAL)
FRAME = rtc.AudioFrame(b"\0\0" * 160, 16000, 1, 160)
ROUND_TRIP = 2.0
TURNS = [vad.VADEventType.START_OF_SPEECH, vad.VADEventType.END_OF_SPEECH] * 2


class Voice(vad.VADStream):
    async def _main_task(self):
        turns = iter(TURNS)  # one for each frame
        async for _ in self._input_ch:
            times = {"samples_index": 0, "timestamp": 0.0, "silence_duration": 0.5}
            self._event_ch.send_nowait(
                vad.VADEvent(type=next(turns), speech_duration=0.5, frames=[FRAME], **times)
            )


class Detector(vad.VAD):
    def __init__(self):
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.1))

    def stream(self):
        return Voice(self)


class Batch(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))

    async def _recognize_impl(self, buffer, *, language=NOT_GIVEN, conn_options):
        await asyncio.sleep(ROUND_TRIP)
        words = stt.SpeechData(language="en", text="good morning")
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[words])


async def main():
    stream = stt.StreamAdapter(stt=Batch(), vad=Detector()).stream()
    began = time.monotonic()

    async def listen():
        async for event in stream:
            late = time.monotonic() - began > ROUND_TRIP * 0.9
            print(event.type.value, "after the round trip" if late else "at once")

    listening = asyncio.ensure_future(listen())
    for _ in TURNS:  # a sentence, and the next one a fifth of a second later
        stream.push_frame(FRAME)
        await asyncio.sleep(0.2)
    await asyncio.sleep(2.5 * ROUND_TRIP)
    await stream.aclose()
    listening.cancel()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
start_of_speech at once
end_of_speech at once
final_transcript after the round trip
start_of_speech after the round trip
end_of_speech after the round trip
final_transcript after the round trip
SEEN
