#!/usr/bin/env bash
# livekit-agents 1.8.9 on CPython 3.11 or 3.12: what it costs to look at a recogniser's stream with vars() once.
#
# Guess: nothing. A look is a look; vars() hands out the dictionary in which the attributes are anyway.
# Seen:  they are in none. These versions keep them in a row beside the object until somebody asks for the
#        dictionary, and never go back: each later access to any attribute of that one stream, the library's
#        own, takes about twice as long for as long as it lives. To set an attribute does no such thing, and the
#        session has too many attributes for a row (more than 30), so there it makes no difference.
# Hurts: push_frame() reads and writes about ten of them, 50 to 100 times a second for the length of a call.
#        Whoever keeps a note on a stream by vars(stream)[...], or inspects it in a debug log, slows the audio
#        path of each call. Use setattr, or object.__setattr__ where a wrapper must not answer for it.
set -euo pipefail
python=$(command -v "${PYTHON:-python3.11}" || command -v python3.12) || { echo "needs CPython 3.11 or 3.12"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"$python" -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import timeit

from livekit.agents import APIConnectOptions, AgentSession, stt


class Deaf(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *_, **__):
        raise NotImplementedError

    def stream(self, **_):
        return Stream(stt=self, conn_options=APIConnectOptions())


class Stream(stt.RecognizeStream):
    async def _run(self):
        await asyncio.sleep(3600)


def reading(thing):
    """Nanoseconds of a read of an attribute, in a function of its own: each place learns for itself."""
    names = {}
    exec("def read(thing, times):\n for _ in times:\n  " + "; ".join(["thing._conn_options"] * 50), names)
    return min(timeit.repeat(lambda: names["read"](thing, range(2000)), number=1, repeat=15)) / 100_000 * 1e9


async def main():
    usual, noted, looked = (Deaf().stream() for _ in range(3))
    noted._note = 1
    vars(looked)
    plain = reading(usual)
    for name, stream in (("left alone", usual), ("an attribute set", noted), ("looked into", looked)):
        slow = reading(stream) > 1.4 * plain
        print(f"{name}: {'at least 1.4 times as long' if slow else 'as quick'}")
    print("attributes of a session, more than 30:", len(vars(AgentSession())) > 30)
    for stream in (usual, noted, looked):
        await stream.aclose()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" 2>/dev/null | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
left alone: as quick
an attribute set: as quick
looked into: at least 1.4 times as long
attributes of a session, more than 30: True
SEEN
