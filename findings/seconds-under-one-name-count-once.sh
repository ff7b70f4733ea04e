#!/usr/bin/env bash
# livekit-evals 0.3.2 with livekit-plugins-deepgram 1.8.9: how long the recogniser listened.
#
# Guess: what the recogniser reports, added up: Deepgram's plugin reports every few seconds.
# Seen:  reports of one connection carry one request id. livekit-evals takes a second report under the same
#        id for a repetition and drops it, so of a call there is the first report's time only.
# Hurts: the recogniser's share of a call's cost: a few seconds of every call, be it a minute or an hour.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 \
  livekit-plugins-deepgram==1.8.9 livekit-evals==0.3.2
cat >"$dir/look.py" <<'PY'
import asyncio
import json
import logging

import aiohttp
from aiohttp import web
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.plugins import deepgram
from livekit_evals import WebhookHandler

logging.disable(logging.CRITICAL)
RATE, SECONDS = 16000, 17
TENTH = rtc.AudioFrame(bytes(2 * RATE // 10), RATE, 1, RATE // 10)
NO_WORDS = {"alternatives": [{"transcript": "", "confidence": 0.0, "words": []}]}
RESULT = {"type": "Results", "channel_index": [0, 1], "duration": 1.0, "start": 0.0, "is_final": True,
          "speech_final": False, "channel": NO_WORDS, "metadata": {"request_id": "r"}}


async def listen(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json(RESULT)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] == "CloseStream":
            break
    await socket.close()
    return socket


async def main():
    app = web.Application()
    app.router.add_get("/{anything:.*}", listen)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/listen"
    async with aiohttp.ClientSession() as http:
        recogniser, reported = deepgram.STT(api_key="not a key", base_url=url, http_session=http), []
        recogniser.on("metrics_collected", reported.append)
        session = AgentSession(stt=recogniser)
        await session.start(agent=Agent(instructions="Listen."))
        handler = WebhookHandler("http://127.0.0.1/", "not a key", rtc.Room(), False,
                                 disable_recording=True)
        await handler.attach_to_session(session)
        async with recogniser.stream() as stream:
            for _ in range(SECONDS * 10):
                stream.push_frame(TENTH)
                await asyncio.sleep(0.1)
            stream.end_input()
            async for _ in stream:
                pass
        reported = [m for m in reported if m.audio_duration]  # the others say how long connecting took
        seconds, ids = [m.audio_duration for m in reported], {m.request_id for m in reported}
        counted = handler.usage_metrics["stt_duration_seconds"]
        whole = sum(seconds) > SECONDS - 1
        print("reports:", "several" if len(seconds) > 2 else "few", "under", len(ids), "id")
        print(f"they add up to the call: {whole}, counted is the first of them: {counted == seconds[0]}")
        await session.aclose()
    await runner.cleanup()


asyncio.run(main())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
reports: several under 1 id
they add up to the call: True, counted is the first of them: True
SEEN
