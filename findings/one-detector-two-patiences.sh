#!/usr/bin/env bash
# livekit-agents 1.8.9 and livekit-plugins-silero 1.8.9: Silero's voice detector, bundled and as a plugin.
#
# Guess: one model, one set of defaults; the bundled one (which a session has if none is given) is the plugin
#        without the installation.
# Seen:  all defaults are the same but one. Speech ends after 0.25 s of silence in the bundled one, after
#        0.55 s in the plugin.
# Hurts: who drops `vad=silero.VAD.load()` as no longer needed gets ends of speech inside sentences, and with
#        a recogniser that is asked per utterance more requests that are paid for.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check \
  livekit-agents==1.8.9 livekit-plugins-silero==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import inspect

from livekit.agents import AgentSession, inference
from livekit.plugins import silero


def defaults(made_by):
    parameters = inspect.signature(made_by).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


async def given_none():
    return AgentSession().vad


vad = asyncio.run(given_none())
print("a session without vad= has", type(vad).__module__.partition(".vad")[0], vad.model)
bundled, plugin = defaults(inference.VAD), defaults(silero.VAD.load)
for name in bundled.keys() & plugin.keys():
    if bundled[name] != plugin[name]:
        print(f"{name}: {bundled[name]} bundled, {plugin[name]} in the plugin")
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a session without vad= has livekit.agents.inference silero
min_silence_duration: 0.25 bundled, 0.55 in the plugin
SEEN
