"""A watcher without its questions: hears webhooks about so many rooms, and says what that takes."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import Any

from runguard_otel.core.guards.presence import Limits, Member, Role
from runguard_otel.settings import Settings
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.server import Credentials
from runguard_otel.watch.webhooks import Verifier, WebhookServer


async def main(rooms: int, secret: str) -> None:
    reporter = Reporter(Settings.load(metrics_port=0), {})
    reporter.start()
    fleet = Fleet(Limits(), lambda sid, change: reporter.tell(change))
    for number in range(rooms):
        members = [
            Member(f"PA_{number}_{n}", f"who-{n}", role, None, time.time())
            for n, role in enumerate((Role.AGENT, Role.CALLER, Role.CALLER, Role.OTHER))
        ]
        fleet.listed(f"RM_{number}", f"room-{number}", time.time(), members, time.monotonic())

    def status() -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        with open("/proc/self/statm", encoding="ascii") as memory:
            pages = int(memory.read().split()[1])
        return {"cpu": used.ru_utime + used.ru_stime, "bytes": pages * resource.getpagesize()}

    verifier = Verifier(Credentials("", "devkey", secret))
    server = WebhookServer(verifier, fleet.heard, reporter.webhook, status)
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    while True:
        fleet.due()
        await asyncio.sleep(0.25)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
