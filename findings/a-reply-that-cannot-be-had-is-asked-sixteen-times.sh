#!/usr/bin/env bash
# livekit-agents and livekit-plugins-openai 1.8.9, llm.FallbackAdapter in an AgentSession: one reply while both of
# its models are down.
#
# Guess: two requests. The adapter falls back instead of retrying (max_retry_per_llm=0), and its own chat() comes
#        with no retries; when the last model has failed, the reply has.
# Seen:  sixteen. Each model that fails gets a probe with the whole conversation at once, which makes four; and a
#        session passes its own retries, three, to whatever model it has, the adapter too. So all of it is done
#        four times, one after the other.
# Hurts: a provider in trouble gets eight requests for every caller's turn, and the caller hears nothing meanwhile:
#        four seconds where both refuse at once. conn_options of the session are the way out.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 livekit-plugins-openai==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import collections
import logging

from aiohttp import web
from livekit.agents import Agent, AgentSession, APIConnectOptions, llm
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins import openai

logging.disable(logging.CRITICAL)
asked = collections.Counter()


async def refuse(request):
    asked[(await request.json())["model"]] += 1
    return web.json_response({"error": {"message": "overloaded"}}, status=503)


async def by_itself(adapter):
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Hello")
    try:
        async with adapter.chat(chat_ctx=context) as stream:
            async for _ in stream:
                pass
    except Exception:
        pass


async def in_a_session(adapter, **options):
    session = AgentSession(llm=adapter, vad=None, **options)
    await session.start(Agent(instructions="Be brief."))
    await session.generate_reply(user_input="Hello").wait_for_playout()
    await session.aclose()


async def main():
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    none = SessionConnectOptions(llm_conn_options=APIConnectOptions(max_retry=0))
    for name, way, options in (
        ("chat() by itself", by_itself, {}),
        ("a session as it comes", in_a_session, {}),
        ("a session told not to retry", in_a_session, {"conn_options": none}),
    ):
        models = [openai.LLM(model=model, api_key="not a key", base_url=url) for model in ("first", "second")]
        asked.clear()
        await way(llm.FallbackAdapter(models), **options)
        await asyncio.sleep(1)  # what still runs
        print(f"{name}: the first model was asked {asked['first']} times, the second {asked['second']}")
    await runner.cleanup()


asyncio.run(main())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
chat() by itself: the first model was asked 2 times, the second 2
a session as it comes: the first model was asked 8 times, the second 8
a session told not to retry: the first model was asked 2 times, the second 2
SEEN
