"""The core: detector, window, memory per key; and what importing and instrumenting cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator

from bench.builds import before, now
from bench.harness import Result, figure, per_call_us
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.loop import LoopDetector
from runguard_otel.core.window import SlidingWindow

KEYS = 100_000
ROUNDS = 9


def run(soak: bool) -> list[Result]:
    return [_push(), _hit(), *_against_before(), *_memory(), _import(), _instrument()]


def _push() -> Result:
    detector = LoopDetector(3)
    words = [f"room_reconnect:{i % 7}" for i in range(1000)]

    def work(calls: int) -> None:
        push = detector.push
        for _ in range(calls // 1000):
            for word in words:
                push(word)

    measured, spread = per_call_us(work, 200_000)
    return Result("LoopDetector.push", measured, 0.5, "us", note=f"CPU, {spread}")


def _hit() -> Result:
    window = SlidingWindow(60)

    def work(calls: int) -> None:
        hit = window.hit
        now = 0.0
        for _ in range(calls):
            now += 7.0
            hit(now)

    measured, spread = per_call_us(work, 200_000)
    return Result("SlidingWindow.hit", measured, 0.5, "us", note=f"CPU, {spread}, hits expire")


def _against_before() -> Iterator[Result]:
    """Both again, in processes of the two builds by turns."""
    build = before()
    if build is None:
        return
    code = "from bench.core import _push, _hit; print(_push().measured, _hit().measured)"
    found: dict[str, list[list[float]]] = {}
    for one in (now(), build) * ROUNDS:
        done = subprocess.run(
            [one.python, "-c", code],
            env={**one.environment(), "PYTHONSAFEPATH": "1"},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        found.setdefault(one.name, []).append([float(word) for word in done.stdout.split()])
    for place, name in enumerate(("LoopDetector.push", "SlidingWindow.hit")):
        pairs = zip(found["now"], found[build.name], strict=True)
        ratio = figure([ours[place] / theirs[place] for ours, theirs in pairs])
        yield Result(
            f"{name} against before", ratio.value, 1.1, "x",
            note=f"no worse, which processes of one build differ by: {ratio.text('x')}",
        )  # fmt: skip


def _memory() -> list[Result]:
    from runguard_otel.core.guards.reconnect import ReconnectPolicy

    policies: BoundedMap[str, ReconnectPolicy] = BoundedMap(
        lambda room: ReconnectPolicy(), max_keys=KEYS
    )
    names = [f"wss://host|room-{i}|agent" for i in range(KEYS)]
    tracemalloc.start()
    for name in names:
        policies.get(name)
    held, _ = tracemalloc.get_traced_memory()
    for i in range(KEYS // 2):
        policies.get(f"later-{i}")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [
        Result("bytes per tracked room", held / KEYS, 1024, "B", note=f"{KEYS:,} keys"),
        Result(
            "memory after 50 % more keys",
            after / held,
            1.1,
            "x",
            note=f"bounded: {policies.evicted:,} evicted",
        ),
    ]


def _times(code: str, rounds: int = 9) -> list[float]:
    """Milliseconds printed by fresh processes; the first only fills the byte code cache."""
    out = []
    with tempfile.TemporaryDirectory() as cache:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache  # as after an installation: everything is compiled
        for _ in range(rounds + 1):
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
            )
            out.append(float(done.stdout.strip().splitlines()[-1]))
    return out[1:]


def _import() -> Result:
    samples = _times(
        "import time; t = time.perf_counter(); import runguard_otel;"
        " print((time.perf_counter() - t) * 1e3)"
    )
    note = f"{min(samples):.1f}..{max(samples):.1f} over {len(samples)} processes"
    return Result("import runguard_otel", statistics.median(samples), 10, "ms", note=note)


def _instrument() -> Result:
    samples = _times(
        "import time, livekit.agents, livekit.rtc, runguard_otel; t = time.perf_counter();"
        " g = runguard_otel.instrument(); e = time.perf_counter(); assert g.active;"
        " print((e - t) * 1e3)"
    )
    note = f"{min(samples):.1f}..{max(samples):.1f} over {len(samples)} processes, LiveKit loaded"
    return Result("instrument()", statistics.median(samples), 50, "ms", note=note)
