"""What other packages add to a turn of a real ``AgentSession``, and what we do.

They are of the versions in ``requirements/peers``, in an environment of their own, each set up as
its README says and each in a process of its own, where turns with it and turns without it
alternate. Ours is compared with the least of the others by bytecodes and, where callgrind is
installed, by the machine's instructions, which are the same on a loaded machine; CPU time, of
several processes one after the other (``bench.turn``), stands beside them. Their accounts are read
afterwards: a package that missed a turn did not do its work, and nothing is compared with it. None
reaches a network: where a service is asked for, it is a port on loopback that nobody listens to.

What is counted favours the others. Bytecodes are those of the event loop's thread, so what a
thread of theirs executes (SQLite, exports) is in the others only; nothing is sent at the end of a
call; no log is written, which some of them do at the level INFO; and voicegateway knows no price of
the scripted model, while ours has one.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import instructions
from bench.builds import ROOT, Build, Probe, probe
from bench.harness import Figure, Result, at_one_speed, figure, interleaved
from bench.probes.sides import SETTLE, WARM_UP
from bench.turn import TURNS
from tools.matrix_environments import prepared

LOCK = ROOT / "requirements" / "peers" / "peers.txt"
NOBODY = "http://127.0.0.1:9"
"""An address that refuses."""
CONTROL = "nothing"
OURS = ("runguard, script", "runguard, job")
PACKAGES = ("floe-guard", "livekit-evals", "voicegateway")
TRACED = 5
"""Turns whose bytecodes are counted at a time."""
ROUNDS = 4
"""Of each process."""
PROCESSES = 7
ROUNDS_OF_BYTECODES = 3
"""They are all but the same each time; how frames of audio fall together is not."""
ROUNDS_OF_INSTRUCTIONS = 2


class DidNothing(Exception):
    """A package did not notice the turns that it was to be measured with."""


@dataclass(frozen=True)
class Contestant:
    """A side in a process of its own.

    Args:
        name: For the table.
        session: The process.
        worker: Whose hub it counts for, if it is a job.
    """

    name: str
    session: Probe
    worker: Probe | None = None

    def bytecodes(self, kind: str, on: bool) -> dict[str, float]:
        """Those of a turn, whoever executes them."""
        return {"all": self._ask("bytecodes", kind, TRACED, on, WARM_UP + TRACED)["all"]}

    def instructions(self, kind: str, on: bool) -> dict[str, float]:
        """The machine's of a turn, whoever executes them."""
        turns = instructions.TURNS
        return self._ask("instructions", kind, turns, on, SETTLE + WARM_UP + turns)

    def cpu(self, kind: str, on: bool) -> dict[str, float]:
        """Milliseconds of a turn, a worker's included."""
        turns = TURNS[kind]
        pid = self.worker.pid if self.worker else 0
        found = self._ask("block", kind, turns, on, SETTLE + WARM_UP + turns, worker=pid)
        return {**found, "ms": found["ms"] + found["worker"]}

    def _ask(
        self, what: str, kind: str, turns: int, on: bool, requests: int, **more: int
    ) -> dict[str, float]:
        hub = self.worker.ask("address") if self.worker and on else ""
        found: dict[str, float] = self.session.ask(
            what, kind=kind, turns=turns, on=on, hub=hub, **more
        )
        if on and self.name != CONTROL:
            must_have_seen(self.name, self.session.ask("seen"), requests)
        return found


def must_have_seen(name: str, seen: float, turns: int) -> None:
    """Refuse to measure what does not work.

    Args:
        name: Of the package.
        seen: Requests to the model that it counted.
        turns: How many turns there were; each makes a request, or two.

    Raises:
        DidNothing: If it missed some.
    """
    if seen < turns:
        raise DidNothing(f"{name} counted {seen:g} requests in {turns} turns")


def run(soak: bool) -> list[Result]:
    return compare(processes=2 * PROCESSES if soak else PROCESSES)


