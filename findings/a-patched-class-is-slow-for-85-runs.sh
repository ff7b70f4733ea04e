#!/usr/bin/env bash
# CPython 3.11 and wrapt 1.17.2, as OpenTelemetry's instrumentations use it, on livekit 1.1.21: what those pay who
# never call the method that was patched.
#
# Guess: nothing. A method of a class is replaced; whoever reads an attribute of its objects elsewhere does what
#        it did before.
# Seen:  each place in the program that reads one (any attribute, of any object of the class or of one below it)
#        takes about four times as long for its next 85 runs, and only then is quick again: the interpreter
#        remembers at each place where in an object it found what it looked for, a class that changes makes all
#        of that wrong, and it waits so long before it looks anew.
# Hurts: nobody whose classes are patched at the start. But a comparison that switches an instrumentation on and
#        off in one process measures this: it was 60 of the 99 thousand machine instructions that one seemed to add
#        to a turn of a voice session.
set -euo pipefail
python=$(command -v "${PYTHON:-python3.11}") || { echo "needs CPython 3.11"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"$python" -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit==1.1.21 wrapt==1.17.2
cat >"$dir/patch.py" <<'PY'
import statistics
import time

import wrapt
from livekit import rtc

RUNS = 160
names = {}
exec("def read(frame):\n " + "; ".join(["frame._sample_rate"] * 300), names)
read, frame = names["read"], rtc.AudioFrame.create(24_000, 1, 480)


def timed():
    took = []
    for _ in range(RUNS):
        began = time.perf_counter_ns()
        read(frame)
        took.append(time.perf_counter_ns() - began)
    return took


rounds = []
for _ in range(40):
    original = rtc.AudioFrame.to_wav_bytes
    wrapt.wrap_function_wrapper(rtc, "AudioFrame.to_wav_bytes", lambda f, _, a, k: f(*a, **k))
    rounds.append(timed())
    rtc.AudioFrame.to_wav_bytes = original
    timed()
usual = statistics.median(took for one in rounds for took in one[100:])
each = [statistics.median(one[run] for one in rounds) for run in range(RUNS)]
slow = [run for run in range(RUNS) if each[run] > 1.3 * usual]
print("runs that are slower:", "the first", len(slow), "of", RUNS if slow == list(range(len(slow))) else "?")
PY
"$dir/env/bin/python" "$dir/patch.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
runs that are slower: the first 85 of 160
SEEN
