"""Is there an order in which one lease record could have given these answers?

A linearizability checker for claims, after Wing and Gong with visited states remembered. Every
operation must take effect at one point between its call and its answer. Two things make leases
special. *Expiry*: another job may take a claim only from the lease end on, which lies one lease
after the point at which the last extension took effect; that point is known as an interval. Unless
its holder is *ending*: then any job that asks has it, and is never told that it is held.
*Ambiguity*: an operation without an answer may have taken effect at any later time, or never.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

INFINITY = float("inf")
TOLERANCE = 0.003
"""Seconds by which the server's clock and ours may differ over one lease, and its rounding."""

Kind = Literal["acquire", "renew", "release", "forget"]


@dataclass(frozen=True)
class Operation:
    """One call and its answer.

    Args:
        kind: What was asked; ``forget`` is the test deleting the record.
        called: When, in seconds.
        answered: When; infinity if there was no answer.
        job: Who asked.
        instance: Which process of it.
        ttl: Lease length.
        token: The token granted, shown or used.
        answer: ``new``, ``reentrant``, ``handoff``, ``takeover``, ``passed_on``, ``held``;
            ``renewed``, ``superseded``, ``missing``; ``released``, ``not released``; ``done``;
            ``""`` unknown.
        ending: Whether a renewal says that the holder ends.
    """

    kind: Kind
    called: float
    answered: float
    job: str = ""
    instance: str = ""
    ttl: float = 0.0
    token: int = 0
    answer: str = ""
    ending: bool = False


@dataclass(frozen=True)
class _Record:
    """The record as it may be. ``token`` 0 with ``held`` means: granted, but nobody saw which."""

    held: bool = False
    there: bool = False
    token: int = 0
    job: str = ""
    instance: str = ""
    soonest: float = 0.0
    latest: float = 0.0
    above: int = 0  # the next token must be higher than this
    ending: bool = False

    def is_token(self, token: int) -> bool:
        return token > self.above if self.token == 0 else token == self.token

    def told(self, token: int) -> _Record:
        return replace(self, token=token, above=max(self.above, token))

    def until(self, op: Operation) -> _Record:
        """Granted or renewed; who is granted it does not end."""
        soonest, latest = op.called + op.ttl, op.answered + op.ttl
        return replace(self, soonest=soonest, latest=latest, ending=op.ending)


def linearizable(history: Sequence[Operation], *, clockless: bool = False) -> bool:
    """Whether such an order exists for the operations on one key.

    Args:
        history: In any order.
        clockless: The registry may refuse others beyond the lease end (DynamoDB does).
    """
    ops = sorted(history, key=lambda op: op.called)
    certain = sum(1 << n for n, op in enumerate(ops) if op.answered < INFINITY)
    todo: list[tuple[int, _Record]] = [(0, _Record())]
    seen = set(todo)
    while todo:
        done, record = todo.pop()
        if done & certain == certain:
            return True
        # Whatever was answered before an operation was called must come before it.
        horizon = min(op.answered for n, op in enumerate(ops) if not done >> n & 1)
        for n, op in enumerate(ops):
            if op.called > horizon:
                break
            if done >> n & 1:
                continue
            for after in _outcomes(record, op, clockless):
                state = (done | 1 << n, after)
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
    return False


def _outcomes(record: _Record, op: Operation, clockless: bool) -> Iterator[_Record]:
    if not op.answer:
        yield record  # it never happened
    if op.kind == "forget":
        yield _Record(above=max(record.above, record.token))
    elif op.kind == "acquire":
        yield from _acquire(record, op, clockless)
    elif op.kind == "renew":
        yield from _renew(record, op)
    else:
        yield from _release(record, op)


def _acquire(record: _Record, op: Operation, clockless: bool) -> Iterator[_Record]:
    others = record.held and record.job != op.job
    if op.answer == "held":
        still = clockless or op.called - TOLERANCE <= record.latest
        if others and not record.ending and still and record.is_token(op.token):
            yield record.told(op.token)
        return
    if not record.held:
        how = "new"
    elif others and record.ending:
        how = "passed_on"
    elif others:
        if op.answered + TOLERANCE < record.soonest:
            return
        how = "takeover"
    else:
        how = "reentrant" if record.instance == op.instance else "handoff"
    if op.answer and op.answer != how:
        return
    if how == "reentrant":
        if not op.answer:
            yield record.until(op)
        elif record.is_token(op.token):
            yield record.told(op.token).until(op)
        return
    above = max(record.above, record.token)
    if op.answer and op.token <= above:
        return
    fresh = _Record(True, True, op.token, op.job, op.instance, above=max(above, op.token))
    yield fresh.until(op)


def _renew(record: _Record, op: Operation) -> Iterator[_Record]:
    ours = record.held and record.instance == op.instance and record.is_token(op.token)
    if op.answer in ("renewed", ""):
        if ours:
            yield record.told(op.token).until(op)
    elif op.answer == "superseded":
        if record.there and not ours:
            yield record
    elif not record.there:
        yield record


def _release(record: _Record, op: Operation) -> Iterator[_Record]:
    ours = record.held and record.instance == op.instance and record.is_token(op.token)
    if op.answer in ("released", ""):
        if ours:
            yield replace(record.told(op.token), held=False, ending=False)
    elif not ours:
        yield record


@dataclass(frozen=True)
class Belief:
    """For how long one instance believed that it held a claim."""

    start: float
    end: float
    token: int


def overlapping(beliefs: Iterable[Belief]) -> list[tuple[Belief, Belief]]:
    """Pairs of beliefs of one key that overlap, or whose tokens do not increase with time."""
    ordered = sorted((b for b in beliefs if b.end > b.start), key=lambda b: b.start)
    return [
        (one, two)
        for one, two in itertools.pairwise(ordered)
        if one.token != two.token and (one.end > two.start or one.token > two.token)
    ]
