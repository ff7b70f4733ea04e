#!/usr/bin/env bash
# livekit-agents 1.8.9, LLMStream: which requests emit `metrics_collected`.
#
# Guess: every request that reached the provider emits metrics once; one that was abandoned says how much
#        it had used until then.
# Seen:  one that is closed before its first chunk emits nothing at all, and one that is closed later
#        emits zero tokens, because providers send usage last. The provider bills the prompt of both.
# Hurts: bills that are added up from metrics. Preemptive generation abandons requests as a habit.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import contextlib

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS


class Stream(llm.LLMStream):
    async def _run(self):  # a provider: thinks, speaks in chunks, sends usage at the end
        await asyncio.sleep(0.3)
        for words in ("Good ", "morning"):
            delta = llm.ChoiceDelta(role="assistant", content=words)
            self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=delta))
            await asyncio.sleep(0.3)
        usage = llm.CompletionUsage(completion_tokens=2, prompt_tokens=1000, total_tokens=1002)
        self._event_ch.send_nowait(llm.ChatChunk(id="r", usage=usage))


class Model(llm.LLM):
    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **kwargs):
        return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


async def closed_after(seconds):
    model, seen = Model(), []
    model.on("metrics_collected", seen.append)
    stream = model.chat(chat_ctx=llm.ChatContext.empty())

    async def listen():
        async for _ in stream:
            pass

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(seconds)
    await stream.aclose()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    await asyncio.sleep(0.2)
    return [f"{m.prompt_tokens}+{m.completion_tokens} tokens" for m in seen] or "no metrics"


for what, seconds in (("before the first chunk", 0.1), ("after it", 0.45), ("at the end", 1.5)):
    print(f"closed {what}:", asyncio.run(closed_after(seconds)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
closed before the first chunk: no metrics
closed after it: ['0+0 tokens']
closed at the end: ['1000+2 tokens']
SEEN
