"""A stand-in for PagerDuty's Events API v2: checks what PagerDuty requires, and remembers.

The one part of the chain that is not real. It also takes the watchdog's webhook.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Event:
    """One request to ``/v2/enqueue``; ``at`` in unix seconds."""

    at: float
    body: dict[str, Any]

    @property
    def action(self) -> str:
        return str(self.body["event_action"])

    @property
    def incident(self) -> str:
        """PagerDuty makes one incident per open dedup key."""
        return str(self.body["dedup_key"])


class PagerDuty:
    """The receiver, serving on a loopback port until stopped."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused: list[list[str]] = []
        self.watchdog: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                problems = outer.take(self.path, body)
                answer = json.dumps({"status": "invalid event" if problems else "success"})
                self.send_response(400 if problems else 202)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: dict[str, Any]) -> list[str]:
        """One request; what PagerDuty would not accept about it."""
        if path == "/watchdog":
            self.watchdog.append(body)
            return []
        problems = list(_problems(body))
        if problems:
            self.refused.append(problems)
        else:
            self.events.append(Event(time.time(), body))
        return problems

    def of(self, action: str, service: str = "") -> list[Event]:
        """The events of one kind, of one service; a resolve is known by its trigger's key."""
        keys = {
            e.incident
            for e in self.events
            if e.action == "trigger" and service in ("", e.body["payload"]["component"])
        }
        return [e for e in list(self.events) if e.action == action and e.incident in keys]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _problems(body: dict[str, Any]) -> list[str]:
    """PagerDuty's documented conditions for an event."""
    found = []
    if len(body.get("routing_key", "")) != 32:
        found.append("routing_key has 32 characters")
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        found.append("event_action is unknown")
    if not 0 < len(body.get("dedup_key", "")) <= 255:
        found.append("dedup_key is missing or too long")
    if body.get("event_action") == "trigger":
        payload = body.get("payload") or {}
        found += [f"payload.{k} is missing" for k in ("summary", "source") if not payload.get(k)]
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            found.append("payload.severity is unknown")
        if len(payload.get("summary", "")) > 1024:
            found.append("payload.summary is too long")
    return found
