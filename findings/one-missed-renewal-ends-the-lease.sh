#!/usr/bin/env bash
# python-redis-lock 4.0.1, Lock(expire=3, auto_renewal=True): Redis away for a second while the lock is held.
#
# Guess: a renewal that fails is tried again; the lease has a third of its time left for that. If it is lost all
#        the same, whoever holds the lock is told.
# Seen:  the thread that renews it ends with the first failure, for good. Redis is back well before the lease is
#        over, and nobody renews: a second holder gets in while the first works on. It learns of it when it is
#        done: release() raises NotAcquired.
# Hurts: two workers that both dial the customer back, after one restart of Redis or one dropped connection.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check python-redis-lock==4.0.1 redis==5.3.1 'fakeredis[lua]==2.41.0'
cat >"$dir/look.py" <<'PY'
import logging
import threading
import time

import fakeredis
import redis_lock

logging.disable(logging.CRITICAL)
threading.excepthook = lambda failed: print(f"  the renewing thread ended: {failed.exc_type.__name__}")


def hold(away):
    server = fakeredis.FakeServer()  # in this process; it can be away, as one that is started anew is
    first, second = (
        redis_lock.Lock(fakeredis.FakeStrictRedis(server=server), "call-1", expire=3, auto_renewal=True)
        for _ in range(2)
    )
    began = time.monotonic()
    first.acquire(blocking=False)
    # The renewals are due after 2, 4, 6 s.
    time.sleep(1.5)
    server.connected = not away
    time.sleep(1)
    server.connected = True
    print(f"  after 2.5 s Redis is there, the lock is {'held' if first._held else 'free'}")
    time.sleep(began + 5 - time.monotonic())
    print("  after 5 s a second holder gets it:", second.acquire(blocking=False))
    for name, lock in (("first", first), ("second", second)):
        try:
            lock.release()
            print(f"  the {name} holder releases it")
        except redis_lock.NotAcquired as error:
            print(f"  the {name} holder is told {type(error).__name__}")


for away in (False, True):
    print("Redis is away for a second:" if away else "Redis stays:")
    hold(away)
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
Redis stays:
  after 2.5 s Redis is there, the lock is held
  after 5 s a second holder gets it: False
  the first holder releases it
  the second holder is told NotAcquired
Redis is away for a second:
  the renewing thread ended: ConnectionError
  after 2.5 s Redis is there, the lock is held
  after 5 s a second holder gets it: True
  the first holder is told NotAcquired
  the second holder releases it
SEEN
