#!/usr/bin/env bash
# noveum-trace 1.5.28, LiveKitLLMWrapper, in an AgentSession of livekit-agents 1.5.17 and 1.8.9.
#
# Guess: it fits both: it asks for livekit-agents>=1.0.0, derives from the host's LLM, and hands on to the model
#        inside whatever it does not know itself.
# Seen:  it fits the older one. Since 1.6 a session warms its model up and passes its event loop along; the
#        wrapper has a prewarm() of its own, from before, that takes nothing. AgentSession(llm=...) raises
#        a TypeError: no call is taken, and what says so is a traceback through LiveKit's constructor.
# Hurts: whoever updates one of the two. A class that is derived from the host's, and a method that is
#        replaced in it, must pass on arguments that do not exist yet: our own hooks take *args and **kwargs.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import sys

from livekit.agents import AgentSession, llm
from noveum_trace.integrations.livekit import LiveKitLLMWrapper

logging.disable(logging.CRITICAL)


class Model(llm.LLM):
    def chat(self, *, chat_ctx, **kwargs):
        raise NotImplementedError


async def main():
    wrapped = LiveKitLLMWrapper(llm=Model(), session_id="a call")
    try:
        AgentSession(llm=wrapped)
    except TypeError as error:
        print(f"{sys.argv[1]}: TypeError: {error}")
    else:
        print(f"{sys.argv[1]}: a session")


asyncio.run(main())
PY
look() {
    python3 -m venv "$dir/$1"
    "$dir/$1/bin/pip" install -q --disable-pip-version-check \
        "livekit-agents==$1" noveum-trace==1.5.28 "${@:2}"
    "$dir/$1/bin/python" "$dir/look.py" "$1" | tee -a "$dir/seen"
}
look 1.5.17 "openai<3"
look 1.8.9
diff "$dir/seen" - <<'SEEN'
1.5.17: a session
1.8.9: TypeError: LiveKitLLMWrapper.prewarm() got an unexpected keyword argument 'loop'
SEEN
