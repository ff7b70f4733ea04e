#!/usr/bin/env bash
# livekit-plugins 1.8.9: what `.provider` says, the name that metrics carry as `model_provider`.
#
# Guess: one name per company, so that usage can be grouped by it; the plugin's name, or the company's.
# Seen:  the classes of one plugin (Google's) say three different names; another plugin's recogniser says
#        "unknown" and its voice says who it is; OpenAI's and Anthropic's say the host they talk to.
# Hurts: a dashboard or a bill by provider shows one company as several, and another as nobody.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 \
  livekit-plugins-google==1.8.9 livekit-plugins-openai==1.8.9 \
  livekit-plugins-anthropic==1.8.9 livekit-plugins-xai==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import os

from livekit.plugins import anthropic, google, openai, xai

for company in ("GOOGLE", "OPENAI", "ANTHROPIC", "XAI"):
    os.environ[f"{company}_API_KEY"] = "not a key, nothing is connected"


async def look():
    for what in (google.LLM, google.TTS, google.beta.GeminiSTT, openai.LLM, anthropic.LLM, xai.STT, xai.TTS):
        plugin = what.__module__.split(".")[2]
        print(f"{plugin} {what.__name__}: {what().provider}")


asyncio.run(look())
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
google LLM: Gemini
google TTS: Google Cloud Platform
google STT: google
openai LLM: api.openai.com
anthropic LLM: api.anthropic.com
xai STT: unknown
xai TTS: xAI
SEEN
