"""Machine instructions of a turn: what its CPU time is made of, and the same on a loaded machine.

callgrind counts them, of LiveKit, of us and of the interpreter alike, garbage collections included;
the process is fifty times slower meanwhile, so this runs only when it is named. What it cannot tell
from nothing, off against off, is printed beside each figure. Time is more than instructions where
they wait for memory: what runs once per turn finds no cache warm.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.builds import Build, Probe, now, probe
from bench.harness import Result, figure, interleaved

KINDS = ("text", "audio")
TURNS = 40
ROUNDS = 3


def run(soak: bool) -> list[Result]:
    if not available():
        raise RuntimeError("callgrind counts them: install valgrind")
    rounds = ROUNDS * 3 if soak else ROUNDS
    found: list[Result] = []
    for side, called in (("runguard", ""), ("exporting", ", spans on")):
        with ExitStack() as stack:
            session, hub = _started(stack, side)
            for kind in KINDS:
                found += _added(f"{kind} turn{called}", session, hub, kind, rounds)
    return found


def available() -> bool:
    """Whether callgrind is installed."""
    return shutil.which("callgrind_control") is not None


def callgrind(folder: Path) -> tuple[str, ...]:
    """What a probe is run under; ``folder`` is its ``BENCH_FOLDER``."""
    counted = f"--callgrind-out-file={folder}/counted.%p"
    return ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", counted)


def _started(stack: ExitStack, side: str) -> tuple[Probe, str]:
    here = stack.enter_context(tempfile.TemporaryDirectory(prefix="instructions-"))
    collector = stack.enter_context(probe(now(), "collecting"))
    hub: str = stack.enter_context(probe(now(), "worker")).ask("address")
    variables = {
        "BENCH_FOLDER": here,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.ask("address"),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    build = Build("now", now().folder, variables=variables)
    under = callgrind(Path(here))
    return stack.enter_context(probe(build, "turn", side, under=under)), hub


def _added(what: str, session: Probe, hub: str, kind: str, rounds: int) -> Iterator[Result]:
    def turn(on: bool) -> dict[str, float]:
        found: dict[str, float] = session.ask(
            "instructions", kind=kind, turns=TURNS, on=on, hub=hub if on else ""
        )
        return found

    work = {
        "off": partial(turn, False),
        "off again": partial(turn, False),
        "on": partial(turn, True),
    }
    found = interleaved(work, rounds)
    host = figure([block["all"] for block in found["off"]]).value

    def share(one: str) -> float:
        pairs = zip(found[one], found["off"], strict=True)
        return figure([a["all"] - b["all"] for a, b in pairs]).value

    ours, control = share("on"), share("off again")
    of = f"of LiveKit's {host / 1e6:.2f} million; off against off {control / 1e3:,.0f} thousand"
    note = f"{ours / 1e3:,.0f} thousand {of}; {rounds} rounds of {TURNS} turns"
    yield Result(f"{what}: instructions added", ours / host * 100, 3, "%", note=note)
