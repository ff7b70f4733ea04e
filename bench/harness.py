"""What a measurement is, and how it is printed."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        goal: The promise; 0 for a control, which promises nothing.
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
        return self.measured / self.goal if self.goal else 0.0

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


@dataclass(frozen=True)
class Figure:
    """What many rounds came to.

    Args:
        value: The median.
        low: Lower end of the 95 % interval of the median.
        high: Its upper end.
        rounds: How many rounds.
    """

    value: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """How far off the median may be."""
        return (self.high - self.low) / 2

    @property
    def resolved(self) -> bool:
        """Whether the figure is larger than what it may be off by."""
        return self.spread < abs(self.value)

    def text(self, unit: str) -> str:
        mark = "" if self.resolved else ", not told from 0"
        return f"{self.value:.3g} {unit} ({self.low:.3g}..{self.high:.3g}{mark})"


def figure(samples: Sequence[float]) -> Figure:
    """Median and its 95 % interval, which needs no assumption about the noise.

    By order statistics: with n samples the median lies between the k-th smallest and the k-th
    largest with the probability that of n throws of a coin more than k - 1 fall on each side.
    """
    ordered, n = sorted(samples), len(samples)
    below, k = 0.5**n, 0
    while below <= 0.025 and k < n // 2:
        k += 1
        below += math.comb(n, k) * 0.5**n
    first = max(0, k - 1)
    return Figure(statistics.median(ordered), ordered[first], ordered[n - 1 - first], n)


def interleaved(
    work: Mapping[str, Callable[[], dict[str, float]]], rounds: int, seed: int = 1
) -> dict[str, list[dict[str, float]]]:
    """Run every kind of block once per round, see :func:`shuffled`."""
    found = {name: list[dict[str, float]]() for name in work}
    for name in shuffled(work, rounds, seed):
        found[name].append(work[name]())
    return found


def at_one_speed(
    found: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, list[dict[str, float]]]:
    """The same blocks as if the machine had been equally fast in all of them.

    What a virtual machine gets of its host changes by a fifth from one second to the next. So a
    block runs some fixed work between its turns, and its milliseconds count by what that took.

    Args:
        found: By kind: blocks with ``ms``, and ``reference``, the milliseconds of the fixed work.
    """
    usual = statistics.median(b["reference"] for blocks in found.values() for b in blocks)
    return {
        kind: [{**b, "ms": b["ms"] * usual / b["reference"]} for b in blocks]
        for kind, blocks in found.items()
    }


def shuffled(names: Iterable[str], rounds: int, seed: int = 1) -> Iterator[str]:
    """Every name once per round, in an order that is drawn anew for each.

    Neither a drift of the machine nor what one block leaves behind for the next then falls on
    always the same kind.
    """
    rng, kinds = random.Random(seed), list(names)
    for _ in range(rounds):
        yield from rng.sample(kinds, len(kinds))


def report(results: Sequence[Result], path: Path) -> None:
    """Print a table and write the same as JSON."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    # One core of the load is what the bench itself makes.
    loaded = "; THE MACHINE WAS LOADED: believe ratios and counts, no times" * (load > cores + 1)
    table = Table(title=f"load {load:.1f} on {cores} cores{loaded}", title_justify="left")
    for column in ("what", "goal", "measured", "ratio", "", "how"):
        table.add_column(column, overflow="fold")
    for r in results:
        sign = ">=" if r.at_least else "<="
        table.add_row(
            r.name,
            f"{sign} {r.goal:g} {r.unit}" if r.goal else "",
            f"{r.measured:.3g} {r.unit}",
            f"{r.ratio:.2f}" if r.goal else "",
            ("[green]met[/]" if r.met else "[red]missed[/]") if r.goal else "",
            r.note,
        )
    Console(width=None if os.isatty(1) else 140).print(table)
    machine = {"cores": os.cpu_count(), "load": load, "python": platform.python_version()}
    rows = [{**asdict(r), "ratio": r.ratio, "met": r.met} for r in results]
    path.write_text(json.dumps({"machine": machine, "results": rows}, indent=2) + "\n")
