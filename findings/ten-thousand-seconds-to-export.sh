#!/usr/bin/env bash
# opentelemetry-exporter-otlp 1.45.2 for Python: the unit of OTEL_EXPORTER_OTLP_TIMEOUT.
#
# Guess: milliseconds, as the specification has it for every duration in a variable, and as the exporters
#        of other languages read it; 10000 is the default written out.
# Seen:  the exporter takes seconds, its own default is 10, and 10000 is nearly three hours. The reader one
#        layer above takes its own variable, OTEL_METRIC_EXPORT_TIMEOUT, in milliseconds.
# Hurts: one environment for a fleet of several languages: the Python part waits for hours, or for 10 ms.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check opentelemetry-sdk==1.45.2 \
  opentelemetry-exporter-otlp-proto-http==1.45.2
cat >"$dir/look.py" <<'PY'
import logging
import os
import socket
import threading
import time

logging.disable(logging.CRITICAL)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

slow = socket.create_server(("127.0.0.1", 0))


def answer_late():
    while True:
        caller, _ = slow.accept()
        threading.Timer(4, caller.close).start()  # a backend that gives up after four seconds


threading.Thread(target=answer_late, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{slow.getsockname()[1]}"
for timeout in ("1", "2000"):
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = timeout
    exporter = OTLPSpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    threading.Timer(2.5, exporter.shutdown).start()
    began = time.monotonic()
    provider.get_tracer("t").start_span("s").end()
    waited = time.monotonic() - began
    print(f"OTEL_EXPORTER_OTLP_TIMEOUT={timeout}:", "one second" if waited < 1.8 else "more than two")
os._exit(0)
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
OTEL_EXPORTER_OTLP_TIMEOUT=1: one second
OTEL_EXPORTER_OTLP_TIMEOUT=2000: more than two
SEEN
