#!/usr/bin/env bash
# livekit-agents 1.8.9: who calls aclose() of the recogniser, the model and the voice.
#
# Guess: AgentSession.aclose(), for what it was given; and an adapter's aclose(), for what it wraps.
# Seen:  neither. A session closes the streams it opened and none of the three, an adapter only stops
#        listening to theirs. Their connections live until the process ends, unless one closes them oneself.
# Hurts: where jobs are threads, or one job has several sessions: sockets of calls long gone stay open.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import Agent, AgentSession, llm, stt, tts

logging.disable(logging.CRITICAL)
closed = []


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    async def aclose(self):
        closed.append("the recogniser")


class Model(llm.LLM):
    def chat(self, **kwargs):
        raise NotImplementedError

    async def aclose(self):
        closed.append("the model")


class Voice(tts.TTS):
    def __init__(self):
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False), sample_rate=16000, num_channels=1
        )

    def synthesize(self, text, **kwargs):
        raise NotImplementedError

    async def aclose(self):
        closed.append("the voice")


def tell(what):
    print(f"{what} closed", ", ".join(closed) or "none")
    closed.clear()


async def main():
    session = AgentSession(stt=Recogniser(), llm=Model(), tts=Voice())
    await session.start(Agent(instructions=""))
    await session.aclose()
    tell("the session")

    async with stt.FallbackAdapter([Recogniser()]), tts.FallbackAdapter([Voice()]):
        await llm.FallbackAdapter([Model()]).aclose()
    tell("the fallback adapters")

    async with tts.StreamAdapter(tts=Voice()):
        pass
    tell("the stream adapter")

    async with Recogniser(), Voice(), Model():
        pass
    tell("`async with`")


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the session closed none
the fallback adapters closed none
the stream adapter closed none
`async with` closed the model, the voice, the recogniser
SEEN
