"""The hub: what a count costs the job and the worker, against the build before; and what many do.

CPU is user and system time of whole processes, a worker and its jobs being processes of their own
as in production.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from contextlib import ExitStack
from functools import partial

from bench.builds import Build, Probe, before, now, probe
from bench.harness import Result, figure, interleaved
from runguard_otel.telemetry.counts import Counts
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.aggregator import Account, Aggregator
from runguard_otel.telemetry.hub.client import HubSink
from runguard_otel.telemetry.hub.server import Hub

SECONDS = 10.0


def run(soak: bool) -> list[Result]:
    rounds = 15 if soak else 7
    with ExitStack() as stack:
        builds = [build for build in (now(), before()) if build is not None]
        results = _one_count(stack, builds, rounds)
        for jobs in (100, 500):
            results += _many_jobs(builds, jobs, max(3, rounds // 2))
        return [*results, _longest_stretch()]


class _Side:
    """One build: a worker, and jobs that count for it."""

    def __init__(self, stack: ExitStack, build: Build, jobs: int, processes: int = 1) -> None:
        self.name = build.name
        self.worker: Probe = stack.enter_context(probe(build, "worker"))
        bare = self.worker.ask("memory")
        words = (self.worker.ask("address"), str(jobs // processes))
        self.jobs = [stack.enter_context(probe(build, "jobs", *words)) for _ in range(processes)]
        time.sleep(1.2)  # the worker has looked at all of them
        own = statistics.mean(process.ask("kib") for process in self.jobs)
        self.kib = own + (self.worker.ask("memory") - bare) / jobs

    def counts(self, number: int, gap: float) -> dict[str, float]:
        """CPU microseconds of one count, in the job and in the worker."""
        start = self.worker.cpu()
        job = self.jobs[0].ask("count", counts=number, gap=gap)["us"]
        time.sleep(1.1)  # what the worker does once a second is part of the price
        return {"job": job, "worker": (self.worker.cpu() - start) / number * 1e3}

    def hum(self, seconds: float) -> dict[str, float]:
        """CPU milliseconds a second of a worker whose jobs count once a second each."""
        start, began = self.worker.cpu(), time.monotonic()
        for process in self.jobs:
            process.say("hum", seconds=seconds, each=1)
        for process in self.jobs:
            process.hear()
        return {"ms": (self.worker.cpu() - start) / (time.monotonic() - began)}


def _one_count(stack: ExitStack, builds: list[Build], rounds: int) -> list[Result]:
    sides = [_Side(stack, build, 1) for build in builds]
    sides.append(_Side(stack, builds[-1], 1))  # the same build again: the control
    results = []
    for how, number, gap, goals in (
        ("one by one", 500, 0.004, (0.5, 0.05)),
        ("back to back", 20_000, 0.0, (1 / 3, 0.05)),
    ):
        work = {f"{n}": partial(side.counts, number, gap) for n, side in enumerate(sides)}
        found = interleaved(work, rounds)
        for part, goal in zip(("job", "worker"), goals, strict=True):
            figures = [figure([one[part] for one in found[f"{n}"]]) for n in range(len(sides))]
            base, again = figures[-2], figures[-1]
            note = f"{figures[0].text('us')} of {base.text('us')}; A/A {again.text('us')}"
            ratio = figures[0].value / base.value if len(builds) > 1 and base.value else 0.0
            results.append(Result(f"a count {how}: CPU in the {part}", ratio, goal, "x", note=note))
    return results


def _many_jobs(builds: list[Build], jobs: int, rounds: int) -> list[Result]:
    with ExitStack() as stack:
        sides = [_Side(stack, build, jobs, processes=4) for build in builds]
        work = {side.name: partial(side.hum, SECONDS) for side in sides}
        found = interleaved(work, rounds)
        figures = [figure([one["ms"] for one in found[side.name]]) for side in sides]
    ours, base = figures[0], figures[-1]
    note = f"{ours.text('ms/s')} of {base.text('ms/s')}, {jobs} jobs at one count a second"
    ratio = ours.value / base.value if len(builds) > 1 else 0.0
    memory = f"what counting for a worker adds; {builds[-1].name}: {sides[-1].kib:.1f}"
    return [
        Result(f"{jobs} jobs: CPU of the worker", ratio, 1 / 8, "x", note=note),
        Result(f"{jobs} jobs: memory per job and worker", sides[0].kib, 24, "KiB", note=memory),
    ]


def _longest_stretch() -> Result:
    """How long the worker's event loop can wait for one look at 500 blocks, all of them changed."""
    nowhere = Aggregator(lambda name, attributes: lambda value, context: None)
    hub = Hub(lambda name, attributes: lambda value, context: None)
    hub.start()
    sinks = [HubSink(hub.address) for _ in range(500)]
    counts = [Counts(partial(_itself, sink)) for sink in sinks]
    for number, sink in enumerate(sinks):
        counts[number].add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
        block = sink._block
        assert block is not None
        nowhere.read(Account(), wire.encode_shared(), [os.dup(block.descriptor)])
    late: list[float] = []
    stop, looking = threading.Event(), threading.Event()
    waiting = threading.Thread(target=_wake, args=(late, looking, stop))
    waiting.start()
    for _ in range(40):
        for each in counts:
            for signature in ("room_reconnect", "track_subscribe", "vad_misfire:echo"):
                each.add("runguard.signatures", 1, {"signature": signature}, None)
        time.sleep(0.01)  # this thread has counted for 500 jobs: nobody is to wait for that
        looking.set()
        nowhere.look()
        looking.clear()
        time.sleep(0.01)
    stop.set()
    waiting.join()
    hub.stop()
    for sink in sinks:
        sink.close()
    worst = statistics.quantiles(late, n=100)[98]
    note = "99th percentile of how late a thread is that wakes each ms, 500 blocks being read"
    return Result("hub: another thread waits for a look", worst, 5, "ms", note=note)


def _itself(sink: HubSink) -> HubSink:
    return sink


def _wake(late: list[float], looking: threading.Event, stop: threading.Event) -> None:
    while not stop.is_set():
        began = time.perf_counter()
        time.sleep(0.001)
        waited = (time.perf_counter() - began - 0.001) * 1e3
        if looking.is_set():
            late.append(waited)
