#!/usr/bin/env bash
# livekit-agents and livekit-plugins-openai 1.8.9, LLM(service_tier="priority"): who learns which tier served.
#
# Guess: whoever learns how many tokens a request had learns the tier as well: OpenAI answers with the one that
#        served (it may not be the one that was asked for), and the same tokens cost up to twice as much in it.
# Seen:  the last chunk of the reply has it beside the tokens. The metrics that are made of that chunk, the
#        session's usage by model and LiveKit's own spans have the tokens only: two requests for one sentence,
#        at two prices, are one row.
# Hurts: every estimate from LiveKit's metrics; ours takes the tier that was asked for from the model's options.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 livekit-plugins-openai==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import json
import logging

from aiohttp import web
from livekit.agents import Agent, AgentSession, llm, telemetry
from livekit.plugins import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

logging.disable(logging.CRITICAL)
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
telemetry.set_tracer_provider(provider)


async def completions(request):
    """OpenAI's, in the tier that was asked for."""
    tier = (await request.json()).get("service_tier", "default")
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1"}
    delta = {"index": 0, "delta": {"role": "assistant", "content": "Hello."}, "finish_reason": None}
    used = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part in ({"choices": [delta]}, {"choices": [], "usage": used}):
        line = json.dumps({**common, **part, "service_tier": tier})
        await response.write(f"data: {line}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def has(what, tier):
    return "with its tier" if tier in repr(what) else "without its tier"


async def main():
    app = web.Application()
    app.router.add_post("/chat/completions", completions)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]

    def model(**tier):
        url = f"http://127.0.0.1:{port}"
        return openai.LLM(model="gpt-4.1", api_key="none", base_url=url, **tier)

    dear, usual = model(service_tier="priority"), model()
    chat = llm.ChatContext.empty()
    chat.add_message(role="user", content="Hello?")
    usages = [chunk.usage async for chunk in dear.chat(chat_ctx=chat) if chunk.usage]
    print("the reply's last chunk:", usages[0].prompt_tokens, "tokens,", has(usages, "priority"))

    metrics = []
    for one in (dear, usual):
        one.on("metrics_collected", metrics.append)
    session = AgentSession()
    await session.start(Agent(instructions="", llm=dear))
    spans.clear()
    await session.run(user_input="Hello?")
    session.update_agent(Agent(instructions="", llm=usual))
    await session.run(user_input="Hello?")
    await session.aclose()
    print("metrics:", metrics[0].prompt_tokens, "tokens,", has(metrics, "priority"))
    rows = session.usage.model_usage
    print("session.usage:", [row.input_tokens for row in rows], "tokens,", has(rows, "priority"))
    seen = [dict(span.attributes) for span in spans.get_finished_spans()]
    counted = [one["gen_ai.usage.input_tokens"] for one in seen if "gen_ai.usage.input_tokens" in one]
    print("spans:", counted, "tokens,", has(seen, "priority"))
    await runner.cleanup()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the reply's last chunk: 1000 tokens, with its tier
metrics: 1000 tokens, without its tier
session.usage: [2000] tokens, without its tier
spans: [1000, 1000] tokens, without its tier
SEEN
