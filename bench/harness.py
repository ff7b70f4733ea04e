"""What a measurement is, and how it is printed."""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One figure beside its goal.

    Args:
        name: What was measured.
        measured: The figure (a median unless the note says otherwise).
        goal: The promise.
        unit: Unit of both.
        at_least: Whether bigger is better.
        note: How it was measured, spread, load.
    """

    name: str
    measured: float
    goal: float
    unit: str
    at_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float:
        """Measured against the goal; below 1 is good, or above 1 where bigger is better."""
        return self.measured / self.goal if self.goal else float("nan")

    @property
    def met(self) -> bool:
        return self.ratio >= 1 if self.at_least else self.ratio <= 1


def per_call_us(work: Callable[[int], None], calls: int, rounds: int = 7) -> tuple[float, str]:
    """Median CPU microseconds of one call; ``work(n)`` makes ``n`` calls in a tight loop."""
    work(calls // 10)
    samples = []
    for _ in range(rounds):
        start = time.process_time_ns()
        work(calls)
        samples.append((time.process_time_ns() - start) / calls / 1e3)
    return statistics.median(samples), f"{min(samples):.2f}..{max(samples):.2f} over {rounds}"


def quiet_host() -> None:
    """Warnings about scripted turns and dead collectors would bury the table."""
    for name in ("livekit", "livekit.agents", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


_WORKER = """
import sys
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
telemetry = build(Settings.load(metrics_port=0))
telemetry.start_worker("bench")
print(telemetry.hub_address, flush=True)
sys.stdin.read()
telemetry.shutdown()
"""


@contextmanager
def worker_hub() -> Iterator[str]:
    """The hub of a worker that is a process of its own, as in production; gives its address."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER], text=True, stdin=pipe, stdout=pipe
    ) as worker:
        assert worker.stdin and worker.stdout
        yield worker.stdout.readline().strip()
        worker.stdin.close()


def report(results: Sequence[Result], path: Path) -> None:
    """Print a table and write the same as JSON."""
    load = os.getloadavg()[0]
    table = Table(title=f"load {load:.1f} on {os.cpu_count()} cores", title_justify="left")
    for column in ("what", "goal", "measured", "ratio", "", "how"):
        table.add_column(column, overflow="fold")
    for r in results:
        sign = ">=" if r.at_least else "<="
        table.add_row(
            r.name,
            f"{sign} {r.goal:g} {r.unit}",
            f"{r.measured:.3g} {r.unit}",
            f"{r.ratio:.2f}",
            "[green]met[/]" if r.met else "[red]missed[/]",
            r.note,
        )
    Console(width=None if os.isatty(1) else 140).print(table)
    machine = {"cores": os.cpu_count(), "load": load, "python": platform.python_version()}
    rows = [{**asdict(r), "ratio": r.ratio, "met": r.met} for r in results]
    path.write_text(json.dumps({"machine": machine, "results": rows}, indent=2) + "\n")
