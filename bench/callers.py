"""Callers who leave and come back, agents that are removed or killed, with our guards and without.

Needs a LiveKit server: ``LIVEKIT_URL``, ``LIVEKIT_API_KEY`` and ``LIVEKIT_API_SECRET``, as
``livekit-server --dev --bind 127.0.0.1`` has them (``ws://127.0.0.1:7880``, ``devkey``,
``secret``). Both sides run in turns, in several rooms at a time. A line passes if in *every* run
with us the caller has an agent that answers her within a second of what she gets without us (where
a worker died with its jobs: of the end of their leases), and never two that both serve. An agent
that says its farewell does not serve.

``CALLERS_RUNS`` (10) is how often each line runs on each side, ``CALLERS_AT_ONCE`` (3) how many
rooms there are; with ``CALLERS_ONLY=killed`` only the lines run whose name has that in it. With
``--soak`` agents that are removed or killed meet callers of both kinds.

The whole takes hours. What is done is kept, a JSON line per run, in ``CALLERS_KEEP``
(``artifacts/callers.jsonl``), and a bench that ended early goes on from there: LiveKit's native
part ends its process where the machine is too slow for it. Remove the file, or the lines of what
has changed, to measure it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.harness import Result
from tests.kit import callers
from tests.kit.callers import NOBODY, PATIENCE, Outcome, Scenario, Side, side
from tests.kit.livekit_server import WHY_NOT

RUNS = int(os.environ.get("CALLERS_RUNS", "10"))
AT_ONCE = int(os.environ.get("CALLERS_AT_ONCE", "3"))
ONLY = os.environ.get("CALLERS_ONLY", "")
KEEP = Path(os.environ.get("CALLERS_KEEP", "artifacts/callers.jsonl"))
DELAYS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
EXITS = (0.0, 6.0, -1.0)
RUN_SECONDS = 240.0
LATER_THAN_STOCK = 1.0
"""Seconds by which a caller may get an agent later than without us."""


Seen = defaultdict[tuple[str, bool], list[Outcome]]
"""What each line gave, without us and with us."""


class Row(NamedTuple):
    """One line of the table.

    Args:
        name: What happens.
        scenario: Runs it once; ``None`` where it runs together with others.
        together: Seconds for which two agents may serve, with us.
        per: Whose jobs: of a ``room`` or of a ``publisher``.
    """

    name: str
    scenario: Scenario | None = None
    together: float = 1.0
    per: str = "room"


def rows(soak: bool) -> Iterator[Row]:
    """Every line, the longest first."""
    yield Row("20 calls in one room, 0 to 2 s apart", partial(callers.back_to_back, calls=20))
    yield from _comings_and_goings(soak)
    for delay in (*DELAYS, 5.0):
        go = partial(callers.doubled, delay=delay)
        yield Row(f"dispatched twice, {delay:g} s apart", go, together=0.0)
    for delay in DELAYS:
        yield Row(
            f"publisher hangs up and is back after {delay:g} s, summary 6 s",
            partial(callers.published, delay=delay),
            per="publisher",
        )
    yield from (Row(_dead_worker(delay)) for delay in DELAYS)


def _comings_and_goings(soak: bool) -> Iterator[Row]:
    anybody = tuple(product((True, False), EXITS))
    for delay, (microphone, on_exit) in product(DELAYS, anybody):
        how: dict[str, Any] = {"delay": delay, "microphone": microphone, "on_exit": on_exit}
        what = f"{_who(microphone)} left, {_farewell(on_exit)}, back after {delay:g} s"
        yield Row(what, partial(callers.left, **how))
    for delay in DELAYS:
        how = {"delay": delay, "microphone": False, "on_exit": 0}
        what = f"{_who(False)} left, back as herself after {delay:g} s"
        yield Row(what, partial(callers.left, **how, anew=False))
    met = anybody if soak else ((True, 0.0), (False, 6.0))
    for delay, (microphone, on_exit) in product(DELAYS, met):
        how = {"delay": delay, "microphone": microphone, "on_exit": on_exit}
        what = f"agent of {_who(microphone)} removed, {_farewell(on_exit)}"
        yield Row(f"{what}, next one after {delay:g} s", partial(callers.removed, **how))
    for delay, microphone in product(DELAYS, (True, False) if soak else (True,)):
        go = partial(callers.killed, delay=delay, microphone=microphone)
        yield Row(f"job of {_who(microphone)} killed, next one after {delay:g} s", go)


def _who(microphone: bool) -> str:
    return f"caller {'with' if microphone else 'without'} a microphone"


def _farewell(on_exit: float) -> str:
    return f"on_exit {'for ever' if on_exit < 0 else f'{on_exit:g} s'}"


def _dead_worker(delay: float) -> str:
    return f"worker and jobs killed, another worker asked after {delay:g} s"


def run(soak: bool = False) -> list[Result]:
    """The figures; prints a table of its own as well."""
    lines = [row for row in rows(soak) if ONLY in row.name]
    seen = _kept()
    unfinished = [row for row in lines if any(_left(row, on, seen) for on in (False, True))]
    if unfinished:
        if not os.environ.get("LIVEKIT_URL"):
            print(WHY_NOT)
            return []
        warnings.filterwarnings("ignore", module="jwt")
        asyncio.run(_all(unfinished, seen))
    else:
        print(f"  nothing measured now: all that follows was kept in {KEEP}")
    _print(lines, seen)
    return [result for row in lines for result in _results(row, seen)]


def _kept() -> Seen:
    """What a bench before this one had done."""
    seen: Seen = defaultdict(list)
    with contextlib.suppress(FileNotFoundError):
        for line in KEEP.read_text().splitlines():
            name, on, outcome = json.loads(line)
            seen[name, on].append(Outcome(**outcome))
    return seen


class Progress:
    """Keeps what is done, says how far it is, and for how long it will take.

    Args:
        total: How many runs are to do.
        seen: Where their outcomes go.
    """

    def __init__(self, total: int, seen: Seen) -> None:
        self._total, self._done, self._began = total, 0, time.monotonic()
        self._seen = seen
        KEEP.parent.mkdir(parents=True, exist_ok=True)
        before = sum(map(len, seen.values()))
        print(f"  {total} runs, {AT_ONCE} rooms at a time, {before} kept in {KEEP}", flush=True)

    def done(self, row: Row, on: bool, outcome: Outcome) -> None:
        """One run more."""
        self._done += 1
        seen = self._seen
        seen[row.name, on].append(outcome)
        with KEEP.open("a") as file:
            print(json.dumps((row.name, on, _short(outcome))), file=file)
        if any(_left(row, side, seen) for side in (False, True)):
            return
        spent = time.monotonic() - self._began
        left = spent / self._done * (self._total - self._done) / 60
        where = f"{self._done}/{self._total}, {left:.0f} min to go, load {os.getloadavg()[0]:.1f}"
        figures = " -> ".join(_figure(seen[row.name, side]) for side in (False, True))
        print(f"  [{where}] {_verdict(row, seen)} {row.name}: {figures}")
        for broken in _broken(row, seen):
            print(f"      {broken}")
        sys.stdout.flush()


def _short(outcome: Outcome) -> dict[str, Any]:
    """What is not nothing, to the millisecond."""
    whole = dataclasses.asdict(outcome).items()
    return {name: round(it, 3) if isinstance(it, float) else it for name, it in whole if it}


def _left(row: Row, on: bool, seen: Seen) -> int:
    return max(0, RUNS - len(seen[row.name, on]))


async def _all(lines: list[Row], seen: Seen) -> None:
    total = sum(_left(row, on, seen) for row in lines for on in (False, True))
    progress = Progress(total, seen)
    mine = asyncio.current_task()
    assert mine is not None
    # else the workers stay behind when LiveKit's native part ends this process
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, mine.cancel)
    with tempfile.TemporaryDirectory(prefix="callers-") as name:
        folder = Path(name)
        for per in ("room", "publisher"):
            alone = [row for row in lines if row.per == per and row.scenario is not None]
            if alone:
                async with (
                    side(folder / per / "off", "no", per=per) as off,
                    side(folder / per / "on", "module", per=per) as on,
                ):
                    await _run(alone, {False: off, True: on}, seen, progress)
        dead = [row for row in lines if row.scenario is None]
        if dead:
            await _kill_workers(folder, dead, seen, progress)


async def _run(lines: list[Row], sides: dict[bool, Side], seen: Seen, progress: Progress) -> None:
    """Both sides in turns: what disturbs one side disturbs the other."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: Row, on: bool) -> None:
        assert row.scenario is not None
        async with gate:
            try:
                outcome = await asyncio.wait_for(row.scenario(sides[on]), RUN_SECONDS)
            except Exception as failure:  # noqa: BLE001  # the table says so
                outcome = Outcome(broken=repr(failure))
        progress.done(row, on, outcome)

    def turns(row: Row) -> Iterator[bool]:
        left = {on: _left(row, on, seen) for on in sides}
        for n in range(RUNS):
            yield from (on for on in sides if n < left[on])

    await asyncio.gather(*(one(row, on) for row in lines for on in turns(row)))


