#!/usr/bin/env bash
# livekit-agents 1.8.9, JobContext.add_shutdown_callback(): what a callback is called with.
#
# Guess: the reason, where the callback requires an argument; nothing, where it can do without one.
# Seen:  whatever has a positional parameter gets the reason in it, also in place of a default: a grace of
#        5.0 s becomes "the caller left". One without `__code__` (functools.partial) is not taken at all.
# Hurts: what is to be closed at the end of a call raises instead, and what it bills for goes on.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import functools
import logging
import os

from livekit.agents import AgentServer, JobContext, JobExecutorType

logging.disable(logging.CRITICAL)
ended = []
# A job that is made up, in a thread: no LiveKit server is asked.
server = AgentServer(
    ws_url="ws://127.0.0.1:9", api_key="key", api_secret="a secret of thirty-two characters",
    host="127.0.0.1", port=0, num_idle_processes=0, job_executor_type=JobExecutorType.THREAD,
)


def end(how, grace):
    ended.append(f"{how}: {grace!r}")


class Socket:
    async def close(self, grace: float = 5.0):
        end("a method with a default", grace)


async def close(grace: float = 5.0):
    end("a function with a default", grace)


async def close_by_name(*, grace: float = 5.0):
    end("a function with a default that has a name", grace)


@server.rtc_session()
async def entrypoint(ctx: JobContext):
    for callback in (close, close_by_name, Socket().close):
        ctx.add_shutdown_callback(callback)
    try:
        ctx.add_shutdown_callback(functools.partial(close, grace=1.0))
    except AttributeError as error:
        ended.append(f"functools.partial: {type(error).__name__}")
    ctx.shutdown(reason="the caller left")


async def main():
    running = asyncio.ensure_future(server.run(devmode=False))
    await asyncio.sleep(1)
    await server.simulate_job("room", fake_job=True)
    while len(ended) < 4 and not running.done():
        await asyncio.sleep(0.1)
    print(*sorted(ended), sep="\n", flush=True)
    os._exit(0)


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a function with a default that has a name: 5.0
a function with a default: 'the caller left'
a method with a default: 'the caller left'
functools.partial: AttributeError
SEEN
