#!/usr/bin/env bash
# livekit-plugins-anthropic 1.8.9: how many tokens a reply had, from what Anthropic's stream says.
#
# Guess: the last message_delta's number: Anthropic documents its usage as cumulative.
# Seen:  the number of message_start is added to it, though the sum has it already.
# Hurts: each reply is billed a few output tokens too many; with several message_delta, all of them add up.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 \
  livekit-plugins-anthropic==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import json

from aiohttp import web
from livekit.agents import llm
from livekit.plugins import anthropic

START = {"id": "r", "type": "message", "role": "assistant", "content": [], "model": "m",
         "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
STREAM = [
    {"type": "message_start", "message": START},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 50}},
    {"type": "message_stop"},
]


async def answer(_):
    body = "".join(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in STREAM)
    return web.Response(text=body, content_type="text/event-stream")


async def look():
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    model = anthropic.LLM(api_key="not a key", base_url=url)
    model.on("metrics_collected", lambda m: print(f"said: 50 in all; reported: {m.completion_tokens}"))
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    async with model.chat(chat_ctx=context) as stream:
        async for _ in stream:
            pass
    await runner.cleanup()


asyncio.run(look())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
said: 50 in all; reported: 51
SEEN
