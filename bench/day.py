"""A day of a busy worker, without its pauses: does anything grow?

25 calls at a time, of five minutes and 20 turns each, are 7,200 jobs; a third of them is gone
without a goodbye. Each counts, times, holds a guard open and shows a period, as jobs do, and the
worker is scraped every 15 seconds of the day. What was counted must be exact, and after noon
neither the worker nor the process of the jobs may get more memory, files or threads.
"""

from __future__ import annotations

import urllib.request
from contextlib import ExitStack

from prometheus_client.parser import text_string_to_metric_families

from bench.builds import Probe, now, probe
from bench.harness import Result
from tests.kit.ports import free_port

AT_A_TIME, TURNS = 25, 20
BATCHES = 24 * 12  # of five minutes
SCRAPES = 20  # in five minutes
WARM = BATCHES // 2  # allocators take some hours to settle
GROWN_KIB = 512
"""If each job left 150 bytes behind, it would be as much."""


def run(soak: bool) -> list[Result]:
    """``soak`` changes nothing: it is a day."""
    with ExitStack() as stack:
        port = free_port()
        worker = stack.enter_context(probe(now(), "worker", str(port)))
        jobs = stack.enter_context(probe(now(), "jobs", worker.ask("address"), "1"))
        first, warm = _sums(port), list[dict[str, float]]()
        for batch in range(BATCHES):
            jobs.ask("live", jobs=AT_A_TIME, turns=TURNS)
            for _ in range(SCRAPES):
                _scrape(port)
            if batch == WARM:
                warm = _states(worker, jobs)
        late = _states(worker, jobs)
        counted, ended, left = (b - a for a, b in zip(first, _sums(port), strict=True))
    turns, lived = BATCHES * AT_A_TIME * TURNS, BATCHES * AT_A_TIME
    note = f"of {turns:,}; {ended:,.0f} of {lived:,} jobs were seen to end"
    names = ("worker", "jobs' process")
    return [
        *(r for name, a, b in zip(names, warm, late, strict=True) for r in _grown(name, a, b)),
        Result("a day: turns counted", counted, turns, "", at_least=True, note=note),
        Result("a day: turns counted too often", counted - turns, 0.5, ""),
        Result("a day: jobs and open guards left up", left, 0.5, ""),
    ]


def _states(worker: Probe, jobs: Probe) -> list[dict[str, float]]:
    return [worker.ask("state"), jobs.ask("state")]


def _grown(name: str, then: dict[str, float], late: dict[str, float]) -> list[Result]:
    note = ", ".join(f"{what} {then[what]:g} -> {late[what]:g}" for what in then)
    handles = late["files"] + late["threads"] - then["files"] - then["threads"]
    return [
        Result(
            f"a day: memory of the {name} grown",
            late["kib"] - then["kib"],
            GROWN_KIB,
            "KiB",
            note=note,
        ),
        Result(f"a day: files and threads of the {name} grown", handles, 0.5, "", note=note),
    ]


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def _sums(port: int) -> tuple[float, float, float]:
    """Turns counted, jobs that ended, and what is still up of what goes up and down."""
    turns = ended = left = 0.0
    for family in text_string_to_metric_families(_scrape(port)):
        for sample in family.samples:
            if sample.name == "runguard_signatures_total":
                turns += sample.value
            elif sample.name == "runguard_jobs_ended_total":
                ended += sample.value
            elif sample.name in ("runguard_jobs", "runguard_guards_open"):
                left += sample.value
    return turns, ended, left
