"""Turns of a real ``AgentSession``: what we add in bytecodes and in CPU, in job and worker.

Bytecodes are the same at every run, so CI compares them with a ceiling (``bench.bytecodes``). CPU
is the difference between blocks with and without us in one process, beside the difference between
two blocks that are both without: where that control is not far smaller, nothing is resolved. Of the
same code one process is faster than the next by up to 2 % of a turn, all its life (where its memory
lies, how its sets are ordered), and so is what we add in it: each figure is of several processes.

Where spans are on, they go to a collector in another process and must arrive: that of an event when
the session begins, as a job's claim is one, for a plain turn makes none. What an event costs is in
rows of its own, for which nothing is promised: there each turn has one, and spans are sent a
hundred times as often as by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TypeVar

from bench.builds import Build, Probe, before, now, probe
from bench.bytecodes import CEILINGS, GOALS, own
from bench.harness import Figure, Result, at_one_speed, figure, interleaved

TURNS = {"text": 60, "audio": 60}
"""Of a block: short ones, for what disturbs a long one is not told from what we add."""
ROUNDS = {"text": 10, "audio": 5}
"""Of each process."""
PROCESSES = {"text": 9, "audio": 7}
"""Of each build, one after the other."""
_SPANS_ON = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
_EVENTFUL = {**_SPANS_ON, "OTEL_BSP_SCHEDULE_DELAY": "50"}
T = TypeVar("T")


def run(soak: bool) -> list[Result]:
    processes = {kind: number * 3 if soak else number for kind, number in PROCESSES.items()}
    builds = [build for build in (now(), before()) if build is not None]
    with probe(now(), "collecting") as collector:
        plain = [_Side(build) for build in builds]
        exporting = [_Side(now(), "exporting", collector, _SPANS_ON)]
        eventful = [_Side(now(), "eventful", collector, _EVENTFUL)]
        return [
            *_bytecodes(TURNS, plain),
            *(r for kind in TURNS for r in _cpu(kind, plain, processes[kind])),
            *_frames(plain, 30),
            *_tokens(plain, 30),
            *_bytecodes(TURNS, exporting),
            *(r for kind in TURNS for r in _cpu(kind, exporting, processes[kind])),
            *_bytecodes(["text"], eventful),
            *_cpu("text", eventful, processes["text"] // 2),
        ]


_KINDS = {
    "runguard": ("", True),
    "exporting": (", spans on", True),
    "eventful": (" with an event, spans on", False),
}
"""What a row is called besides its turn, and whether it has a goal."""


class _Side:
    """One build, and while it is entered a process with sessions and a worker that it counts for.

    Args:
        build: The build.
        what: Which of ``bench.probes.sides``.
        collector: Where its spans go, if it makes any.
        variables: For its processes, besides where that is.
    """

    session: Probe
    worker: Probe
    hub: str

    def __init__(
        self,
        build: Build,
        what: str = "runguard",
        collector: Probe | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.build, self._what, self._collector = build, what, collector
        self.kind, self.promised = _KINDS[what]
        if collector is not None:
            given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.ask("address"), **(variables or {})}
            self.build = replace(build, variables=given)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its processes, for as long as this is entered."""
        with probe(self.build, "turn", self._what) as session, probe(self.build, "worker") as hub:
            self.session, self.worker, self.hub = session, hub, hub.ask("address")
            yield

    def block(self, kind: str, on: bool) -> dict[str, float]:
        """Milliseconds of CPU of a turn, here and in the worker."""
        hub, worker = self.hub if on else "", self.worker.pid
        block = partial(
            self.session.ask, "block", kind=kind, turns=TURNS[kind], on=on, hub=hub, worker=worker
        )
        found: dict[str, float] = self._arriving(block) if on else block()
        return found

    def bytecodes(self, kind: str) -> float:
        """Executed in our own functions in a turn."""
        return self._arriving(partial(own, self.session, kind, self.hub))

    def _arriving(self, work: Callable[[], T]) -> T:
        """Do something that must make spans, where there is a collector."""
        seen = self._collector.ask("spans") if self._collector is not None else 0
        found = work()
        if self._collector is not None and self._collector.ask("spans") == seen:
            raise RuntimeError(f"no span arrived from {self.build.name}: nothing was measured")
        return found


def _bytecodes(kinds: Iterable[str], sides: list[_Side]) -> Iterator[Result]:
    with _all(sides):
        counted = {kind: [side.bytecodes(kind) for side in sides] for kind in kinds}
    for kind, found in counted.items():
        note = "executed in our own functions, in a job"
        if len(found) > 1:
            note += f"; {found[0] / found[1]:.2f} of before ({found[1]:,.0f})"
        goal = GOALS[kind] if sides[0].promised else 0
        yield Result(f"{kind} turn{sides[0].kind}: own bytecodes", found[0], goal, "", note=note)


@contextmanager
def _all(sides: Iterable[_Side]) -> Iterator[None]:
    with ExitStack() as stack:
        for side in sides:
            stack.enter_context(side.running())
        yield


