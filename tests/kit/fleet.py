"""Days of a fleet, minute by minute, as input series of ``promtool test rules``.

What an ordinary fleet does is drawn by a seeded generator: calls by the time of day, one caller in
two hundred with a noisy line, a job that crashes now and then, deployments that replace every
worker. What goes wrong is added by :class:`Trouble`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runguard_otel.telemetry.catalogue import prometheus_label, prometheus_name

__all__ = ["AGENT", "OWNER", "Fleet", "Trouble"]

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

    def series(self) -> dict[str, str]:
        """Series and their values, a sample a minute."""
        rng = random.Random(self.seed)
        out: dict[str, str] = {}
        for slot in range(self.workers):
            for place, (born, died, asked) in enumerate(self._lives(slot)):
                name = f"w{slot}-{place}"
                out |= self._worker(name, born, died, asked, rng)
        for metric, own in {key: None for t in self.troubles for key in t.level}:
            series = self._name("w0-0", metric, "", dict(own))
            out[series] = self._level(metric, own)
        return out

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
    ) -> dict[str, str]:
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
        out: dict[str, str] = {}
        for metric, suffix, named, grown in counters:
            out[self._name(name, metric, suffix, named)] = self._values(born, _summed(grown))
        beats = [60.0 * m for m in living]
        out[self._name(name, "runguard.worker.heartbeat")] = self._line(born, len(beats), asked)
        out[self._name(name, "runguard.worker.start")] = self._values(
            born, [60.0 * born - 5] * len(beats)
        )
        goes: list[float] = [1.0] * len(beats)
        if asked and goes:
            goes[-1] = 0.0
        out[self._name(name, "runguard.worker.expected")] = self._values(born, goes)
        out[self._name(name, "runguard.jobs", "", {"agent": AGENT})] = self._values(born, running)
        return out

    def _level(self, metric: str, labels: Labels) -> str:
        values = [0.0] * self.minutes
        for trouble in self.troubles:
            level = trouble.level.get((metric, labels), 0.0)
            for minute in range(trouble.start, trouble.end):
                values[minute] += level
        return self._values(0, values)

    def _name(
        self, worker: str, metric: str, suffix: str = "", labels: Mapping[str, str] | None = None
    ) -> str:
        named = {prometheus_label(k): v for k, v in (labels or {}).items()}
        found = {**self.owner, "job": "agents", "instance": worker, **named}
        inside = ", ".join(f'{k}="{v}"' for k, v in found.items())
        return f"{prometheus_name(metric)}{suffix}{{{inside}}}"

    def _line(self, born: int, length: int, asked: bool) -> str:
        """The heartbeat: a sample a minute, then none."""
        return _absent(born) + f"{60 * born}+60x{length - 1}" + self._gone(born + length)

    def _values(self, born: int, values: list[float]) -> str:
        return _absent(born) + " ".join(_runs(values)) + self._gone(born + len(values))

    def _gone(self, minute: int) -> str:
        return " stale" if minute < self.minutes else ""


def _absent(minutes: int) -> str:
    return f"_x{minutes} " if minutes else ""


def _runs(values: list[float]) -> Iterator[str]:
    """Values as ``promtool`` writes them, equal ones together."""
    start = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[start]:
            times = place - start
            yield f"{values[start]:.10g}" + (f"x{times - 1}" if times > 1 else "")
            start = place


def _summed(grown: list[float]) -> list[float]:
    total, out = 0.0, []
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
