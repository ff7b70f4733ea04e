#!/usr/bin/env bash
# livekit-plugins-clova 1.8.9, STT.recognize(): the kind of result that a whole recording gets.
#
# Guess: recognize() answers with a FINAL_TRANSCRIPT and the confidence that CLOVA sent.
# Seen:  an INTERIM_TRANSCRIPT at confidence 0.0, although the provider's number was looked at.
# Hurts: whoever waits for finals, or judges a result by its confidence.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check \
  livekit-agents==1.8.9 livekit-plugins-clova==1.8.9 2>/dev/null
cat >"$dir/look.py" <<'PY'
import asyncio
import warnings

warnings.simplefilter("ignore")
import aiohttp
from aiohttp import web
from livekit import rtc
from livekit.plugins import clova


async def main():
    async def answer(request):
        return web.json_response({"result": "COMPLETED", "text": "hello", "confidence": 0.93})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        stt = clova.STT(secret="none", invoke_url=url, http_session=http)
        event = await stt.recognize([rtc.AudioFrame(bytes(32000), 16000, 1, 16000)])
        best = event.alternatives[0]
        print(f"{event.type.value}: {best.text!r} at {best.confidence}")
    await runner.cleanup()


asyncio.run(asyncio.wait_for(main(), 60))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
interim_transcript: 'hello' at 0.0
SEEN