async def _kill_workers(folder: Path, lines: list[Row], seen: Seen, progress: Progress) -> None:
    """Both sides in turns: a room of each delay in each worker that dies."""
    delays = [delay for delay in DELAYS if _dead_worker(delay) in {row.name for row in lines}]
    left = {on: max(_left(row, on, seen) for row in lines) for on in (False, True)}
    for n, on in product(range(RUNS), (False, True)):
        if n >= left[on]:
            continue
        async with side(folder / f"dead-{n}-{on}", "module" if on else "no", workers=0) as here:
            try:
                outcomes = await callers.worker_killed(here, delays, microphone=n % 2 == 0)
            except Exception as failure:  # noqa: BLE001  # the table says so
                outcomes = [Outcome(broken=repr(failure)) for _ in delays]
        for row, outcome in zip(lines, outcomes, strict=True):
            progress.done(row, on, outcome)


def _stock(row: Row, seen: Seen) -> float:
    """What a caller gets without us, in the middle."""
    times = [o.reached for o in seen[row.name, False] if not o.broken]
    return statistics.median(times) if times else NOBODY


def _late(outcome: Outcome, stock: float) -> float:
    """Seconds by which a caller had to wait longer: than without us, or than a dead lease ran."""
    return outcome.reached - max(stock, outcome.lease_left)


