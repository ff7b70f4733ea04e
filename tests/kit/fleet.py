"""Days of a fleet, minute by minute, as input series of ``promtool test rules``.

What an ordinary fleet does is drawn by a seeded generator: calls by the time of day, one caller in
two hundred with a noisy line, a job that crashes now and then, deployments that replace every
worker. What goes wrong is added by :class:`Trouble`.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from runguard_otel.telemetry.catalogue import prometheus_label, prometheus_name

__all__ = ["AGENT", "DAY", "OWNER", "Fleet", "Labels", "Trouble"]

OWNER = {"cluster": "eu", "service_name": "front-desk"}
AGENT = "reservations"
DAY = 24 * 60
_CALL_MINUTES = 3
_NOISY, _CRASHES, _TWICE = 0.005, 0.002, 0.0003
_SPEECH = {"provider": "deepgram", "model": "nova-3", "kind": "genuine"}
_CALLS = "runguard.job.claim.duration"

Labels = tuple[tuple[str, str], ...]
"""Short names and values of attributes."""


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong in some minutes.

    Args:
        start: First minute.
        end: The minute after the last.
        counts: Metric, suffix and labels to what is added to it each minute, over the fleet.
        level: Metric and labels of an up-down counter to its value meanwhile.
        dead: Share of the workers that die at ``start``; ``end`` brings new ones.
    """

    start: int
    end: int
    counts: Mapping[tuple[str, str, Labels], float] = field(default_factory=dict)
    level: Mapping[tuple[str, Labels], float] = field(default_factory=dict)
    dead: float = 0


@dataclass(frozen=True)
class _Line:
    """A series: its name, the minute it begins at, its values, and whether they are times."""

    name: str
    born: int
    values: array[float]
    is_time: bool = False


