#!/usr/bin/env bash
# livekit-agents 1.8.9 with pydantic 2.14.3: what the first entry of a session's record costs a job process.
#
# Guess: an object of a few hundred bytes; how its fields are filled was looked at when its class was made.
# Seen:  what makes the default of a private field (`list`) is looked at with the first object of the class, by
#        inspect.signature(), which for a type written in C copies the table of all modules. To copy it is to
#        count a reference to each, and so to write into each: in a job's process, which a forkserver has made,
#        that takes memory for every module that was preloaded, needed or not. It is done in each job, since
#        AgentSession.start() makes the first entry.
# Hurts: the private memory of a job grows with what its worker preloads. Preload what jobs use.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 pydantic==2.14.3
cat >"$dir/look.py" <<'PY'
import gc
import os
import sys
import types

from livekit.agents import Agent, AgentSession, llm
from livekit.agents.ipc import job_proc_lazy_main  # noqa: F401 - as LiveKit's forkserver does

for number in range(int(sys.argv[1])):
    sys.modules[f"preloaded_{number}"] = types.ModuleType(f"preloaded_{number}")
gc.collect()
gc.freeze()  # the same


def own_kib():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


copies = 0


def count(frame, event, arg):
    global copies
    if event == "c_call" and arg.__name__ == "copy" and arg.__self__ is sys.modules:
        copies += 1


def entry():
    return llm.AgentConfigUpdate(instructions="Be kind.")


if os.fork() == 0:
    sys.setprofile(count)
    entry()
    entry()
    sys.setprofile(None)
    print("two entries: the table of modules was copied", copies, "time(s)")
    sys.stdout.flush()
    os._exit(0)
os.wait()
if os.fork() == 0:
    own_kib()
    before = own_kib()
    entry()
    grown = own_kib() - before
    print(grown, file=sys.stderr)
    sys.stdout.flush()
    os._exit(0)
os.wait()
PY
"$dir/env/bin/python" "$dir/look.py" 0 2>"$dir/few" | tee "$dir/seen"
"$dir/env/bin/python" "$dir/look.py" 10000 2>"$dir/many" >/dev/null
few=$(cat "$dir/few") many=$(cat "$dir/many")
echo "the first entry takes $few KiB, after 10,000 more modules $many"
echo "10,000 modules that nobody uses take more than 2 MiB of it: $((many - few > 2048 ? 1 : 0))" | tee -a "$dir/seen"
diff "$dir/seen" - <<'SEEN'
two entries: the table of modules was copied 1 time(s)
10,000 modules that nobody uses take more than 2 MiB of it: 1
SEEN
