#!/usr/bin/env bash
# livekit-plugins-aws 1.8.9, the model at Bedrock: how many requests `max_retry` allows.
#
# Guess: 1 + max_retry, as with the OpenAI and Anthropic plugins, which switch their SDK's own retries off;
#        so does this plugin's voice.
# Seen:  five times as many. The model's client keeps botocore's default, five attempts for what a busy
#        provider says, and each of LiveKit's tries makes all of them: with max_retry=1 ten, as it comes 20.
# Hurts: a provider that is busy gets twenty requests for one reply, and the caller waits for all of them;
#        `max_retry=0`, where a fallback is to take over at once, still means five.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 livekit-plugins-aws==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import os

from aiohttp import web
from livekit.agents import APIError, llm
from livekit.agents.types import APIConnectOptions
from livekit.plugins import aws

logging.disable(logging.CRITICAL)
OPTIONS = APIConnectOptions(max_retry=1, retry_interval=0.0)
asked = 0


async def busy(_):
    global asked
    asked += 1
    kind = {"x-amzn-errortype": "ServiceUnavailableException"}
    return web.json_response({"message": "try again later"}, status=503, headers=kind)


async def main():
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", busy)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = url
    model = aws.LLM(
        model="amazon.nova-lite-v1:0", api_key="not", api_secret="a key", region="us-east-1"
    )
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    try:
        async with model.chat(chat_ctx=context, conn_options=OPTIONS) as stream:
            async for _ in stream:
                pass
    except APIError:
        print(f"max_retry={OPTIONS.max_retry}: gave up after {asked} requests")
    await runner.cleanup()


asyncio.run(main())
PY
for variable in AWS_MAX_ATTEMPTS AWS_RETRY_MODE AWS_PROFILE; do unset "$variable"; done
AWS_CONFIG_FILE=/dev/null "$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
max_retry=1: gave up after 10 requests
SEEN
