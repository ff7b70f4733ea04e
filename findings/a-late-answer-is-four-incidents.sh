#!/usr/bin/env bash
# pagerduty 7.2.0 (PagerDuty's own client), EventsApiV2Client.trigger() without a dedup_key, which is optional.
#
# Guess: one call, one incident. A client that sends an event again by itself gives it a key of its own first, so
#        that the second is known for the first; what cannot be delivered raises after some seconds.
# Seen:  an event whose answer is late (60 s) is sent up to three times more, each without a key: PagerDuty makes
#        a key, and an incident, for each that it took. trigger() returns the last one's key; nobody resolves the
#        others. And it sleeps between tries, in the thread that called: 3, 6, 12 s; 189 s in all where the service
#        says that it is not available, and for ever longer where it says that there were too many.
# Hurts: an on-call engineer is woken by four incidents that no recovery closes; an event loop that asks stands still
#        for minutes, with every call that it carries.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check pagerduty==7.2.0
cat >"$dir/look.py" <<'PY'
import json
import logging
import time

import httpx2
import pagerduty

logging.disable(logging.CRITICAL)
slept, incidents, received = [], set(), []
time.sleep = slept.append  # it is to be seen, not waited for


def ask(name, answer, **options):
    slept.clear(), incidents.clear(), received.clear()

    def service(request):  # in the place of the network
        event = json.loads(request.content)
        received.append(event)
        return answer(event)

    client = pagerduty.EventsApiV2Client("R" * 32, transport=httpx2.MockTransport(service))
    try:
        client.trigger("a call loops", "agent-1", **options)
        told = "accepted"
    except Exception as error:
        told = type(error).__name__
    print(f"{name}: {len(received)} events, {len(incidents)} incidents, slept {sum(slept):.0f} s, {told}")


def take(event):
    key = event.get("dedup_key", f"made-{len(received)}")
    incidents.add(key)
    return httpx2.Response(202, json={"status": "success", "message": "Event processed", "dedup_key": key})


def take_but_answer_late(event):
    answer = take(event)
    if len(received) < 4:
        raise httpx2.ReadTimeout("no answer within 60 s")
    return answer


def be_unavailable(event):
    return httpx2.Response(503)


def be_asked_too_often(event):
    return httpx2.Response(429) if len(received) < 10 else take(event)


ask("in time", take)
ask("late", take_but_answer_late)
ask("late, with a key", take_but_answer_late, dedup_key="call-1")
ask("503", be_unavailable)
ask("429, nine times", be_asked_too_often)
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
in time: 1 events, 1 incidents, slept 0 s, accepted
late: 4 events, 4 incidents, slept 21 s, accepted
late, with a key: 4 events, 1 incidents, slept 21 s, accepted
503: 7 events, 0 incidents, slept 189 s, ServerHttpError
429, nine times: 10 events, 1 incidents, slept 1533 s, accepted
SEEN
