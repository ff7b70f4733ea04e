"""Every place we touch for ``track_subscribe``: tracks, and the STT streams opened for them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

from livekit.agents import stt

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription.guard import GUARD, TrackGuard
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.core.verdict import Mode

__all__ = ["patches", "stream_classes"]


def patches(services: Services) -> list[Patch]:
    """None when the guard is off; to observe, streams are seen and none is handed on."""
    if services.mode(GUARD) is Mode.OFF:
        return []
    hooks, guard = Hooks(services.recorder, GUARD), TrackGuard(services)
    why = "Every subscription, and whose handlers run."
    return [
        hooks.around("livekit.rtc:Room", "emit", guard.emit, why=why),
        hooks.after(
            "livekit.rtc:AudioStream",
            "__init__",
            guard.reads,
            why="Who reads a track.",
        ),
        *_of_streams(services, hooks, guard),
    ]


def _of_streams(services: Services, hooks: Hooks, guard: TrackGuard) -> list[Patch]:
    """``stream`` of every STT class there is; those defined later are found when first made."""
    covered: weakref.WeakSet[type] = weakref.WeakSet()
    late: list[PatchSet] = []
    lock = threading.Lock()

    def row(kind: type) -> Patch:
        covered.add(kind)
        why = "Streams opened for a track that comes and goes are one stream."
        return hooks.around(kind, "stream", guard.stream, why=why)

    def made(model: stt.STT[Any], *_: Any, **__: Any) -> None:
        with lock:
            for kind in type(model).__mro__:
                if kind not in covered and kind is not stt.STT and _defines_stream(kind):
                    late.append(PatchSet([row(kind)]))
                    late[-1].install()

    def undo() -> None:
        while late:
            late.pop().undo()

    services.on_close.append(undo)
    return [
        *(row(kind) for kind in stream_classes(stt.STT)),
        hooks.before(stt.STT, "__init__", made, why="STT classes that are imported later."),
    ]


def stream_classes(base: type) -> Iterator[type]:
    """Every subclass that defines ``stream`` itself, once."""
    seen: set[type] = set()
    waiting: list[type] = [base]
    while waiting:
        kind: type
        for kind in waiting.pop().__subclasses__():
            if kind not in seen:
                seen.add(kind)
                waiting.append(kind)
                if _defines_stream(kind):
                    yield kind


def _defines_stream(kind: type) -> bool:
    return "stream" in vars(kind) and issubclass(kind, stt.STT)