@dataclass
class Fleet:
    """A fleet and its days.

    Args:
        days: How many.
        workers: How many run at a time.
        calls: How many a day.
        deploys: Minutes at which a rolling deployment begins; one worker a minute is replaced.
        troubles: What goes wrong.
        owner: Cluster and service.
        seed: Of the generator.
    """

    days: float
    workers: int
    calls: int
    deploys: tuple[int, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    owner: Mapping[str, str] = field(default_factory=lambda: OWNER)
    seed: int = 15

    @property
    def minutes(self) -> int:
        """Its length."""
        return round(self.days * DAY)

    def series(self, start: int = 0, end: int | None = None) -> dict[str, str]:
        """Series and their values, a sample a minute, as ``promtool`` reads them.

        Args:
            start: The minute that shall be the first; the clock of the series begins there.
            end: The minute after the last.
        """
        end = self.minutes if end is None else end
        out: dict[str, str] = {}
        for line in self._lines:
            first, last = max(line.born, start), min(line.born + len(line.values), end)
            if first >= last:
                continue
            kept = line.values[first - line.born : last - line.born]
            if line.is_time:
                kept = array("d", (value - 60 * start for value in kept))
            absent = f"_x{first - start} " if first > start else ""
            out[line.name] = absent + " ".join(_runs(kept)) + " stale" * (last < end)
        return out

    @cached_property
    def _lines(self) -> list[_Line]:
        rng = random.Random(self.seed)
        found: list[_Line] = []
        for slot in range(self.workers):
            for place, (born, died, asked) in enumerate(self._lives(slot)):
                found += self._worker(f"w{slot}-{place}", born, died, asked, rng)
        for metric, own in {key: None for t in self.troubles for key in t.level}:
            series = self._name("w0-0", metric, "", dict(own))
            found.append(_Line(series, 0, self._level(metric, own)))
        return found

    def _lives(self, slot: int) -> Iterator[tuple[int, int, bool]]:
        """When the workers of a slot are born and die, and whether they were asked to end."""
        ends = sorted(
            [(start + slot, start + slot, True) for start in self.deploys]
            + [
                (t.start, t.end, False)
                for t in self.troubles
                if slot < round(t.dead * self.workers)
            ]
        )
        born = 0
        for died, back, asked in ends:
            yield born, died, asked
            born = back
        yield born, self.minutes, False

    def _worker(
        self, name: str, born: int, died: int, asked: bool, rng: random.Random
    ) -> Iterator[_Line]:
        living = range(born, died)
        rate = self.calls / DAY / self.workers
        ended = [0.0] * len(living)
        noisy, crashed, twice = (list(ended) for _ in range(3))
        for place, minute in enumerate(living):
            n = _poisson(rng, rate * _busy(minute))
            ended[place] = n
            for share, counted in ((_NOISY, noisy), (_CRASHES, crashed), (_TWICE, twice)):
                counted[place] = sum(rng.random() < share for _ in range(int(n)))
        # A call of three minutes that ends now ran in the two before.
        running = [sum(ended[p : p + _CALL_MINUTES]) for p in range(len(ended))]
        trips = {"agent": AGENT, "mode": "enforce"}
        counters: list[tuple[str, str, dict[str, str], list[float]]] = [
            ("runguard.jobs.ended", "", {"agent": AGENT, "job_outcome": "clean"}, ended),
            ("runguard.jobs.ended", "", {"agent": AGENT, "job_outcome": "crashed"}, crashed),
            ("runguard.stt.results", "", _SPEECH, [12 * n for n in ended]),
            ("runguard.stt.results", "", {**_SPEECH, "kind": "empty"},
             [n + 15 * m for n, m in zip(ended, noisy, strict=True)]),
            ("runguard.trips", "", {**trips, "guard": "vad_misfire", "action": "suppress",
             "signature": "vad_misfire:empty_transcript"}, noisy),
            ("runguard.trips", "", {**trips, "guard": "job_dispatch", "action": "refuse_job",
             "signature": "job_claim:refused"}, twice),
            ("runguard.signatures", "", {"agent": AGENT, "signature": "job_claim:acquired",
             "outcome": "allowed"}, ended),
            ("runguard.signatures", "", {"agent": AGENT, "signature": "job_claim:taken_over",
             "outcome": "allowed"}, crashed),
            (_CALLS, "_count", {"operation": "acquire", "backend": "redis",
             "result": "acquired"}, ended),
            ("runguard.cost.estimated", "", {"component": "llm", "provider": "openai",
             "model": "gpt-5-mini", "agent": AGENT}, [0.05 * n for n in ended]),
        ]  # fmt: skip
        for trouble in self.troubles:
            for (metric, suffix, labels), an_minute in trouble.counts.items():
                grown = [
                    an_minute / self.workers if trouble.start <= m < trouble.end else 0.0
                    for m in living
                ]
                counters.append((metric, suffix, dict(labels), grown))
        for metric, suffix, named, grown in counters:
            yield _Line(self._name(name, metric, suffix, named), born, _summed(grown))
        beats = array("d", (60.0 * m for m in living))
        yield _Line(self._name(name, "runguard.worker.heartbeat"), born, beats, True)
        started = array("d", [60.0 * born - 5] * len(beats))
        yield _Line(self._name(name, "runguard.worker.start"), born, started, True)
        goes = array("d", [1.0] * len(beats))
        if asked and goes:
            goes[-1] = 0.0
        yield _Line(self._name(name, "runguard.worker.expected"), born, goes)
        jobs = self._name(name, "runguard.jobs", "", {"agent": AGENT})
        yield _Line(jobs, born, array("d", running))

    def _level(self, metric: str, labels: Labels) -> array[float]:
        values = array("d", [0.0]) * self.minutes
        for trouble in self.troubles:
            level = trouble.level.get((metric, labels), 0.0)
            for minute in range(trouble.start, trouble.end):
                values[minute] += level
        return values

    def _name(
        self, worker: str, metric: str, suffix: str = "", labels: Mapping[str, str] | None = None
    ) -> str:
        named = {prometheus_label(k): v for k, v in (labels or {}).items()}
        found = {**self.owner, "job": "agents", "instance": worker, **named}
        inside = ", ".join(f'{k}="{v}"' for k, v in found.items())
        return f"{prometheus_name(metric)}{suffix}{{{inside}}}"


def _runs(values: array[float]) -> Iterator[str]:
    """Values as ``promtool`` writes them, equal ones and equal steps together."""
    start = 0
    while start < len(values):
        step = values[start + 1] - values[start] if start + 1 < len(values) else 0.0
        end = start + 1
        while end < len(values) and values[end] - values[end - 1] == step:
            end += 1
        first, times = f"{values[start]:.10g}", end - start - 1
        if step and times < 3:  # a step that is repeated may be chance; the next run begins it
            end, times = start + 1, 0
        grows = f"{step:+.10g}" if step else ""
        yield f"{first}{grows}x{times}" if times else first
        start = end


def _summed(grown: list[float]) -> array[float]:
    total, out = 0.0, array("d")
    for step in grown:
        total += step
        out.append(round(total, 6))
    return out


def _busy(minute: int) -> float:
    """How busy a minute of the day is; 1 on average, most at noon, a tenth of it at night."""
    return 1 + 0.85 * math.sin(2 * math.pi * (minute % DAY / DAY - 0.25))


def _poisson(rng: random.Random, mean: float) -> int:
    limit, n, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        n += 1
        product *= rng.random()
    return n
