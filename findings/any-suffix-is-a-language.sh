#!/usr/bin/env bash
# livekit-agents 1.8.9, inference.STT("provider/model:suffix"): what becomes of the suffix.
#
# Guess: a suffix that is a language sets the language, one that belongs to the model (Deepgram names a
#        domain model nova-3-medical) stays in the model's name, and `.model` tells them apart.
# Seen:  every suffix is taken for the language and cut off; `.model` and `.provider` are the same for all,
#        though the multilingual model has another price. Only a private attribute knows.
# Hurts: whoever prices or groups by `.model`.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
from livekit.agents import inference

for name in ("deepgram/nova-3", "deepgram/nova-3:en", "deepgram/nova-3:multi", "deepgram/nova-3:medical"):
    stt = inference.STT(name, api_key="key", api_secret="not a secret, nothing is connected")
    language = stt._opts.language
    print(f"{name}: provider {stt.provider}, model {stt.model}, language {language}")
PY
LIVEKIT_URL=ws://127.0.0.1:1 "$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
deepgram/nova-3: provider livekit, model deepgram/nova-3, language NOT_GIVEN
deepgram/nova-3:en: provider livekit, model deepgram/nova-3, language en
deepgram/nova-3:multi: provider livekit, model deepgram/nova-3, language multi
deepgram/nova-3:medical: provider livekit, model deepgram/nova-3, language medical
SEEN
