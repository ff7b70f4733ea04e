"""Wraps ``stream`` of every STT class, so that what a track's handler opens is a lease."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

from livekit.agents import stt

from runguard_otel.adapters.agents_v1.lease_pool import Opener, StreamPool
from runguard_otel.adapters.agents_v1.leases import Lease
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.track_context import current_track, serves_agent_session
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.adapters.safety import shield
from runguard_otel.core.signatures import GuardName

__all__ = ["stream_classes", "stream_patches"]

GUARD = GuardName.TRACK_SUBSCRIBE


def stream_patches(services: Services, pool: StreamPool) -> list[Patch]:
    """``stream`` of every STT class there is; those defined later are found when first made."""
    recorder = services.recorder

    def stream(wrapped: Any, model: stt.STT[Any], args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        subscription = current_track.get()
        if subscription is None:
            return wrapped(*args, **kw)
        own = Opener(wrapped, args, kw)
        lease: Lease | None = None
        key = None
        with shield(recorder, "STT.stream"):
            if not serves_agent_session():
                key = pool.key(subscription.place, model, args, kw)
            if key is not None:
                lease = pool.take_over(key, model, subscription, own)
        if lease is not None:
            return lease
        real = own()
        if key is not None:
            with shield(recorder, "STT.stream"):
                subscription.resolve("opened")
                lease = pool.lend(key, model, subscription, real, own)
        return real if lease is None else lease

    why = "streams opened for a track that comes and goes are one stream"
    late: list[PatchSet] = []
    covered = weakref.WeakSet(stream_classes(stt.STT))
    lock = threading.Lock()

    def init(wrapped: Any, model: stt.STT[Any], args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        with shield(recorder, "STT.__init__"), lock:
            for kind in type(model).__mro__:
                if kind not in covered and kind is not stt.STT and _defines_stream(kind):
                    covered.add(kind)
                    late.append(PatchSet([Patch(kind, "stream", stream, GUARD, why)]))
                    late[-1].install()
        return wrapped(*args, **kw)

    def undo() -> None:
        while late:
            late.pop().undo()

    services.on_close.append(undo)
    return [
        *(Patch(kind, "stream", stream, GUARD, why) for kind in stream_classes(stt.STT)),
        Patch(stt.STT, "__init__", init, GUARD, "STT classes that are imported later"),
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