def _broken(row: Row, seen: Seen) -> list[str]:
    """What we promise and did not keep, a line for each run that did not."""
    stock = _stock(row, seen)
    return [", ".join(said) for o in seen[row.name, True] if (said := _said(row, o, stock))]


def _said(row: Row, o: Outcome, stock: float) -> list[str]:
    if o.broken:
        return [f"went wrong: {o.broken}"]
    said = []
    if o.reached == NOBODY:
        said.append("nobody came")
    elif _late(o, stock) > LATER_THAN_STOCK:
        said.append(f"late by {_late(o, stock):.1f} s")
    if o.both > row.together:
        said.append(f"two agents for {o.both:.1f} s")
    if o.twice:
        said.append(f"{o.twice} answered twice")
    if o.missed:
        said.append(f"{o.missed} unanswered")
    return said


def _verdict(row: Row, seen: Seen) -> str:
    if not seen[row.name, True]:
        return "-"
    return "FAIL" if _broken(row, seen) else "PASS"


def _results(row: Row, seen: Seen) -> Iterator[Result]:
    """The worst run with us against the middle without, and how many kept all that we promise."""
    runs, stock, broken = seen[row.name, True], _stock(row, seen), _broken(row, seen)
    late = [min(PATIENCE, _late(o, stock)) for o in runs if not o.broken]
    note = f"the worst of {len(late)}; without us {_figure(seen[row.name, False])}"
    worst = max(late, default=PATIENCE)
    yield Result(f"callers: {row.name}", worst, LATER_THAN_STOCK, "s later", note=note)
    kept = (len(runs) - len(broken)) / len(runs) if runs else 0.0
    note = "; ".join(sorted(set(broken)))
    yield Result(f"callers: {row.name}: runs as promised", kept, 1, "x", True, note)


def _print(lines: list[Row], seen: Seen) -> None:
    title = "seconds from dispatch to agent: middle / worst"
    table = Table(title=title, title_justify="left")
    for column in ("", "what", "runs", "off", "on", "two serve, off/on", "twice, off/on"):
        table.add_column(column, overflow="fold")
    for row in lines:
        off, on = seen[row.name, False], seen[row.name, True]
        table.add_row(
            _verdict(row, seen),
            row.name,
            f"{len(off)}/{len(on)}",
            _figure(off),
            _figure(on),
            f"{_longest(off):.1f}/{_longest(on):.1f} s",
            f"{sum(o.twice for o in off)}/{sum(o.twice for o in on)}",
        )
    Console(width=None if os.isatty(1) else 150).print(table)
    passed = sum(_verdict(row, seen) == "PASS" for row in lines)
    print(f"{passed} of {len(lines)} lines pass")


def _longest(outcomes: list[Outcome]) -> float:
    return max((o.both for o in outcomes), default=0.0)


def _figure(outcomes: list[Outcome]) -> str:
    times = [o.reached for o in outcomes if not o.broken]
    if not times:
        return "-"
    nobody = sum(time == NOBODY for time in times)
    there = [time for time in times if time < NOBODY] or [NOBODY]
    more = f", nobody {nobody} x" if nobody else ""
    return f"{statistics.median(there):.2f} / {max(there):.2f}{more}"
