#!/usr/bin/env bash
# livekit-agents 1.5.17 (1.2 to 1.5 alike), installed anew: does it import?
#
# Guess: a release that imported when it was made does so for ever; its requirements see to that.
# Seen:  it asks for openai>=2 and imports httpx, which it does not ask for: openai 2 brought it along,
#        openai 3 brings httpx2 instead. Nothing was released anew, and it does not import any more.
# Hurts: images that are rebuilt without a lock file. `pip install httpx` is the way out.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
for openai in 2.54.0 3.54.0; do
  python3 -m venv "$dir/$openai"
  "$dir/$openai/bin/pip" install -q --disable-pip-version-check livekit-agents==1.5.17 "openai==$openai"
  said=$("$dir/$openai/bin/python" -W ignore -c 'import livekit.agents; print("imports")' 2>&1 | tail -1 || true)
  echo "with openai $openai: $said"
done | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
with openai 2.54.0: imports
with openai 3.54.0: ModuleNotFoundError: No module named 'httpx'
SEEN
