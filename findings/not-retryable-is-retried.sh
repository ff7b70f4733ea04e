#!/usr/bin/env bash
# livekit-agents 1.5.17 and 1.6.10: a recogniser that raises APIError(retryable=False).
#
# Guess: it is not tried again, in either: the flag is an argument of the exception since 1.0.
# Seen:  1.5 tries it again as often as any other error; 1.6 gives up at once.
# Hurts: a wrong key, or a plan that is used up, is asked for again and again, in every stream.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import sys

from livekit.agents import APIError, stt, utils
from livekit.agents.types import NOT_GIVEN, APIConnectOptions

logging.disable()
OPTIONS = APIConnectOptions(max_retry=3, retry_interval=0.01)


class Stream(stt.RecognizeStream):
    attempts = 0

    async def _run(self):
        Stream.attempts += 1
        raise APIError("this key is not known", retryable=False)


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(self, buffer, *, language=NOT_GIVEN, conn_options=OPTIONS):
        raise NotImplementedError

    def stream(self, *, language=NOT_GIVEN, conn_options=OPTIONS):
        return Stream(stt=self, conn_options=conn_options)


async def attempts():
    stream = Recogniser().stream()
    try:
        async for _ in stream:
            pass
    except APIError:
        pass
    await stream.aclose()
    return Stream.attempts


print(f"livekit-agents {sys.argv[1]}: {asyncio.run(attempts())} attempts")
PY
for version in 1.5.17 1.6.10; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/pip" install -q --disable-pip-version-check "livekit-agents==$version" httpx
  "$dir/$version/bin/python" -W ignore "$dir/look.py" "$version"
done | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
livekit-agents 1.5.17: 4 attempts
livekit-agents 1.6.10: 1 attempts
SEEN
