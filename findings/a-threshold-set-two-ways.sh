#!/usr/bin/env bash
# livekit-plugins-silero 1.8.9 (the detector that livekit-agents bundles does the same): the activation
# threshold, given to load() or to update_options().
#
# Guess: the same detector either way. Speech ends 0.15 below where it begins, as load() documents it.
# Seen:  load() makes the lower threshold of the upper one, update_options() leaves it where it was. Raised
#        from 0.5 to 0.8 the two are 0.45 apart; lowered to 0.3, speech ends *above* where it begins.
# Hurts: whoever raises the threshold in a noisy call: speech begins later but goes on through the noise.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check \
  livekit-agents==1.8.9 livekit-plugins-silero==1.8.9
cat >"$dir/look.py" <<'PY'
from livekit.plugins import silero


def thresholds(vad):
    options = vad._opts
    return f"begins at {options.activation_threshold:g}, ends below {options.deactivation_threshold:.2f}"


for wanted in (0.8, 0.3):
    loaded = silero.VAD.load(activation_threshold=wanted, force_cpu=True)
    updated = silero.VAD.load(force_cpu=True)
    updated.update_options(activation_threshold=wanted)
    print("loaded: ", thresholds(loaded))
    print("updated:", thresholds(updated))
PY
"$dir/env/bin/python" "$dir/look.py" 2>/dev/null | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
loaded:  begins at 0.8, ends below 0.65
updated: begins at 0.8, ends below 0.35
loaded:  begins at 0.3, ends below 0.15
updated: begins at 0.3, ends below 0.35
SEEN
