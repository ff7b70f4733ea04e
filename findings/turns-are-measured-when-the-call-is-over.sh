#!/usr/bin/env bash
# livekit-agents 1.8.9 with a meter provider of one's own: when the latency of a turn reaches the histograms
# lk.agents.turn.* (end to end, the model's first token, the voice's first sound, the end of turn).
#
# Guess: when the turn is over; the counters of tokens, which stand beside them, move with each request.
# Seen:  when the call is over. The turns are kept in the conversation and all recorded in one moment as the job
#        ends; until then the histogram does not exist.
# Hurts: callers who wait from nine to ten are on the graph at the minute they hang up. An alert on it is late by
#        the length of a call, and longest for the calls that never end.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 opentelemetry-sdk==1.45.2
cat >"$dir/agent.py" <<'PY'
import asyncio
import logging
import os
import sys
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, llm
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

logging.disable(logging.CRITICAL)
SEEN = Path(sys.argv[1])
reader = InMemoryMetricReader()
# A job that is made up, in a process as always: no LiveKit server is asked.
server = AgentServer(
    ws_url="ws://127.0.0.1:9", api_key="key", api_secret="a secret of thirty-two characters",
    host="127.0.0.1", port=0, num_idle_processes=0, initialize_process_timeout=60,
)


class Model(llm.LLM):
    def chat(self, *, chat_ctx, conn_options, tools=None, **_):
        return Reply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class Reply(llm.LLMStream):
    async def _run(self):
        usage = llm.CompletionUsage(prompt_tokens=10, completion_tokens=1, total_tokens=11)
        self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=llm.ChoiceDelta(content="Hello")))
        self._event_ch.send_nowait(llm.ChatChunk(id="r", usage=usage))


def tell(when):
    tokens = turns = 0
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            if metric.name == "lk.agents.usage.llm_input_tokens":
                tokens = sum(point.value for point in metric.data.data_points)
            elif metric.name == "lk.agents.turn.llm_ttft":
                turns = sum(point.count for point in metric.data.data_points)
    with SEEN.open("a") as file:
        print(f"{when}: {tokens} tokens, {turns} turns", file=file)


@server.rtc_session()
async def entrypoint(ctx: JobContext):
    metrics.set_meter_provider(MeterProvider([reader]))
    session = AgentSession(llm=Model(), vad=None)
    await session.start(Agent(instructions="Be brief."), record=False)
    for number in (1, 2, 3):
        await session.generate_reply(user_input="Hello").wait_for_playout()
        await asyncio.sleep(0.2)
        tell(f"after turn {number}")
    await session.aclose()
    tell("the session is closed")

    async def last():
        tell("the job ends")

    ctx.add_shutdown_callback(last)
    ctx.shutdown()


async def main():
    asyncio.ensure_future(server.run(devmode=False))
    await asyncio.sleep(1)
    await server.simulate_job("room", fake_job=True)
    while server.active_jobs:
        await asyncio.sleep(0.1)
    print(SEEN.read_text(), end="", flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
PY
"$dir/env/bin/python" -W ignore "$dir/agent.py" "$dir/told" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
after turn 1: 10 tokens, 0 turns
after turn 2: 20 tokens, 0 turns
after turn 3: 30 tokens, 0 turns
the session is closed: 30 tokens, 0 turns
the job ends: 30 tokens, 3 turns
SEEN
