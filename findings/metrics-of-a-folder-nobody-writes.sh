#!/usr/bin/env bash
# livekit-agents 1.8.9, AgentServer(prometheus_multiproc_dir=...): what /metrics then has.
#
# Guess: what the environment variable PROMETHEUS_MULTIPROC_DIR gives, as the option is its name in small.
# Seen:  an answer of 200 with no byte in it, while both without the option and with the variable there
#        are the worker's gauges. prometheus_client decides how values are kept when it is imported; the
#        option is read when the server runs, so the folder is collected and nothing ever writes there.
# Hurts: a scrape that succeeds (`up` is 1) and has no series; panels are empty and no alert says so.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check \
  livekit-agents==1.8.9 prometheus_client==0.26.0
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import os
import socket
import sys
import urllib.request

from livekit.agents import AgentServer, JobContext

logging.disable(logging.CRITICAL)


async def entrypoint(ctx: JobContext) -> None: ...


async def main(name, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # No LiveKit server listens at port 9: the worker tries to register, and answers scrapes meanwhile.
    server = AgentServer(
        ws_url="ws://127.0.0.1:9", api_key="key", api_secret="a secret of thirty-two characters",
        host="127.0.0.1", port=0, num_idle_processes=0, prometheus_port=port, **options,
    )
    server.rtc_session(entrypoint)
    running = asyncio.ensure_future(server.run(devmode=False))
    url = f"http://127.0.0.1:{port}/metrics"
    while not running.done():
        await asyncio.sleep(0.1)
        try:
            with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            continue
        there = any(line.startswith("lk_agents_worker_load") for line in lines)
        print(f"{name}: {answer.status}, {'the' if there else 'no'} load of the worker,"
              f" {'some' if lines else '0'} lines", flush=True)
        os._exit(0)
    await running


name, folder = sys.argv[1:]
asyncio.run(main(name, **({"prometheus_multiproc_dir": folder} if name == "option" else {})))
PY
mkdir "$dir/option" "$dir/variable"
{
  "$dir/env/bin/python" "$dir/look.py" neither -
  "$dir/env/bin/python" "$dir/look.py" option "$dir/option"
  PROMETHEUS_MULTIPROC_DIR="$dir/variable" "$dir/env/bin/python" "$dir/look.py" variable -
} | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
neither: 200, the load of the worker, some lines
option: 200, no load of the worker, 0 lines
variable: 200, the load of the worker, some lines
SEEN
