"""A worker's telemetry in a process of its own, as in production."""

from __future__ import annotations

import resource
from pathlib import Path

from bench.probes.answering import answer
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build


class Worker:
    def __init__(self) -> None:
        self._telemetry = build(Settings.load(metrics_port=0), agent_name=lambda: "support")
        self._telemetry.start_worker("support")

    def address(self) -> str | None:
        return self._telemetry.hub_address

    def cpu(self) -> float:
        """Milliseconds of user and system CPU so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return (used.ru_utime + used.ru_stime) * 1e3

    def memory(self) -> float:
        """KiB; what is shared counts for its share."""
        return proportional_kib()


def proportional_kib() -> float:
    """This process's memory in KiB, shared pages divided among those who share them."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


if __name__ == "__main__":
    answer(Worker())
