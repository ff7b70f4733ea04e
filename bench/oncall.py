"""From a loop to the page, by stage, through the real chain with the intervals that ship.

Job processes, worker, Prometheus, rules and Alertmanager are real; PagerDuty is a stand-in. One
storm of a guard that enforces and one of a guard that only observes, at once.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.harness import Result
from tests.kit.oncall_chain import MODES, SHIPPED, Stages, chain

SCRAPE, EVALUATION, GROUP_WAIT = 15.0, 15.0, 5.0
GROUPS = 2
"""A loop is recorded in one group of rules and alerts in the next, each evaluated in its turn."""


def run(soak: bool) -> list[Result]:
    found: dict[str, list[Stages]] = {service: [] for service in MODES}
    for _ in range(5 if soak else 1):
        with chain("scrape", SHIPPED) as real, ThreadPoolExecutor(len(MODES)) as pool:
            storms = {s: pool.submit(real.storm, s, 20, 10) for s in MODES}
            for service, storm in storms.items():
                found[service].append(storm.result())
    return [row for service in MODES for row in _rows(MODES[service], found[service])]


def _rows(mode: str, storms: list[Stages]) -> Iterator[Result]:
    stages = {
        "third reconnect to stored": ([s.stored - s.third for s in storms], SCRAPE + 1,
                                      "a scrape each 15 s"),
        "stored to alert": ([s.firing - s.stored for s in storms], GROUPS * EVALUATION,
                            "rules each 15 s; each group in its turn"),
        "alert to page": ([s.paged - s.firing for s in storms], GROUP_WAIT + 1, "group_wait 5 s"),
    }  # fmt: skip
    whole = sum(goal for _, goal, _ in stages.values())
    stages["third reconnect to page"] = ([s.paged - s.third for s in storms], whole, "all of it")
    for name, (seconds, goal, note) in stages.items():
        spread = f"; {min(seconds):.1f}..{max(seconds):.1f} of {len(seconds)}" * (len(seconds) > 1)
        yield Result(
            f"{mode}: {name}", max(0.0, statistics.median(seconds)), goal, "s", note=note + spread
        )
