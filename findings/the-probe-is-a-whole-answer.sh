#!/usr/bin/env bash
# livekit-agents 1.8.9, llm.FallbackAdapter: what it costs to ask whether a failed model is back.
#
# Guess: a probe is something small, or ends with the first chunk that comes; it is not asked each turn.
# Seen:  each turn while a model is down asks it again with the whole conversation, and the probe that
#        succeeds is read to its last token. The turn in which the model comes back is paid twice in full,
#        and `metrics_collected` of the adapter says so: two reports, nothing in them tells which was heard.
# Hurts: bills, and everybody who counts an answer by its metrics.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import APIConnectionError, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

logging.disable(logging.CRITICAL)


class Stream(llm.LLMStream):
    async def _run(self):
        self._llm.asked += 1
        if self._llm.asked <= self._llm.down_for:
            raise APIConnectionError("the provider is down")
        for word in ("Good", " morning", " to", " you"):
            delta = llm.ChoiceDelta(role="assistant", content=word)
            self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=delta))
            await asyncio.sleep(0.02)
        usage = llm.CompletionUsage(prompt_tokens=1000, completion_tokens=4, total_tokens=1004)
        self._event_ch.send_nowait(llm.ChatChunk(id="r", usage=usage))


class Model(llm.LLM):
    def __init__(self, down_for):
        super().__init__()
        self.asked, self.down_for = 0, down_for

    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **kwargs):
        return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


async def main():
    first, second = Model(down_for=3), Model(down_for=0)
    adapter, metrics = llm.FallbackAdapter([first, second]), []
    adapter.on("metrics_collected", metrics.append)
    for turn in range(1, 5):
        before = first.asked, second.asked
        metrics.clear()
        async with adapter.chat(chat_ctx=llm.ChatContext.empty()) as answer:
            async for _ in answer:
                pass
        await asyncio.sleep(0.3)
        asked = first.asked - before[0], second.asked - before[1]
        reported = [m.total_tokens for m in metrics]
        print(f"turn {turn}: first asked {asked[0]}, second asked {asked[1]}, tokens {reported}")


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
turn 1: first asked 2, second asked 1, tokens [1004]
turn 2: first asked 1, second asked 1, tokens [1004]
turn 3: first asked 1, second asked 1, tokens [1004, 1004]
turn 4: first asked 1, second asked 0, tokens [1004]
SEEN
