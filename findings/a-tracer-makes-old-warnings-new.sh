#!/usr/bin/env bash
# opentelemetry-sdk 1.45.2: what a warning that is shown once per place does where tracers are asked for.
#
# Guess: it is shown once. get_tracer() of a name that was asked for before finds the tracer that there is, and
#        has nothing to do with anybody's warnings.
# Seen:  it is shown again after each get_tracer(), of a known name, too. The call first sets a filter of the
#        `warnings` module, against a deprecation of its own, and to set a filter makes Python forget what it has
#        shown. The tracer itself is the one from before. get_meter() and get_logger() do not.
# Hurts: code that asks for its tracer where it needs it (in a handler, in each turn) has every "once" of the
#        whole process printed each time; and the filter is a regular expression that is compiled at the first
#        call, 0.7 ms of the first span. Ask once, keep it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check opentelemetry-sdk==1.45.2
cat >"$dir/ask.py" <<'PY'
import warnings

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

shown = []
warnings.showwarning = lambda message, *_, **__: shown.append(str(message))


def old(name):
    warnings.warn(f"a setting is old, said beside {name}", UserWarning)


def ten_times(name, ask):
    ask()
    shown.clear()
    kept = set()
    for _ in range(10):
        kept.add(id(ask()))
        old(name)
    print(f"{name}: shown {len(shown)} of 10 times, {len(kept)} object(s)")


tracers, meters, loggers = TracerProvider(), MeterProvider(), LoggerProvider()
ten_times("nothing", lambda: None)
ten_times("get_meter", lambda: meters.get_meter("app"))
ten_times("get_logger", lambda: loggers.get_logger("app"))
ten_times("get_tracer", lambda: tracers.get_tracer("app"))
PY
"$dir/env/bin/python" "$dir/ask.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
nothing: shown 1 of 10 times, 1 object(s)
get_meter: shown 1 of 10 times, 1 object(s)
get_logger: shown 1 of 10 times, 1 object(s)
get_tracer: shown 10 of 10 times, 1 object(s)
SEEN
