#!/usr/bin/env bash
# langfuse 5.0.4 with a tracer provider of one's own: which spans of a trace it takes.
#
# Guess: all of them; whoever hands over a tracer provider wants its traces whole.
# Seen:  only spans with a gen_ai.* attribute, or of instrumentations it knows. Of three nested spans the
#        innermost arrives, and names a parent that never does. LiveKit's scope is none that it knows.
# Hurts: a call's trace in it begins in the middle: the job, the turn, the tool's own work are missing.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check langfuse==5.0.4
cat >"$dir/look.py" <<'PY'
import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from langfuse import Langfuse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

arrived = {}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    arrived.update({span.name: span for span in scope.spans})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
provider = TracerProvider()
url = f"http://127.0.0.1:{server.server_port}"
client = Langfuse(public_key="public", secret_key="none", base_url=url, tracer_provider=provider)
tracer = provider.get_tracer("livekit-agents")
with (
    tracer.start_as_current_span("job_entrypoint"),
    tracer.start_as_current_span("agent_turn"),
    tracer.start_as_current_span("llm_request", attributes={"gen_ai.operation.name": "chat"}),
):
    pass
client.flush()
known = {span.span_id for span in arrived.values()}
for name in ("job_entrypoint", "agent_turn", "llm_request"):
    if name not in arrived:
        print(f"{name}: dropped")
    else:
        parent = arrived[name].parent_span_id
        print(f"{name}: exported, its parent is {'there' if parent in known else 'nowhere'}")
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
job_entrypoint: dropped
agent_turn: dropped
llm_request: exported, its parent is nowhere
SEEN
