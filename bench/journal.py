"""The journal: what a line costs the job, and how fast a thousand calls are replayed."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.harness import Result, figure, interleaved
from runguard_otel.core.guards.misfire import MisfireGuard
from runguard_otel.core.guards.overrun import JobPolicy
from runguard_otel.core.ports import Recorder
from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.journal.book import Book
from runguard_otel.journal.reading import find
from runguard_otel.journal.recorder import TapedRecorder
from runguard_otel.journal.replay import replay
from runguard_otel.journal.taped import TapedPolicies
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings
from runguard_otel.telemetry.hub.tape import Tape, TapeReader
from tests.kit.journals import Desk, ordinary_call, random_call
from tests.kit.recorder import MemoryRecorder

CALLS = 1000
EACH = 200
"""Lines in a row, which find room before the worker looks."""
SUBJECT = Subject(room="Room-Of-Ada", job_id="AJ_1", session="s-1")


class _Nowhere(MemoryRecorder):
    def event(self, *_: object, **__: object) -> None: ...


def run(soak: bool) -> list[Result]:
    rounds = 201 if soak else 101
    with tempfile.TemporaryDirectory() as folder:
        return [*_per_line(rounds), _replayed(Path(folder), CALLS if soak else CALLS // 5)]


def _per_line(rounds: int) -> list[Result]:
    tape = Tape()
    reader = TapeReader(os.dup(tape.descriptor))
    settings = Settings(journal="unused")

    book = Book(settings, lambda: tape.write, lambda: "AJ_1", lambda: "support", lambda lines: None)
    plain, taped = Policies(settings), TapedPolicies(settings, book)
    recorder = _Nowhere()
    both: tuple[tuple[str, Callable[[], None], Callable[[], None]], ...] = (
        (
            "a final result",
            partial(_finals, plain.misfire(SUBJECT)),
            partial(_finals, taped.misfire(SUBJECT)),
        ),
        (
            "a signature event",
            partial(_events, recorder),
            partial(_events, TapedRecorder(recorder, book, lambda name: name)),
        ),
        (
            "a sign of life",
            partial(_signs, _serving(plain.job(SUBJECT, lambda: True))),
            partial(_signs, _serving(taped.job(SUBJECT, lambda: True))),
        ),
        (
            "a turn of the agent",
            partial(_turns, plain.misfire(SUBJECT)),
            partial(_turns, taped.misfire(SUBJECT)),
        ),
    )
    results = []
    for name, without, kept in both:
        work = {"without": partial(_timed, without), "kept": partial(_timed, kept)}

        def emptied(inner: Callable[[], dict[str, float]]) -> dict[str, float]:
            found = inner()
            reader.read()  # the worker's part: not in the job
            return found

        found = interleaved({n: partial(emptied, w) for n, w in work.items()}, rounds)
        base, ours = (figure([one["us"] for one in found[n]]) for n in ("without", "kept"))
        added = ours.value - base.value
        note = f"{ours.text('us')} with, {base.text('us')} without a journal; {EACH} in a row"
        results.append(Result(f"journal: {name}, added to the job", added, 2, "us", note=note))
    return results


def _finals(guard: MisfireGuard) -> None:
    judge = guard.on_final
    for n in range(EACH):
        judge("a table for two", 0.97, now=1000.0 + n * 0.123456)


def _events(recorder: Recorder) -> None:
    event = recorder.event
    for _ in range(EACH):
        event("vad_misfire:echo", Outcome.SUPPRESSED, SUBJECT)


def _serving(policy: JobPolicy) -> JobPolicy:
    policy.job_started()
    policy.callers("room", 1)
    policy.session_started("session")
    return policy


def _signs(policy: JobPolicy) -> None:
    active = policy.active
    for _ in range(EACH):
        active()


def _turns(guard: MisfireGuard) -> None:
    next_turn = guard.next_turn
    for _ in range(EACH):
        next_turn()


def _timed(work: Callable[[], None]) -> dict[str, float]:
    start = time.process_time_ns()
    work()
    return {"us": (time.process_time_ns() - start) / EACH / 1e3}


def _replayed(folder: Path, calls: int) -> Result:
    for number in range(calls):
        desk = Desk(job=f"AJ_{number}")
        if number % 20:
            ordinary_call(desk, random.Random(number))
        else:
            random_call(desk, random.Random(number), steps=300)
        name = f"20260101T000000Z-AJ_{number}.1.jsonl"
        (folder / name).write_bytes(b"\n".join(desk.lines) + b"\n")
    histories = find([folder])
    rates = []
    for _ in range(3):
        start, events = time.process_time(), 0
        for history in histories:
            result = replay(history)
            events += result.events
            if not result.same:
                raise AssertionError(f"{history.name}: a replay that is not what it was")
        rates.append(events / (time.process_time() - start))
    note = f"{calls} calls (one in 20 a storm), {events} inputs, best of 3; all verdicts as live"
    goal, unit = 200_000, "events per CPU second"
    return Result("journal: replayed", max(rates), goal, unit, at_least=True, note=note)
