#!/usr/bin/env bash
# livekit-agents 1.8.9, RecognizeStream: what `max_retry` bounds.
#
# Guess: with max_retry=2 a recogniser's stream connects three times at most and then reports its error.
# Seen:  only if every attempt is short. An attempt that outlives `conn_options.timeout` starts the count
#        anew, so a provider that accepts, and closes a little later, is connected to without end.
# Hurts: whoever pays by connection or by open socket; nothing is raised and no call ends.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import APIConnectionError, stt
from livekit.agents.types import APIConnectOptions

logging.disable(logging.CRITICAL)
TIMEOUT = 0.05
OPTIONS = APIConnectOptions(max_retry=2, retry_interval=0.0, timeout=TIMEOUT)


class Stream(stt.RecognizeStream):
    attempts, lives = 0, 0.0

    async def _run(self):
        Stream.attempts += 1
        await asyncio.sleep(Stream.lives)
        raise APIConnectionError("closed by the provider")


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, *, language=None, conn_options=OPTIONS):
        return Stream(stt=self, conn_options=conn_options)


async def attempts(lives):
    Stream.attempts, Stream.lives = 0, lives
    stream = Recogniser().stream()
    try:
        await asyncio.wait_for(stream._task, 60 * TIMEOUT)
    except APIConnectionError:
        return f"gave up after {Stream.attempts} attempts"
    except asyncio.TimeoutError:
        return f"still connecting, {'more' if Stream.attempts > 3 else 'not more'} than 3 attempts"


print("attempts of a fifth of the timeout:", asyncio.run(attempts(TIMEOUT / 5)))
print("attempts of twice the timeout:", asyncio.run(attempts(TIMEOUT * 2)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
attempts of a fifth of the timeout: gave up after 3 attempts
attempts of twice the timeout: still connecting, more than 3 attempts
SEEN
