"""What one hooked call costs: a shape against the same hook wrapped and shielded by hand.

The hand-written form is the one every hook had before there were shapes: ``around`` with a shield,
and the arguments taken from ``args`` or ``kwargs``. Both stand on one class, in one process, in
blocks of a drawn order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.harness import Result, figure, interleaved
from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder

CALLS = 20_000
GOAL = 1 / 1.5


class _Silent:
    """A recorder of which only this is called, and only when something fails."""

    def internal_error(self, where: str) -> None:
        raise AssertionError(where)


class _Host:
    """A method and a coroutine, three times: plain, with a shape, wrapped by hand."""

    def plain(self, event: object) -> object:
        return event

    def shaped(self, event: object) -> object:
        return event

    def by_hand(self, event: object) -> object:
        return event

    async def plain_async(self, event: object) -> object:
        return event

    async def shaped_async(self, event: object) -> object:
        return event

    async def by_hand_async(self, event: object) -> object:
        return event


def _seen(_: object, event: object, *__: Any, **___: Any) -> None:
    """A hook that looks at an argument and lets the call pass, as nearly all do."""
    if event is None:
        raise AssertionError


def _after(_: object, __: object, event: object, *___: Any, **____: Any) -> None:
    _seen(None, event)


def run(soak: bool) -> list[Result]:
    rounds = 60 if soak else 24
    return [_measured(shape, kind, rounds) for shape in _SHAPES for kind in ("", "_async")]


_SHAPES = ("before", "after", "gate")


def _rows(shape: str) -> list[Patch]:
    recorder: Any = _Silent()
    hooks = Hooks(recorder, "telemetry")
    fn = _after if shape == "after" else _seen
    made: Callable[..., Patch] = getattr(hooks, shape)
    rows = [made(_Host, name, fn, why="measured") for name in ("shaped", "shaped_async")]
    late = shape == "after"
    rows += [
        hooks.around(_Host, "by_hand", _wrapped(recorder, late), why="measured"),
        hooks.around(_Host, "by_hand_async", _wrapped_async(recorder, late), why="measured"),
    ]
    return rows


def _wrapped(recorder: Recorder, late: bool) -> Callable[..., Any]:
    def ahead(wrapped: Any, host: object, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "Host.by_hand"):
            _seen(host, args[0] if args else kwargs["event"])
        return wrapped(*args, **kwargs)

    def behind(wrapped: Any, host: object, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        with shield(recorder, "Host.by_hand"):
            _seen(host, args[0] if args else kwargs["event"])
        return result

    return behind if late else ahead


def _wrapped_async(recorder: Recorder, late: bool) -> Callable[..., Any]:
    async def ahead(wrapped: Any, host: object, args: Any, kwargs: Any) -> Any:
        with shield(recorder, "Host.by_hand_async"):
            _seen(host, args[0] if args else kwargs["event"])
        return await wrapped(*args, **kwargs)

    async def behind(wrapped: Any, host: object, args: Any, kwargs: Any) -> Any:
        result = await wrapped(*args, **kwargs)
        with shield(recorder, "Host.by_hand_async"):
            _seen(host, args[0] if args else kwargs["event"])
        return result

    return behind if late else ahead


def _measured(shape: str, kind: str, rounds: int) -> Result:
    patches = PatchSet(_rows(shape))
    patches.install()
    try:
        names = {n: f"{n}{kind}" for n in ("plain", "shaped", "by_hand")}
        blocks = {n: _block(method, bool(kind)) for n, method in names.items()}
        found = interleaved(blocks, rounds)
    finally:
        patches.undo()
    us = {name: [sample["us"] for sample in samples] for name, samples in found.items()}
    # Round by round, what each adds to the plain call of the same round.
    added = {
        name: figure([with_us - bare for with_us, bare in zip(us[name], us["plain"], strict=True)])
        for name in ("shaped", "by_hand")
    }
    ratio = added["shaped"].value / added["by_hand"].value
    what = f"{shape}{' of a coroutine' if kind else ''}: CPU against the hook by hand"
    note = f"{added['shaped'].text('us')} against {added['by_hand'].text('us')} a call"
    return Result(what, ratio, GOAL, "", note=note)


def _block(method: str, awaits: bool) -> Callable[[], dict[str, float]]:
    call, event = getattr(_Host(), method), object()

    def plain() -> None:
        for _ in range(CALLS):
            call(event)

    async def awaited() -> None:
        for _ in range(CALLS):
            await call(event)

    def block() -> dict[str, float]:
        start = time.process_time_ns()
        if awaits:
            asyncio.run(awaited())
        else:
            plain()
        return {"us": (time.process_time_ns() - start) / CALLS / 1e3}

    return block
