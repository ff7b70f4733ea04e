"""Three hours of metrics, as Prometheus would have scraped them, written into its storage at once.

Names and labels come from the catalogue. Queries, rules and pages see a past without anybody
waiting for it. What happened is told in ``tests/kit/storm.py``.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runguard_otel.telemetry.catalogue import METRICS, Kind, prometheus_label, prometheus_name
from tests.kit.process import Server, http_ready
from tests.kit.servers import binary

STEP = 15
MINUTES = 180
POINTS = MINUTES * 60 // STEP + 1

Labels = Mapping[str, str]
Burst = tuple[float, float, float]
"""From minute, to minute, events per second (or, of a level, how much more)."""


@dataclass
class History:
    """Series to be written; ``seed`` of the small irregularities that real traffic has.

    Args:
        seed: Of the irregularities.
        agents: Service to agent, for what is measured without one.
    """

    seed: int = 7
    agents: Mapping[str, str] = field(default_factory=dict)
    series: dict[str, list[tuple[str, list[float]]]] = field(default_factory=dict)

    def add(self, metric: str, suffix: str, labels: Labels, values: list[float]) -> None:
        """One series with these Prometheus labels."""
        inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
        name = f"{prometheus_name(metric)}{suffix}{{{inside}}}"
        self.series.setdefault(metric, []).append((name, values))

    def count(self, metric: str, owner: Labels, base: float, *bursts: Burst, **by: str) -> None:
        """A counter: ``base`` events per second and more in bursts."""
        labels = self._labels(metric, owner, by)
        values = self._walk(f"{metric}{labels}", base, bursts, whole=True)
        self.add(metric, "", labels, values)

    def dollars(self, metric: str, owner: Labels, base: float, *bursts: Burst, **by: str) -> None:
        """A counter of parts: ``base`` dollars per second and more in bursts."""
        labels = self._labels(metric, owner, by)
        values = self._walk(f"{metric}{labels}", base, bursts, whole=False)
        self.add(metric, "", labels, [round(v, 6) for v in values])

    def level(self, metric: str, owner: Labels, base: float, *bursts: Burst, **by: str) -> None:
        """An up-down counter."""
        labels = self._labels(metric, owner, by)
        rng = random.Random(f"{self.seed}{metric}{labels}")
        values = [round(_rate(p, base, bursts) * rng.uniform(0.95, 1.05)) for p in range(POINTS)]
        self.add(metric, "", labels, [float(v) for v in values])

    def times(
        self, metric: str, owner: Labels, slow: float, base: float, *bursts: Burst, **by: str
    ) -> None:
        """A histogram; the share ``slow`` of each bucket's calls is beyond the next bound."""
        labels = self._labels(metric, owner, by)
        calls = self._walk(f"{metric}{labels}", base, bursts, whole=True)
        bounds = [*METRICS[metric].buckets, float("inf")]
        for place, bound in enumerate(bounds):
            share = 1.0 if bound == float("inf") else 1 - slow ** (place + 1)
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            counts = [float(int(c * share)) for c in calls]
            self.add(metric, "_bucket", {**labels, "le": le}, counts)
        self.add(metric, "_count", labels, calls)
        self.add(metric, "_sum", labels, [c * bounds[0] for c in calls])

    def heartbeat(self, owner: Labels, end: float) -> None:
        """A worker that lived all the time."""
        start = end - MINUTES * 60
        beats = [start + p * STEP - 0.5 for p in range(POINTS)]
        self.add("runguard.worker.heartbeat", "", owner, beats)

    def _labels(self, metric: str, owner: Labels, by: Labels) -> dict[str, str]:
        agent = self.agents.get(owner.get("service_name", ""))
        if agent and "agent" in METRICS[metric].attributes:
            by = {"agent": agent, **by}
        return {**owner, **{prometheus_label(k): v for k, v in by.items()}}

    def _walk(
        self, name: str, base: float, bursts: tuple[Burst, ...], *, whole: bool
    ) -> list[float]:
        rng = random.Random(f"{self.seed}{name}")
        total = rest = 0.0
        values = []
        for point in range(POINTS):
            rest += _rate(point, base, bursts) * STEP * rng.uniform(0.6, 1.4)
            step = float(int(rest)) if whole else rest
            rest -= step
            total += step
            values.append(total)
        return values

    def text(self, end: float) -> Iterator[str]:
        """OpenMetrics lines, the last sample at unix time ``end``."""
        start = end - MINUTES * 60
        for metric, found in self.series.items():
            kinds = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}
            kind = kinds.get(METRICS[metric].kind, "gauge")
            yield f"# TYPE {prometheus_name(metric).removesuffix('_total')} {kind}\n"
            for name, values in found:
                for point, value in enumerate(values):
                    yield f"{name} {value!r} {start + point * STEP:.3f}\n"
        yield "# EOF\n"


def _rate(point: int, base: float, bursts: tuple[Burst, ...]) -> float:
    minute = point * STEP / 60
    return base + sum(more for start, end, more in bursts if start <= minute < end)


CONFIG = """
global: {evaluation_interval: 1s, scrape_interval: 15s}
rule_files: ["*.rules.yml"]
"""


def prometheus_with(history: History, end: float, rules: Mapping[str, str]) -> Server:
    """A Prometheus that holds the history and evaluates these rules every second.

    Args:
        history: What happened.
        end: Unix time of its end; not in the future.
        rules: File names and texts.
    """
    exe, promtool = binary("prometheus", "prometheus"), binary("promtool", "prometheus")

    def argv(port: int, directory: Path) -> list[str]:
        return [exe, f"--config.file={directory}/prometheus.yml", "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.retention.time=1d", "--web.enable-lifecycle"]  # fmt: skip

    server = Server("prometheus", argv, ready=http_ready("/-/ready"))
    (server.directory / "prometheus.yml").write_text(CONFIG)
    for name, text in rules.items():
        stem = name.removesuffix(".yml")
        (server.directory / f"{stem}.rules.yml").write_text(text)
    with (server.directory / "past.txt").open("w") as past:
        past.writelines(history.text(end))
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data"],
        cwd=server.directory,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return server.start()


def now() -> float:
    """A moment on the grid of samples, a few seconds ago."""
    return time.time() // STEP * STEP