def compare(processes: int) -> list[Result]:
    """Every row; ``processes`` is how many of each are measured."""
    results: list[Result] = []
    for kind in TURNS:
        with _contestants() as contestants:
            blocks = _blocks(contestants, kind, Contestant.bytecodes, ROUNDS_OF_BYTECODES)
        counted = {name: figure(samples) for name, samples in _added(blocks, "all").items()}
        results += rows(f"{kind} turn: bytecodes added", "", counted)
    if counting := instructions.available():
        with _contestants(under_callgrind=True) as contestants:
            for kind in TURNS:
                blocks = _blocks(contestants, kind, Contestant.instructions, ROUNDS_OF_INSTRUCTIONS)
                counted = {name: figure(samples) for name, samples in _added(blocks, "all").items()}
                results += rows(f"{kind} turn: instructions added", "", counted)
    else:
        print("left out: machine instructions; callgrind counts them: install valgrind")
    for kind in TURNS:
        medians: dict[str, list[float]] = {}
        for seed in range(processes):
            with _contestants() as contestants:
                for contestant in contestants:
                    contestant.cpu(kind, True)  # what is made once is not a turn's
                blocks = at_one_speed(_blocks(contestants, kind, Contestant.cpu, ROUNDS, seed))
            for name, samples in _added(blocks, "ms").items():
                medians.setdefault(name, []).append(median(samples))
        found = {name: figure(samples) for name, samples in medians.items()}
        results += rows(f"{kind} turn: CPU added", "ms", found, compared=not counting)
    return results


@contextmanager
def _contestants(*, under_callgrind: bool = False) -> Iterator[list[Contestant]]:
    """A process of each, for as long as this is entered."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        under = instructions.callgrind(here) if under_callgrind else ()
        yield list(_started(stack, here, under))


def _started(stack: ExitStack, folder: Path, under: tuple[str, ...]) -> Iterator[Contestant]:
    variables = {
        "BENCH_FOLDER": str(folder),
        "HOME": str(folder),
        "VOICEGW_DB_PATH": str(folder / "voicegateway.db"),
        "SUPERBRYN_API_KEY": "none",  # of livekit-evals, which does nothing without one
        "SUPERBRYN_BASE_URL": NOBODY,
    }
    pins = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    python = prepared(LOCK, ROOT / ".cache" / "bench" / f"peers-{pins}")
    build = Build("peers", ROOT, str(python), variables)

    def session(side: str) -> Probe:
        return stack.enter_context(probe(build, "turn", side, under=under))

    yield Contestant(CONTROL, session("nothing"))
    yield Contestant(f"LiveKit {pinned('livekit-agents')}'s own spans", session("spans"))
    for package in PACKAGES:
        yield Contestant(f"{package} {pinned(package)}", session(package))
    script, job = OURS
    yield Contestant(script, session("priced"))
    yield Contestant(job, session("priced"), stack.enter_context(probe(build, "worker")))


def pinned(package: str) -> str:
    """The version of a package in the environment."""
    for line in LOCK.read_text("utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise LookupError(f"{LOCK.name} has no {package}")


def _blocks(
    contestants: list[Contestant],
    kind: str,
    measure: Callable[[Contestant, str, bool], dict[str, float]],
    rounds: int,
    seed: int = 0,
) -> dict[str, list[dict[str, float]]]:
    """What was measured, by ``name True`` with the package and ``name False`` without it."""
    sides = [(contestant, on) for contestant in contestants for on in (False, True)]
    work = {f"{c.name} {on}": partial(measure, c, kind, on) for c, on in sides}
    return interleaved(work, rounds, seed)


def _added(blocks: Mapping[str, list[dict[str, float]]], what: str) -> dict[str, list[float]]:
    """By how much each is above its own process without it, in each round."""
    names = [name.removesuffix(" True") for name in blocks if name.endswith(" True")]
    return {
        name: [
            on[what] - off[what]
            for on, off in zip(blocks[f"{name} True"], blocks[f"{name} False"], strict=True)
        ]
        for name in names
    }


def rows(
    what: str, unit: str, found: Mapping[str, Figure], *, compared: bool = True
) -> Iterator[Result]:
    """What each adds, and where it is ``compared`` ours against the least of the others."""
    for name, one in found.items():
        label = "A/A control" if name == CONTROL else name
        yield Result(f"{what}: {label}", one.value, 0, unit, note=one.text(unit))
    if not compared:
        return
    peers = [name for name in found if name not in (CONTROL, *OURS)]
    least = min(peers, key=lambda name: found[name].value)
    for name in OURS:
        ratio = found[name].value / found[least].value
        yield Result(f"{what}: {name} against the least", ratio, 1, "x", note=f"that of {least}")
