"""Track subscriptions: wraps ``rtc.Room.emit`` and, to enforce, ``stream`` of every STT class.

``AgentSession`` keeps one STT stream over all tracks of its participant. Code that users write for
``track_subscribed`` rarely does: that is where the streams pile up, and where leases are given.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Final

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.lease_pool import Opener, StreamPool
from runguard_otel.adapters.agents_v1.leases import Lease
from runguard_otel.adapters.agents_v1.open_periods import OpenPeriods
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.track_context import (
    Place,
    Subscription,
    current_track,
    serves_agent_session,
)
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.subscription import SubscriptionPolicy
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject

__all__ = ["patches"]

GUARD = GuardName.TRACK_SUBSCRIBE
SETTLE_SECONDS: Final = 1.0
"""Whoever opens an STT stream for a track does so at once; later it counts as merely observed."""
_ENDS: Final = frozenset(
    {"track_unsubscribed", "track_unpublished", "participant_disconnected", "disconnected"}
)
_SOURCES: Final = ("microphone", "screenshare_audio", "camera", "screenshare")


class _TrackGuard:
    """Follows the tracks of every room and asks the policy."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._recorder = services.recorder
        self._mode = services.mode(GUARD)
        self.pool = StreamPool(services.recorder, settings.track_subscribe_linger_seconds)
        self._lock = threading.Lock()
        self._policies: BoundedMap[Place, SubscriptionPolicy] = BoundedMap(
            lambda _: SubscriptionPolicy(
                limit=settings.track_subscribe_limit,
                window_seconds=settings.track_subscribe_window_seconds,
            ),
            settings.max_keys,
        )
        self._live: weakref.WeakKeyDictionary[rtc.Room, dict[str, Subscription]] = (
            weakref.WeakKeyDictionary()
        )
        self._periods = OpenPeriods(services.recorder, str(GUARD))
        services.on_close.append(self._periods.close)
        services.on_close.append(self.pool.close)

    def subscribed(self, room: rtc.Room, publication: Any, participant: Any) -> Subscription | None:
        """A track was subscribed; ``None`` where nothing is guarded (fake jobs)."""
        job = current_job()
        if job is not None and getattr(job, "is_fake_job", lambda: False)() is True:
            return None
        self._periods.sweep()
        place = _place(room, publication, participant)
        sid = str(getattr(publication, "sid", "") or "")
        subscription = Subscription(
            place,
            lambda outcome: self._recorder.add(
                "runguard.track.subscriptions", subscription=outcome, source=place.source
            ),
        )
        with self._lock:
            live = self._live.setdefault(room, {})
            # Some sources exist once per participant: a second one alive is a lost unsubscribe.
            # Tracks of unknown source may be many, and being many is not flapping.
            beside = place.source == "unknown" and any(
                s.place == place for other, s in live.items() if other != sid
            )
            if (again := live.pop(sid, None)) is not None:
                again.ended = True
            live[sid] = subscription
        if not beside:
            self._judge(place, participant, str(getattr(getattr(job, "job", None), "id", "")))
        self._resolve_later(subscription)
        return subscription

    def ended(self, room: rtc.Room, event: str, args: tuple[Any, ...]) -> None:
        """``Room`` emits one of ``_ENDS``."""
        gone: list[Subscription] = []
        with self._lock:
            live = self._live.get(room, {})
            for sid, subscription in list(live.items()):
                if _concerns(event, args, sid, subscription.place):
                    gone.append(live.pop(sid))
        for subscription in gone:
            subscription.ended = True
            subscription.resolve("observed")
        if event == "disconnected":
            self.pool.room_left(room.name, _own_identity(room))

    def _judge(self, place: Place, participant: Any, job_id: str) -> None:
        reuse = self._mode is Mode.ENFORCE and self.pool.has_reusable(place)
        subject = Subject(
            room=place.room,
            participant=place.participant,
            participant_sid=str(getattr(participant, "sid", "") or ""),
            job_id=job_id,
            track_source=place.source,
        )
        with self._lock:
            policy = self._policies.get(place)
            action = "reuse_stream" if reuse else "none"
            decision = policy.on_subscribe(subject, self._mode, action)
        outcome = Outcome.OBSERVED
        if self._mode is Mode.ENFORCE:
            outcome = Outcome.REUSED if reuse else Outcome.ALLOWED
        self._recorder.event(
            decision.signature, outcome, subject, attributes={"runguard.source": place.source}
        )
        if decision.trip is not None:
            self._periods.opened(lambda: self._quiet_left(policy))
            self._recorder.trip(decision.trip)

    def _quiet_left(self, policy: SubscriptionPolicy) -> float:
        with self._lock:
            return policy.quiet_left

    def _resolve_later(self, subscription: Subscription) -> None:
        if self._mode is not Mode.ENFORCE:
            subscription.resolve("observed")
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(SETTLE_SECONDS, subscription.resolve, "observed")


def patches(services: Services) -> list[Patch]:
    """What this module touches in the host; nothing when the guard is off."""
    if services.mode(GUARD) is Mode.OFF:
        return []
    guard = _TrackGuard(services)
    recorder = services.recorder

    def emit(wrapped: Any, room: rtc.Room, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        event = args[0] if args else ""
        token = None
        if event == "track_subscribed" and len(args) >= 4:
            started = time.perf_counter()
            with shield(recorder, "Room.emit"):
                subscription = guard.subscribed(room, args[2], args[3])
                token = current_track.set(subscription)
                recorder.observe(
                    "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
                )
        elif event in _ENDS:
            with shield(recorder, "Room.emit"):
                guard.ended(room, event, args[1:])
        try:
            return wrapped(*args, **kw)
        finally:
            if token is not None:
                current_track.reset(token)

    table = [Patch(rtc.Room, "emit", emit, GUARD, "every subscription, and whose handler it runs")]
    if services.enforcing(GUARD):
        table += _stream_patches(services, guard.pool)
    return table


def _stream_patches(services: Services, pool: StreamPool) -> list[Patch]:
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
                subscription.resolve("reused")
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
    covered = weakref.WeakSet(_stream_classes(stt.STT))
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
        *(Patch(kind, "stream", stream, GUARD, why) for kind in _stream_classes(stt.STT)),
        Patch(stt.STT, "__init__", init, GUARD, "STT classes that are imported later"),
    ]


def _stream_classes(base: type) -> Iterator[type]:
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


def _place(room: rtc.Room, publication: Any, participant: Any) -> Place:
    who = getattr(participant, "identity", "") or getattr(participant, "sid", "")
    number = getattr(publication, "source", 0)
    source = "unknown"
    if isinstance(number, int) and number in rtc.TrackSource.values():
        source = rtc.TrackSource.Name(number).removeprefix("SOURCE_").lower()  # type: ignore[arg-type]
    if source not in _SOURCES:
        source = "unknown"
    return Place(room.name or f"?{id(room)}", _own_identity(room), str(who), source)


def _own_identity(room: rtc.Room) -> str:
    """Who we are in ``room``; ``local_participant`` raises before the first connect."""
    return str(getattr(getattr(room, "_local_participant", None), "identity", ""))


def _concerns(event: str, args: tuple[Any, ...], sid: str, place: Place) -> bool:
    """Whether ``event`` ends the track ``sid``."""
    if event == "disconnected":
        return True
    if event == "participant_disconnected":
        return bool(args) and getattr(args[0], "identity", None) == place.participant
    publication = args[1] if event == "track_unsubscribed" and len(args) > 1 else args[0]
    return getattr(publication, "sid", None) == sid
