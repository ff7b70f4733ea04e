#!/usr/bin/env bash
# livekit-agents 1.8.9, AgentSession(max_tool_steps=...): how often the model is asked in one turn.
#
# Guess: a model that always wants a tool is asked three times with max_tool_steps=3 (its default), or four:
#        the first answer, and one for each step.
# Seen:  two more than steps. One call more than steps is made, then the model is asked again with its tools
#        forbidden: five requests with the whole conversation. Its last call is dropped without a word.
# Hurts: what a loop of tools costs at worst, wherever it is estimated from the number of steps.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import Agent, AgentSession, function_tool, llm

logging.disable(logging.CRITICAL)


class Model(llm.LLM):
    def __init__(self):
        super().__init__()
        self.requests, self.choices = 0, []

    def chat(self, *, chat_ctx, tools=None, conn_options=None, tool_choice=None, **kwargs):
        self.requests += 1
        self.choices.append("no tools" if tool_choice == "none" else "tools")
        return WantsATool(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class WantsATool(llm.LLMStream):
    async def _run(self):
        call = llm.FunctionToolCall(name="look", arguments="{}", call_id=str(self._llm.requests))
        delta = llm.ChoiceDelta(role="assistant", tool_calls=[call])
        self._event_ch.send_nowait(llm.ChatChunk(id="reply", delta=delta))


class Assistant(Agent):
    def __init__(self):
        super().__init__(instructions="")
        self.used = 0

    @function_tool
    async def look(self) -> str:
        """Look whether it is there."""
        self.used += 1
        return "not yet"


async def turn(steps):
    model, assistant = Model(), Assistant()
    session = AgentSession(llm=model, max_tool_steps=steps)
    await session.start(assistant)
    await session.run(user_input="Is it there?")
    await session.aclose()
    return f"{model.requests} requests, the last with {model.choices[-1]}, {assistant.used} calls"


for steps in (1, 3, 5):
    print(f"max_tool_steps={steps}:", asyncio.run(turn(steps)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
max_tool_steps=1: 3 requests, the last with no tools, 2 calls
max_tool_steps=3: 5 requests, the last with no tools, 4 calls
max_tool_steps=5: 7 requests, the last with no tools, 6 calls
SEEN
