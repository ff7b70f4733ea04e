"""Takes what Alertmanager sends and shows it: http://localhost:9095. Standard library only."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

told: deque[str] = deque(maxlen=200)
watchdog = [0.0]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<title>What on-call is told</title>
<style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}</style>
<h1>What on-call is told</h1><p>{alive}</p><ol reversed>{told}</ol></html>"""


def sentences(body: dict[str, Any]) -> list[str]:
    """One for each alert of a notification."""
    found = []
    for alert in body.get("alerts", []):
        labels, words = alert.get("labels", {}), alert.get("annotations", {})
        head = f"{alert.get('status')} {labels.get('severity')} {labels.get('alertname')}"
        found.append(f"{time.strftime('%H:%M:%S')} {head}: {words.get('summary', '')}")
    return found


class Handler(BaseHTTPRequestHandler):
    """Alertmanager's webhook at /alerts and /watchdog, and a page for people."""

    def do_POST(self) -> None:
        """A notification."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/watchdog":
            watchdog[0] = time.time()
        else:
            for sentence in sentences(body):
                told.appendleft(sentence)
                print(sentence, flush=True)
        self._answer(b"", "text/plain")

    def do_GET(self) -> None:
        """The page."""
        ago = time.time() - watchdog[0]
        alive = f"The watchdog was heard {ago:.0f} s ago." if watchdog[0] else "No watchdog yet."
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in told)
        self._answer(PAGE.format(alive=alive, told=items).encode(), "text/html; charset=utf-8")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Only what on-call is told goes to the log."""


if __name__ == "__main__":
    address = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1", 9095)
    ThreadingHTTPServer(address, Handler).serve_forever()
