"""Turns of a real ``AgentSession``: what we add in bytecodes and in CPU, in job and worker.

Bytecodes are the same at every run, so CI compares them with a ceiling (``bench.bytecodes``). CPU
is the difference between blocks with and without us in one process, beside the difference between
two blocks that are both without: where that control is not far smaller, nothing is resolved.

Where spans are on, they go to a collector in another process and must arrive: that of an event when
the session begins, as a job's claim is one, for a plain turn makes none. What an event costs is in
rows of its own, for which nothing is promised: there each turn has one, and spans are sent a
hundred times as often as by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TypeVar

from bench.builds import Build, Probe, before, now, probe
from bench.bytecodes import CEILINGS, GOALS, own
from bench.harness import Figure, Result, at_one_speed, figure, interleaved

TURNS = {"text": 60, "audio": 20}
"""Of a block: short ones, for what disturbs a long one is not told from what we add."""
ROUNDS = {"text": 90, "audio": 30}
_SPANS_ON = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
_EVENTFUL = {**_SPANS_ON, "OTEL_BSP_SCHEDULE_DELAY": "50"}
T = TypeVar("T")


def run(soak: bool) -> list[Result]:
    rounds = {kind: number * 3 if soak else number for kind, number in ROUNDS.items()}
    with ExitStack() as stack:
        builds = [build for build in (now(), before()) if build is not None]
        sides = [_Side(stack, build) for build in builds]
        collector = stack.enter_context(probe(now(), "collecting"))
        exporting = [_Side(stack, now(), "exporting", collector, _SPANS_ON)]
        eventful = [_Side(stack, now(), "eventful", collector, _EVENTFUL)]
        return [
            *_bytecodes(TURNS, sides),
            *(r for kind in TURNS for r in _cpu(kind, sides, rounds[kind])),
            *_frames(sides, rounds["audio"]),
            *_tokens(sides, rounds["audio"]),
            *_bytecodes(TURNS, exporting),
            *(r for kind in TURNS for r in _cpu(kind, exporting, rounds[kind])),
            *_bytecodes(["text"], eventful),
            *_cpu("text", eventful, rounds["text"] // 2),
        ]


_KINDS = {
    "runguard": ("", True),
    "exporting": (", spans on", True),
    "eventful": (" with an event, spans on", False),
}
"""What a row is called besides its turn, and whether it has a goal."""


class _Side:
    """One build: a process with sessions, and a worker that it counts for.

    Args:
        stack: Ends both.
        build: The build.
        what: Which of ``bench.probes.sides``.
        collector: Where its spans go, if it makes any.
        variables: For its processes, besides where that is.
    """

    def __init__(
        self,
        stack: ExitStack,
        build: Build,
        what: str = "runguard",
        collector: Probe | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.build, self._collector = build, collector
        self.kind, self.promised = _KINDS[what]
        if collector is not None:
            given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.ask("address"), **(variables or {})}
            build = replace(build, variables=given)
        self.session: Probe = stack.enter_context(probe(build, "turn", what))
        self.worker: Probe = stack.enter_context(probe(build, "worker"))
        self.hub = self.worker.ask("address")

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
    for kind in kinds:
        found = [side.bytecodes(kind) for side in sides]
        note = "executed in our own functions, in a job"
        if len(found) > 1:
            note += f"; {found[0] / found[1]:.2f} of before ({found[1]:,.0f})"
        goal = GOALS[kind] if sides[0].promised else 0
        yield Result(f"{kind} turn{sides[0].kind}: own bytecodes", found[0], goal, "", note=note)


def _cpu(kind: str, sides: list[_Side], rounds: int) -> Iterator[Result]:
    ours = sides[0]
    for side in sides:
        side.block(kind, True)
    work = {"off": partial(ours.block, kind, False), "off again": partial(ours.block, kind, False)}
    for side in sides:
        work[f"on {side.build.name}"] = partial(side.block, kind, True)
        if side is not ours:
            work[f"off {side.build.name}"] = partial(side.block, kind, False)
    found = at_one_speed(interleaved(work, rounds))
    found["either"] = [  # of two the mean varies less than one of them
        {part: (a[part] + b[part]) / 2 for part in a}
        for a, b in zip(found["off"], found["off again"], strict=True)
    ]

    def added(on: str, off: str, *parts: str) -> Figure:
        pairs = zip(found[on], found[off], strict=True)
        return figure([sum(a[p] - b[p] for p in parts) for a, b in pairs])

    host = figure([block["ms"] for block in found["either"]]).value
    control = added("off again", "off", "ms")
    both = added("on now", "either", "ms", "worker")
    job, worker = added("on now", "either", "ms"), added("on now", "either", "worker")
    note = (
        f"job {job.text('ms')}, worker {worker.text('ms')} of LiveKit's {host:.2f} ms a turn; "
        f"{rounds} rounds of {TURNS[kind]} turns"
    )
    if len(sides) > 1:
        name = sides[1].build.name
        old = added(f"on {name}", f"off {name}", "ms", "worker")
        note += f"; {name}: {old.text('ms')}"
    share = both.value / host * 100
    goal = 3 if ours.promised else 0
    yield Result(f"{kind} turn{ours.kind}: CPU added, job and worker", share, goal, "%", note=note)
    control_note = "off against off, the same turns: what this bench cannot tell from nothing"
    yield Result(
        f"{kind} turn{ours.kind}: A/A control", control.value / host * 100, 0, "%",
        note=f"{control.text('ms')}; {control_note}",
    )  # fmt: skip


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
