"""A collector in a process of its own: takes what is sent by OTLP/HTTP and counts our spans."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.probes.answering import answer


class Collector:
    """What is asked for: its address, and how many spans of ours it has."""

    def __init__(self) -> None:
        self._spans = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # exporters keep their connection

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, request: ExportTraceServiceRequest) -> None:
        self._spans += sum(
            span.name.startswith("runguard.")
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )

    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> int:
        return self._spans


if __name__ == "__main__":
    answer(Collector())
