#!/usr/bin/env bash
# livekit 1.1.21 (the room SDK), EventEmitter.emit: what a failing handler does to the others.
#
# Guess: an exception in one handler is logged and the next handler runs, whatever its type.
# Seen:  so it is for every exception but TypeError. That one leaves emit(): later handlers of the event
#        do not run, and the error arrives where the event was emitted.
# Hurts: handlers registered after one with a slip such as `None + 1` hear nothing of a room's events.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit==1.1.21
cat >"$dir/look.py" <<'PY'
import logging

from livekit.rtc.event_emitter import EventEmitter

logging.disable(logging.CRITICAL)


def emitted(error):
    emitter, ran = EventEmitter(), []

    def first(_):
        ran.append("first")
        raise error

    emitter.on("muted", first)
    emitter.on("muted", lambda _: ran.append("second"))
    try:
        emitter.emit("muted", "a track")
    except Exception as escaped:
        return f"{ran}, raised {type(escaped).__name__}"
    return f"{ran}, returned"


for kind in (ValueError, KeyError, AttributeError, TypeError):
    print(f"{kind.__name__}: {emitted(kind('in the handler'))}")
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
ValueError: ['first', 'second'], returned
KeyError: ['first', 'second'], returned
AttributeError: ['first', 'second'], returned
TypeError: ['first'], raised TypeError
SEEN