def _cpu(kind: str, sides: list[_Side], processes: int) -> Iterator[Result]:
    ours = sides[0]
    work = {"off": partial(ours.block, kind, False), "off again": partial(ours.block, kind, False)}
    for side in sides:
        work[f"on {side.build.name}"] = partial(side.block, kind, True)
        if side is not ours:
            work[f"off {side.build.name}"] = partial(side.block, kind, False)
    found = [_one_process(kind, sides, work, seed) for seed in range(processes)]

    def added(on: str, off: str, *parts: str) -> Figure:
        return figure(
            [
                median(
                    [sum(a[p] - b[p] for p in parts) for a, b in zip(f[on], f[off], strict=True)]
                )
                for f in found
            ]
        )

    host = figure([block["ms"] for f in found for block in f["either"]]).value
    control = added("off again", "off", "ms")
    both = added("on now", "either", "ms", "worker")
    job, worker = added("on now", "either", "ms"), added("on now", "either", "worker")
    note = (
        f"job {job.text('ms')}, worker {worker.text('ms')} of LiveKit's {host:.2f} ms a turn; "
        f"medians of {processes} processes with {ROUNDS[kind]} rounds of {TURNS[kind]} turns"
    )
    if len(sides) > 1:
        name = sides[1].build.name
        old = added(f"on {name}", f"off {name}", "ms", "worker")
        note += f"; {name}: {old.text('ms')}"
        if kind == "audio":
            ratio, what = (
                both.value / old.value,
                f"{kind} turn{ours.kind}: CPU added against before",
            )
            yield Result(what, ratio, 0.5, "x", note=f"{both.text('ms')} of {old.text('ms')}")
    share = both.value / host * 100
    goal = 3 if ours.promised and kind == "text" else 0
    yield Result(f"{kind} turn{ours.kind}: CPU added, job and worker", share, goal, "%", note=note)
    control_note = "off against off, the same turns: what this bench cannot tell from nothing"
    yield Result(
        f"{kind} turn{ours.kind}: A/A control", control.value / host * 100, 0, "%",
        note=f"{control.text('ms')}; {control_note}",
    )  # fmt: skip


def _one_process(
    kind: str, sides: list[_Side], work: Mapping[str, Callable[[], dict[str, float]]], seed: int
) -> dict[str, list[dict[str, float]]]:
    with _all(sides):
        for side in sides:
            side.block(kind, True)
        found = at_one_speed(interleaved(work, ROUNDS[kind], seed))
    found["either"] = [  # of two the mean varies less than one of them
        {part: (a[part] + b[part]) / 2 for part in a}
        for a, b in zip(found["off"], found["off again"], strict=True)
    ]
    return found


def _frames(sides: list[_Side], rounds: int) -> Iterator[Result]:
    """A second of audio: 50 frames through ``RecognizeStream.push_frame``."""

    def second(side: _Side, on: bool) -> dict[str, float]:
        hub = side.hub if on else ""
        us: float = side.session.ask("frames", seconds=40, on=on, hub=hub)["us"]
        return {"us": us}

    work = {"off": partial(second, sides[0], False), "off again": partial(second, sides[0], False)}
    for side in sides:
        work[f"on {side.build.name}"] = partial(second, side, True)
        if side is not sides[0]:
            work[f"off {side.build.name}"] = partial(second, side, False)
    with _all(sides):
        found = interleaved(work, rounds)

    def added(on: str, off: str) -> Figure:
        return figure([a["us"] - b["us"] for a, b in zip(found[on], found[off], strict=True)])

    ours = added("on now", "off")
    host = figure([block["us"] for block in found["off"]]).value
    note = f"{ours.text('us')} added to LiveKit's {host:.0f} us"
    if len(sides) > 1:
        name = sides[1].build.name
        old = added(f"on {name}", f"off {name}")
        note += f"; {name}: {old.text('us')}"
        yield Result("second of audio: CPU added", ours.value / old.value, 0.5, "x", note=note)
    else:
        yield Result("second of audio: CPU added", ours.value, 0, "us", note=note)
    control = added("off again", "off")
    yield Result("second of audio: A/A control", control.value, 0, "us", note=control.text("us"))


def _tokens(sides: list[_Side], rounds: int) -> Iterator[Result]:
    """A token of an answer, given to a voice: ``SynthesizeStream.push_text``."""

    def token(side: _Side, on: bool) -> dict[str, float]:
        hub = side.hub if on else ""
        found: dict[str, float] = side.session.ask("tokens", number=500, on=on, hub=hub)
        return found

    work = {}
    for side in sides:
        work[f"on {side.build.name}"] = partial(token, side, True)
        work[f"off {side.build.name}"] = partial(token, side, False)
    with _all(sides):
        found = interleaved(work, rounds)

    def added(build: Build) -> Figure:
        pairs = zip(found[f"on {build.name}"], found[f"off {build.name}"], strict=True)
        return figure([a["us"] - b["us"] for a, b in pairs])

    ours = sides[0].build
    own = {side.build.name: found[f"on {side.build.name}"][0]["own"] for side in sides}
    host = figure([block["us"] for block in found[f"off {ours.name}"]]).value
    note = f"{added(ours).text('us')} of CPU added to LiveKit's {host:.1f} us"
    for side in sides[1:]:
        old = side.build
        note += f"; {old.name}: {own[old.name]:.0f}, {added(old).text('us')}"
    goal = CEILINGS["token"]
    yield Result("token to a voice: own bytecodes", own[ours.name], goal, "", note=note)
