"""A worker's telemetry in a process of its own, as in production."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from bench.probes.answering import answer
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build


class Worker:
    """A worker that runs.

    Args:
        port: Where it serves ``/metrics``; 0: nowhere.
    """

    def __init__(self, port: int = 0) -> None:
        self._telemetry = build(Settings.load(metrics_port=port), agent_name=lambda: "support")
        self._telemetry.start_worker("support")

    def address(self) -> str | None:
        return self._telemetry.hub_address

    def memory(self) -> float:
        """KiB; what is shared counts for its share."""
        return proportional_kib()

    def state(self) -> dict[str, float]:
        """What it has: memory, open files, threads."""
        return state()


def state() -> dict[str, float]:
    """What this process has: memory in KiB, open files, threads."""
    gc.collect()
    files, threads = (len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
    return {"kib": proportional_kib(), "files": files, "threads": threads}


def proportional_kib() -> float:
    """This process's own memory in KiB, shared pages divided among those who share them.

    Without what it maps of files: of a library each process has the less the more of them run.
    """
    found, own = 0.0, True
    with Path("/proc/self/smaps").open() as lines:  # line by line: all of it would be in the answer
        for line in lines:
            name, *rest = line.split()
            if not name.endswith(":"):  # a mapping begins: addresses, rights, offset, device, inode
                own = len(rest) < 5 or not rest[4].startswith("/") or rest[4].startswith("/memfd:")
            elif own and name == "Pss:":
                found += float(rest[0])
    return found


if __name__ == "__main__":
    answer(Worker(*map(int, sys.argv[1:])))
