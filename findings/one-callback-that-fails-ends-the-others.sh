#!/usr/bin/env bash
# livekit-agents 1.8.9, shutdown callbacks of a job: one that raises, beside others.
#
# Guess: its error is logged, and the others run to their end; there may be a minute for them.
# Seen:  they begin together, and the first error ends the waiting: the job's process goes on to its end
#        and takes the others along, wherever they are. Without the error the same callback finishes.
# Hurts: a transcript half uploaded, a provider's session not closed, because of a slip somewhere else.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/agent.py" <<'PY'
import asyncio
import logging
import os
import sys
from pathlib import Path

from livekit.agents import AgentServer, JobContext

logging.disable(logging.CRITICAL)
SEEN, FAILS = Path(sys.argv[1]), sys.argv[2] == "fails"
# A job that is made up, in a process as always: no LiveKit server is asked.
server = AgentServer(
    ws_url="ws://127.0.0.1:9", api_key="key", api_secret="a secret of thirty-two characters",
    host="127.0.0.1", port=0, num_idle_processes=0, initialize_process_timeout=60,
)


def tell(what):
    with SEEN.open("a") as file:
        print(what, file=file)


async def upload():
    tell("upload begins")
    await asyncio.sleep(2)
    tell("upload ends")


async def forget():
    if FAILS:
        raise KeyError("transcript")


@server.rtc_session()
async def entrypoint(ctx: JobContext):
    ctx.add_shutdown_callback(upload)
    ctx.add_shutdown_callback(forget)
    ctx.shutdown()


async def main():
    asyncio.ensure_future(server.run(devmode=False))
    await asyncio.sleep(1)
    await server.simulate_job("room", fake_job=True)
    while server.active_jobs:
        await asyncio.sleep(0.1)
    print(f"another one {sys.argv[2]}:", ", ".join(SEEN.read_text().splitlines()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
PY
for other in returns fails; do
  "$dir/env/bin/python" "$dir/agent.py" "$dir/$other" $other
done | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
another one returns: upload begins, upload ends
another one fails: upload begins
SEEN
