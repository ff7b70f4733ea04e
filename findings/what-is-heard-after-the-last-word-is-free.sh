#!/usr/bin/env bash
# livekit-plugins-assemblyai 1.8.9: how many seconds of audio the recogniser reports.
#
# Guess: all that were sent, at the latest when the stream ends; Deepgram's plugin reports every 5 s.
# Seen:  a report comes with the end of each turn and at no other time. What is sent after the last words is
#        never reported, and a call in which nobody says a word reports nothing at all.
# Hurts: the provider bills the connection's time. The calls that are forgotten, on hold or silent cost most
#        and are the ones whose metrics say zero.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 \
  livekit-plugins-assemblyai==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import json
import logging

import aiohttp
from aiohttp import web
from livekit import rtc
from livekit.plugins import assemblyai

logging.disable(logging.CRITICAL)
RATE, SECONDS = 16000, 10
TENTH = rtc.AudioFrame(bytes(2 * RATE // 10), RATE, 1, RATE // 10)
WORD = {"text": "Hello", "start": 0, "end": 500, "confidence": 0.9, "word_is_final": True}
TURN = {"type": "Turn", "turn_order": 0, "turn_is_formatted": True, "end_of_turn": True, "utterance": "",
        "transcript": "Hello", "end_of_turn_confidence": 0.9, "words": [WORD]}
spoken_until, received = 0, 0.0


async def listen(request):
    global received
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"type": "Begin", "id": "s", "expires_at": 9999999999})
    received, said = 0.0, not spoken_until
    async for message in socket:
        if message.type == aiohttp.WSMsgType.BINARY:
            received += len(message.data) / 2 / RATE
        elif json.loads(message.data)["type"] == "Terminate":
            break
        if not said and received > spoken_until - 0.01:
            said = True
            await socket.send_json(TURN)
            await asyncio.sleep(0.2)
    await socket.send_json({"type": "Termination", "audio_duration_seconds": received,
                            "session_duration_seconds": received})
    await socket.close()
    return socket


async def call(http, url):
    recogniser, reported = assemblyai.STT(api_key="not a key", base_url=url, http_session=http), []
    recogniser.on("metrics_collected", lambda m: reported.append(m.audio_duration))
    async with recogniser.stream() as stream:
        for part in range(SECONDS * 10):
            stream.push_frame(TENTH)
            if part + 1 == spoken_until * 10:
                await asyncio.sleep(0.5)  # the answer comes
        stream.end_input()
        async for _ in stream:
            pass
    return f"{received:.0f} s sent, {sum(reported):.0f} s reported"


async def main():
    global spoken_until
    app = web.Application()
    app.router.add_get("/{anything:.*}", listen)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        for spoken_until in (10, 2, 0):
            told = await call(http, f"ws://127.0.0.1:{runner.addresses[0][1]}")
            print(f"spoken for {spoken_until} s: {told}")
    await runner.cleanup()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
spoken for 10 s: 10 s sent, 10 s reported
spoken for 2 s: 10 s sent, 2 s reported
spoken for 0 s: 10 s sent, 0 s reported
SEEN
