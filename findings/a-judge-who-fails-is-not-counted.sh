#!/usr/bin/env bash
# livekit-agents 1.8.9, evals.JudgeGroup: what a conversation gets when a judge gives no verdict.
#
# Guess: a judge whose request fails, or whose model answers in words, has not passed it, and the score says
#        so. Where no judge answered, nothing has passed.
# Seen:  that judge is left out of the sum. With one verdict of three the score is 1.0 and `all_passed`; with
#        none the score is 0.0, and `all_passed`, `majority_passed` and `none_failed` are true.
# Hurts: a release that waits for `all_passed` goes out on the day that the judges' provider is down.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import evals, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

logging.disable(logging.CRITICAL)
PASS = llm.FunctionToolCall(
    name="submit_verdict", arguments='{"verdict": "pass", "reasoning": "fine"}', call_id="1"
)


class Stream(llm.LLMStream):
    async def _run(self):
        self._llm.asked += 1
        if self._llm.asked <= self._llm.verdicts:
            delta = llm.ChoiceDelta(role="assistant", tool_calls=[PASS])
        else:
            delta = llm.ChoiceDelta(role="assistant", content="I would rather not say.")
        self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=delta))


class Model(llm.LLM):
    def __init__(self, verdicts):
        super().__init__()
        self.asked, self.verdicts = 0, verdicts

    def chat(self, *, chat_ctx, tools=None, conn_options=DEFAULT_API_CONNECT_OPTIONS, **kwargs):
        return Stream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


async def main():
    call = llm.ChatContext.empty()
    call.add_message(role="user", content="Hello")
    call.add_message(role="assistant", content="Good morning")
    for verdicts in (3, 1, 0):
        judges = [evals.accuracy_judge(), evals.safety_judge(), evals.coherence_judge()]
        said = await evals.JudgeGroup(llm=Model(verdicts), judges=judges).evaluate(call)
        print(f"{verdicts} of 3 say pass: score {said.score}, all passed {said.all_passed},"
              f" majority passed {said.majority_passed}, none failed {said.none_failed}")


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
3 of 3 say pass: score 1.0, all passed True, majority passed True, none failed True
1 of 3 say pass: score 1.0, all passed True, majority passed True, none failed True
0 of 3 say pass: score 0.0, all passed True, majority passed True, none failed True
SEEN
