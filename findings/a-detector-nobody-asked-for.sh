#!/usr/bin/env bash
# livekit-agents 1.5.17 and 1.8.9: a session whose recogniser decides when a turn ends
# (turn_detection="stt") and that was given no voice activity detector.
#
# Guess: it has none, in both.
# Seen:  since 1.6 the bundled silero detector runs on all audio of such a session, unless it is
#        told vad=None: more CPU than all the rest of the session takes.
# Hurts: a worker that holds fewer calls after an upgrade, with "slower than realtime" in its log.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import sys
import time
import warnings

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, Agent, AgentSession, stt
from livekit.agents.voice import io

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
SECONDS = 8


class Microphone(io.AudioInput):
    """Silence, twenty milliseconds at a time, for eight seconds."""

    def __init__(self):
        super().__init__(label="microphone")
        self.left = SECONDS * 50

    async def __anext__(self):
        if not self.left:
            await asyncio.sleep(3600)
        self.left -= 1
        await asyncio.sleep(0.02)
        return rtc.AudioFrame(bytes(640), 16000, 1, 320)


class Stream(stt.RecognizeStream):
    async def _run(self):
        async for _ in self._input_ch:
            pass


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, *, language=NOT_GIVEN, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Stream(stt=self, conn_options=conn_options)


async def call(**options):
    judged = 0
    session = AgentSession(stt=Recogniser(), turn_detection="stt", **options)

    @session.on("metrics_collected")
    def measured(event):
        nonlocal judged
        judged += getattr(event.metrics, "inference_count", 0)

    session.input.audio = Microphone()
    await session.start(Agent(instructions=""))
    began = time.process_time()
    await asyncio.sleep(SECONDS)
    spent = time.process_time() - began
    await session.aclose()
    return session.vad, judged, spent


async def main():
    await call(vad=None)  # imports
    none, _, without = await call(vad=None)
    some, judged, spent = await call()
    print(f"CPU of {SECONDS} s: {without:.2f} s, and {spent:.2f} s as it comes", file=sys.stderr)
    if some is None:
        print("no detector")
    else:
        print(
            some.model, "hears", "all" if judged > 200 else f"{judged} windows",
            "and takes", "more" if spent > 2 * without else "less", "than all the rest",
        )


asyncio.run(main())
PY
for release in 1.5.17 1.8.9; do
  python3 -m venv "$dir/$release"
  "$dir/$release/bin/pip" install -q --disable-pip-version-check "livekit-agents==$release" httpx
  echo "$release: $("$dir/$release/bin/python" "$dir/look.py")" | tee -a "$dir/seen"
done
diff "$dir/seen" - <<'SEEN'
1.5.17: no detector
1.8.9: silero hears all and takes more than all the rest
SEEN
