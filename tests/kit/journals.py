"""Histories for tests: made by the taped policies themselves, on a clock that the test sets."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runguard_otel.core.verdict import Subject
from runguard_otel.journal.book import Book
from runguard_otel.journal.reading import History, find
from runguard_otel.journal.record import Tail, expand
from runguard_otel.journal.taped import TapedPolicies
from runguard_otel.settings import Settings

REASONS = ("connection_lost", "duplicate_identity", "server_shutdown", "join_failure")


class Desk:
    """One process that keeps a history.

    Args:
        job: LiveKit's id of its job.
        **settings: As of ``instrument()``.
    """

    def __init__(self, job: str = "AJ_1", **settings: Any) -> None:
        self.now = 1000.0
        self.lines: list[bytes] = []
        self.lost = 0
        self.settings = Settings.load(journal="unused", **settings)
        self.book = Book(
            self.settings,
            lambda: self._tape,
            lambda: job,
            lambda: "support",
            self._lose,
            clock=self.clock,
        )
        self.policies = TapedPolicies(self.settings, self.book, self.clock)
        self.subject = Subject(room="Room-Of-Ada", participant="Ada", job_id=job, session="s-1")

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def history(self, folder: Path, name: str = "20260101T000000Z-AJ_1") -> History:
        """What was kept so far, as a file."""
        path = folder / f"{name}.1.jsonl"
        path.write_bytes(b"\n".join(self.lines) + b"\n")
        return next(one for one in find([folder]) if one.name == name)

    def _tape(self, head: bytes, tail: Tail) -> None:
        self.lines.append(expand(head + tail[0]))

    def _lose(self, number: int) -> None:
        self.lost += number


def random_call(desk: Desk, rng: random.Random, steps: int = 60) -> None:
    """Something of everything that policies are told, in an order that hosts would keep to."""
    mode = desk.settings.mode
    speech = desk.policies.misfire(desk.subject)
    room, track = desk.policies.reconnect(desk.clock), desk.policies.subscription(desk.clock)
    hears, noisy = [True], [False]
    job = desk.policies.job(desk.subject, lambda: hears[0], desk.clock)
    stream = desk.policies.stream(desk.clock)
    job.job_started()
    job.callers("room", 1)
    job.session_started("session")
    job.stream_opened("stream")

    def final() -> None:
        if rng.random() < 0.1:
            noisy[0] = not noisy[0]
        speech.on_final(
            rng.choice(("", " ") if noisy[0] else ("", "yes", "a table for two")),
            rng.choice((None, 0.1, 0.45, 0.59, 0.6, 0.97)),
            echo=rng.random() < 0.2,
            joins=rng.random() < 0.1,
            duplicate=rng.random() < 0.1,
            now=desk.now,
        )

    def redial() -> None:
        room.on_leave()
        room.on_connect(desk.subject, mode, "refuse_connect")

    def rejoin() -> None:
        """Two tracks, one of them closed at once, and more while the other is still open."""
        for counts in (True, False, True, True, True):
            track.on_subscribe(desk.subject, mode, "reuse_stream", counts=counts)

    def switch() -> None:
        hears[0] = rng.random() < 0.7

    told: list[Callable[[], object]] = [
        *[final] * 10,
        speech.next_turn,
        *[lambda: room.on_connect(desk.subject, mode, "refuse_connect")] * 3,
        *[redial] * 2,
        *[lambda: room.on_disconnect(rng.choice(REASONS))] * 2,
        *[lambda: track.on_subscribe(desk.subject, mode, "reuse_stream", counts=rng.random() < 0.8)]
        * 3,
        *[lambda: stream.connected(desk.subject)] * 6,
        rejoin,
        stream.genuine,
        lambda: job.callers("room", rng.choice((0, 0, 1, 2))),
        job.active,
        lambda: job.session_closing("session"),
        switch,
    ]
    watchdog = random.Random(rng.random())  # how often it looks changes nothing else
    for _ in range(steps):
        until = desk.now + rng.choice(
            (0.0, 0.05, 0.2, 1.0, 1.5, 3.0, 6.0, 12.0, 31.0, 130.0, 700.0)
        )
        while job.due <= until:  # as the watchdog's thread: a little late
            desk.now = max(desk.now, job.due) + watchdog.choice((0.0, 0.003))
            job.check()
        desk.now = max(desk.now, until)
        rng.choice(told)()
    if rng.random() < 0.5:
        job.session_closed("session")
        job.stream_closed("stream")
        job.left("room")
        job.job_ended()


def ordinary_call(desk: Desk, rng: random.Random, turns: int = 100) -> None:
    """A call as most are: one turn after the other, now and then a cough."""
    speech = desk.policies.misfire(desk.subject)
    room = desk.policies.reconnect(desk.clock)
    job = desk.policies.job(desk.subject, lambda: True, desk.clock)
    stream = desk.policies.stream(desk.clock)
    job.job_started()
    room.on_connect(desk.subject, desk.settings.mode, "shutdown_job")
    job.callers("room", 1)
    job.session_started("session")
    job.stream_opened("stream")
    stream.connected(desk.subject)
    for _ in range(turns):
        desk.wait(rng.uniform(2, 8))
        if rng.random() < 0.1:
            speech.on_final("", None, now=desk.now)
        speech.on_final("a table for two please", rng.uniform(0.7, 1.0), now=desk.now)
        job.active()
        speech.next_turn()
    job.callers("room", 0)
    job.session_closing("session")
    job.session_closed("session")
    job.stream_closed("stream")
    job.left("room")
    room.on_leave()
    job.job_ended()
