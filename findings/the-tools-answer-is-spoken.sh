#!/usr/bin/env bash
# livekit-plugins-langchain 1.8.9, LLMAdapter over a LangGraph agent that has a tool: what the caller hears.
#
# Guess: what the model writes. The model's tokens, which LangChain's messages carry, arrive in the metrics.
# Seen:  what the tool returned comes first, word for word: the adapter takes every message of the graph's
#        stream for the assistant's, and LangGraph streams the tool's, too. The metrics say zero tokens.
# Hurts: the voice reads JSON to the caller, by the character, with whatever the tool knew; and no tool that
#        adds up metrics sees that the model was asked twice.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 \
  livekit-plugins-langchain==1.8.9 langgraph==1.2.24
cat >"$dir/look.py" <<'PY'
import asyncio

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from livekit.agents import llm
from livekit.plugins import langchain

USAGE = {"input_tokens": 1000, "output_tokens": 10, "total_tokens": 1010}
CALL = {"name": "balance", "args": {"account": "4711"}, "id": "1"}


@tool
def balance(account: str) -> str:
    """Look up the balance of an account."""
    return '{"cents": 1250, "scoring": "C"}'


class Model(BaseChatModel):
    @property
    def _llm_type(self):
        return "stand-in"

    def bind_tools(self, tools, **kwargs):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage(content="Twelve dollars and fifty.", usage_metadata=USAGE)
        else:
            said = AIMessage(content="", tool_calls=[CALL], usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=said)])


async def main():
    model = langchain.LLMAdapter(create_react_agent(Model(), [balance]))
    model.on("metrics_collected", lambda m: print("tokens: 2020 used,", m.total_tokens, "reported"))
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="What is my balance?")
    async with model.chat(chat_ctx=context) as stream:
        async for chunk in stream:
            print(f"{chunk.delta.role}: {chunk.delta.content}")


asyncio.run(main())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
assistant: {"cents": 1250, "scoring": "C"}
assistant: Twelve dollars and fifty.
tokens: 2020 used, 0 reported
SEEN
