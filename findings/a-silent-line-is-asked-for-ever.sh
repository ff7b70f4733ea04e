#!/usr/bin/env bash
# livekit-agents 1.8.9, IVRActivity (what AgentSession(ivr_detection=True) starts in a job): a silent line.
#
# Guess: after some seconds of silence the model is asked once what to do, and then not again before somebody
#        has spoken.
# Seen:  its answer ends in the next silence, so it is asked again after each one, with a conversation that
#        grows by its own answers, for as long as the call lasts. Nothing counts the silences.
# Hurts: hold without music, or a menu that has fallen silent: with the 5 s that are the default it is some
#        hundred requests an hour, and as many answers made by the voice, which nobody hears.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import Agent, AgentSession, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice.ivr import IVRActivity

logging.disable(logging.CRITICAL)
SILENCE = 0.5
items, enough = [], asyncio.Event()


class Stream(llm.LLMStream):
    async def _run(self):
        items.append(len(self._chat_ctx.items))
        if len(items) == 8:
            enough.set()
        delta = llm.ChoiceDelta(role="assistant", content="Is anybody there?")
        self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=delta))


class Model(llm.LLM):
    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **kwargs):
        return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


async def main():
    session = AgentSession(llm=Model(), user_away_timeout=SILENCE)
    await IVRActivity(session, max_silence_duration=SILENCE).start()
    await session.start(agent=Agent(instructions="Find your way through the menu."))
    await asyncio.wait_for(enough.wait(), 60)
    grows = all(later >= before for before, later in zip(items, items[1:])) and items[-1] > items[1]
    print(f"nobody speaks: asked {len(items)} times and no end, the conversation grows: {grows}")
    await session.aclose()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
nobody speaks: asked 8 times and no end, the conversation grows: True
SEEN
