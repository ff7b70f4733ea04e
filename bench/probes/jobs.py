"""What job processes count, without LiveKit: one job that counts fast, or many that hardly do."""

from __future__ import annotations

import resource
import sys
import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context, use_span

from bench.probes.answering import answer
from bench.probes.worker import proportional_kib, state
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build

SIGNATURES = ("room_reconnect", "vad_misfire:echo", "job_claim:renewed", "track_subscribe")
SERIES: list[tuple[str, dict[str, str]]] = [
    *(
        ("runguard.signatures", {"signature": s, "outcome": "allowed", "agent": "support"})
        for s in SIGNATURES
    ),
    ("runguard.cost.estimated", {"component": "llm", "provider": "openai", "model": "gpt-4.1"}),
    ("runguard.cost.estimated", {"component": "stt", "provider": "deepgram", "model": "nova-3"}),
    ("runguard.stt.audio", {"provider": "deepgram", "model": "nova-3"}),
]


class Jobs:
    """Some jobs in one process; each has a recorder and a connection of its own.

    Args:
        hub: The worker's address.
        number: How many.
    """

    def __init__(self, hub: str, number: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
        self._jobs = [build(Settings.load(), agent_name=lambda: "support") for _ in range(number)]
        self._count(self._jobs)  # what a recorder needs with no worker, too
        # A process has one part of it once, however many jobs it is made to have: that is in what
        # `bench jobs` finds for a real job's process.
        self._hub = hub
        self._report(hub, self._jobs[:1])
        before = proportional_kib()
        self._report(hub, self._jobs[1:])
        self._kib = (proportional_kib() - before) / max(1, number - 1)
        self._span = TracerProvider().get_tracer("bench").start_span("turn")
        self._context = set_span_in_context(self._span)

    def _report(self, hub: str, jobs: list[Telemetry]) -> None:
        for job in jobs:
            job.use_hub(hub)
            job.job_started()
        self._count(jobs)
        for job in jobs:
            job.flush(10)

    def _count(self, jobs: list[Telemetry]) -> None:
        for job in jobs:
            for name, labels in SERIES:
                job.recorder.add(name, 1, **labels)

    def kib(self) -> float:
        """Memory that counting for a worker takes in this process, for one job."""
        return self._kib

    def count(self, counts: int, gap: float) -> dict[str, float]:
        """CPU microseconds of one count inside a span; ``gap`` seconds between two.

        Reading the clock takes a part of it, much more of it after a pause: as often it is read
        with nothing between, and that is taken off.
        """
        add, spent, clock = self._jobs[0].recorder.add, 0, 0
        with use_span(self._span):
            for n in range(counts):
                name, labels = SERIES[n & 3]
                if gap:
                    time.sleep(gap)
                began = time.thread_time_ns()
                add(name, 1, **labels)
                spent += time.thread_time_ns() - began
                if gap:
                    time.sleep(gap)
                began = time.thread_time_ns()
                clock += time.thread_time_ns() - began
        return {"us": (spent - clock) / counts / 1e3}

    def hum(self, seconds: float, each: float) -> dict[str, int]:
        """Every job counts ``each`` times a second, evenly."""
        step = 1 / (len(self._jobs) * each)
        due = time.perf_counter()
        end, done = due + seconds, 0
        while time.perf_counter() < end:
            job = self._jobs[done % len(self._jobs)]
            name, labels = SERIES[done // len(self._jobs) % len(SERIES)]
            job.recorder.add(name, 1, **labels)
            done += 1
            due += step
            time.sleep(max(0.0, due - time.perf_counter()))
        return {"counts": done}

    def live(self, jobs: int, turns: int) -> dict[str, int]:
        """So many jobs at a time from their beginning to their end; a third says no goodbye."""
        made = [build(Settings.load(), agent_name=lambda: "support") for _ in range(jobs)]
        for job in made:
            job.use_hub(self._hub)
            job.job_started("AJ_1")
        for job in made:
            period = job.begin_period("stream", {"provider": "deepgram", "model": "nova-3"})
            job.recorder.guard_opened("vad_misfire")
            for turn in range(turns):
                job.recorder.add("runguard.signatures", 1, **SERIES[turn & 3][1])
                job.recorder.observe("runguard.guard.duration", 0.001, guard="vad_misfire")
                if period is not None:
                    period.amount(turn + 1.0)
        for number, job in enumerate(made):
            if number % 3:
                job.recorder.guard_closed("vad_misfire")
                job.job_ended("AJ_1", "clean")
            job.shutdown()
        return {"jobs": jobs}

    def state(self) -> dict[str, float]:
        """What its process has: memory, open files, threads."""
        return state()


if __name__ == "__main__":
    answer(Jobs(sys.argv[1], int(sys.argv[2])))
