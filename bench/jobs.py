"""What a real job process pays for us: CPU, memory, and for how long its event loop is held.

Workers of one agent (``bench/probes/job_agent.py``) register with the dispatcher of
``runguard_otel.testing``, which speaks a LiveKit server's protocol: without us, without us again
(the control), with us, with us and spans, and with the baseline. Each has one job after another in
a forkserver's child, in an order drawn anew for each round; no process is started in reserve, so
nothing else of the bench runs meanwhile. All figures are one job's with us minus one's without us
of the same round.

CPU: user and system, all threads, of our import and ``instrument()`` in the agent's module; and of
the whole process until its entrypoint, where what the worker hands over has been taken up as well.
Memory: ``Private_Dirty`` when the session runs. Loops: the longest callback of a kind (a task, a
transport, a timer), by the wall clock, until the session runs and from ``ctx.shutdown()`` to the
loop's end; the kind to which we add most is told. A long stretch of ours could hide behind a longer
one of LiveKit's of the same kind, but not in the CPU of all callbacks, which is told as well.

``JOBS_ROUNDS`` (12) is how many jobs each worker has.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.builds import ROOT, Build, Probe, before, now, probe
from bench.harness import Figure, Result, figure, shuffled
from runguard_otel.testing.dispatcher import Dispatcher
from tests.kit.workers import Crew

ROUNDS = int(os.environ.get("JOBS_ROUNDS", "12"))
AGENT = ROOT / "bench" / "probes" / "job_agent.py"
OFF, AGAIN, ON, SPANS, BEFORE = "without", "without again", "with", "with spans", "before"
CPU_GOAL = 1 / 8
KIB_GOAL = 5 * 1024
HELD_GOAL_MS = 5.0

Notes = dict[str, Any]
"""What one job wrote."""


@dataclass
class Found:
    """The notes of all sides, a job per round.

    Args:
        jobs: By the name of the side.
    """

    jobs: dict[str, list[Notes]]

    def added(self, side: str, *path: str) -> Figure:
        """What a side has more of than the one without us; the path leads to it in the notes."""
        pairs = zip(self.jobs[side], self.jobs[OFF], strict=True)
        return figure([_at(a, path) - _at(b, path) for a, b in pairs])

    def held(self, side: str, phase: str, clock: str) -> tuple[str, Figure]:
        """The kind of callback that a side makes longest, and by how many milliseconds."""
        kinds = {kind for s in (side, OFF) for job in self.jobs[s] for kind in job[phase][clock]}
        found = {kind: self.added(side, phase, clock, kind) for kind in sorted(kinds)}
        return max(found.items(), key=lambda item: item[1].value)


def _at(notes: Notes, path: tuple[str, ...]) -> float:
    found: Any = notes
    for name in path:
        found = found.get(name, 0.0)  # a kind that was never long is not there
    return float(found)


def run(soak: bool) -> list[Result]:
    rounds = 3 * ROUNDS if soak else ROUNDS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-jobs-")))
        collector = stack.enter_context(probe(now(), "collecting"))
        found = Found(asyncio.run(_jobs(folder, collector, rounds)))
    return [*_cpu(found), *_memory(found), *_loops(found)]


async def _jobs(folder: Path, collector: Probe, rounds: int) -> dict[str, list[Notes]]:
    async with Dispatcher() as server:
        workers = _Workers(folder, server, collector)
        try:
            await workers.start()
            found: dict[str, list[Notes]] = {side: [] for side in workers.ids}
            for side in workers.ids:
                await workers.job(side)  # what is made once per worker is not a job's
            for side in shuffled(workers.ids, rounds):
                found[side].append(await workers.job(side))
            return found
        finally:
            await workers.crew.end()


class _Workers:
    """A worker for each side.

    Args:
        folder: For everything they write.
        server: Where they register.
        collector: Where the spans go of the side that has them.
    """

    def __init__(self, folder: Path, server: Dispatcher, collector: Probe) -> None:
        self.crew = Crew(folder, agent=AGENT)
        self.ids: dict[str, str] = {}
        self._folder, self._server, self._collector = folder, server, collector
        self._number = 0

    async def start(self) -> None:
        """Start them all, and wait until they are registered."""
        guarded = {"BENCH_GUARDED": "yes"}
        spans = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._collector.ask("address"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        builds: dict[str, tuple[Build | None, dict[str, str]]] = {
            OFF: (now(), {}),
            AGAIN: (now(), {}),
            ON: (now(), guarded),
            SPANS: (now(), {**guarded, **spans}),
            BEFORE: (before(), guarded),
        }
        started = 0
        for side, (build, variables) in builds.items():
            if build is None:
                continue
            await self.crew.start(
                1,
                "",
                **self._server.environment,
                **variables,
                PYTHONPATH=build.environment()["PYTHONPATH"],
                PYTHONSAFEPATH="1",
                BENCH_AGENT=side,
                BENCH_NOTES=str(self._folder),
                RUNGUARD_METRICS_PORT="0",
                TMPDIR=str(self._folder),
            )
            started += 1
        await self._server.wait_workers(started, timeout=300)  # a busy machine is no finding
        names = {
            m.body.agent_name: m.worker_id for m in self._server.messages if m.kind == "register"
        }
        self.ids = {side: names[side] for side in builds if side in names}

    async def job(self, side: str) -> Notes:
        """Dispatch one job and wait until its process has ended."""
        self._number += 1
        room, spans = f"room-{self._number}", self._collector.ask("spans")
        job = self._server.job(room, agent_name=side)
        made = await self._server.dispatch(self.ids[side], job)
        assert made.available, f"the worker {side} took no job"
        notes = self._folder / f"{room}.json"
        await self._server.wait(notes.exists)
        # Who exports none has nowhere to send one. A worker's own come seconds after its job.
        if side == SPANS and self._collector.ask("spans") == spans:
            raise RuntimeError("no span arrived of a job that has some")
        found: Notes = json.loads(notes.read_text())
        return found


def _cpu(found: Found) -> list[Result]:
    def text(side: str) -> str:
        until = found.added(side, "entered").text("ms")
        return f"{found.added(side, 'module').text('ms')}, until the entrypoint {until}"

    name, ours = "job process: CPU of import and instrument()", found.added(ON, "module")
    if BEFORE in found.jobs:
        note = f"{text(ON)}; before {text(BEFORE)}; {ours.rounds} rounds"
        ratio = ours.value / found.added(BEFORE, "module").value
        first = Result(name, ratio, CPU_GOAL, "x", note=note)
    else:
        first = Result(name, ours.value, 0, "ms", note=text(ON))
    control = found.added(AGAIN, "module").value
    return [first, Result("job process: CPU, A/A control", control, 0, "ms", note=text(AGAIN))]


def _memory(found: Found) -> list[Result]:
    ours, control = found.added(ON, "kib"), found.added(AGAIN, "kib")
    whole = figure([job["kib"] for job in found.jobs[OFF]]).value
    note = f"{ours.text('KiB')} to {whole:,.0f}; {SPANS} {found.added(SPANS, 'kib').text('KiB')}"
    if BEFORE in found.jobs:
        note += f"; before {found.added(BEFORE, 'kib').text('KiB')}"
    name, again = "job process: private memory added", "job process: memory, A/A control"
    return [
        Result(name, ours.value, KIB_GOAL, "KiB", note=note),
        Result(again, control.value, 0, "KiB", note=control.text("KiB")),
    ]


def _loops(found: Found) -> Iterator[Result]:
    names = {ON: "loop held longer", SPANS: "loop held longer, spans on", AGAIN: "A/A control"}
    for phase in ("start", "end"):
        host = figure([max(job[phase]["wall"].values()) for job in found.jobs[OFF]]).value
        for side, name in names.items():
            _, held = found.held(side, phase, "wall")
            note = f"{_held(found, side, phase)}; LiveKit's longest {host:.1f} ms"
            if side == ON and BEFORE in found.jobs:
                note += f"; before {_held(found, BEFORE, phase)}"
            goal = 0 if side == AGAIN else HELD_GOAL_MS
            yield Result(f"job's {phase}: {name}", held.value, goal, "ms", note=note)


def _held(found: Found, side: str, phase: str) -> str:
    (kind, wall), (worst, cpu) = (found.held(side, phase, clock) for clock in ("wall", "cpu"))
    together = found.added(side, phase, "together", "cpu")
    return (
        f"{wall.text('ms')} in {kind}; CPU {cpu.text('ms')} in {worst}, "
        f"{together.text('ms')} in all callbacks"
    )
