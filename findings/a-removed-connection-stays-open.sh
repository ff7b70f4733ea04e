#!/usr/bin/env bash
# livekit-agents 1.8.9, utils.ConnectionPool (the websockets of most voices): when a connection is closed.
#
# Guess: when its `max_session_duration` is over, and when its use fails or is cancelled.
# Seen:  only when somebody asks for another one. A cancelled use (a reply that is interrupted) leaves its
#        connection open, for good if nobody asks again. So does an expired one, which outlives even the
#        connection's replacement by one use.
# Hurts: a provider that bills or limits open connections counts those, too, until the voice is closed.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio

from livekit.agents.utils import ConnectionPool

DURATION = 0.2


class Provider:
    def __init__(self):
        self.opened, self.open = 0, set()
        self.pool = ConnectionPool(
            connect_cb=self.connect, close_cb=self.close, max_session_duration=DURATION
        )

    async def connect(self, timeout):
        self.opened += 1
        self.open.add(self.opened)
        return self.opened

    async def close(self, number):
        self.open.remove(number)

    async def speak(self, seconds=0.0):
        async with self.pool.connection(timeout=1):
            await asyncio.sleep(seconds)

    def tell(self, when):
        print(f"{when}: opened {self.opened}, open {len(self.open)}")


async def expired():
    provider = Provider()
    await provider.speak()
    await asyncio.sleep(5 * DURATION)
    provider.tell("at five times its duration")
    await provider.speak()
    provider.tell("after the next use")
    await provider.speak()
    provider.tell("after the one after it")


async def interrupted():
    provider = Provider()
    speech = asyncio.ensure_future(provider.speak(60))
    await asyncio.sleep(DURATION / 4)
    speech.cancel()
    await asyncio.sleep(5 * DURATION)
    provider.tell("long after a use was cancelled")
    await provider.speak()
    provider.tell("after the next use")


asyncio.run(expired())
asyncio.run(interrupted())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
at five times its duration: opened 1, open 1
after the next use: opened 2, open 2
after the one after it: opened 2, open 1
long after a use was cancelled: opened 1, open 1
after the next use: opened 2, open 1
SEEN
