"""Track subscriptions: wraps ``rtc.Room.emit`` and, to enforce, ``stream`` of every STT class.

``AgentSession`` keeps one STT stream over all tracks of its participant. Code that users write for
``track_subscribed`` rarely does: that is where the streams pile up, and where leases are given.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
import weakref
from typing import Any, Final

from livekit import rtc

from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.lease_patches import stream_patches
from runguard_otel.adapters.agents_v1.lease_pool import StreamPool
from runguard_otel.adapters.agents_v1.open_periods import OpenPeriods
from runguard_otel.adapters.agents_v1.rehearsal import is_rehearsal
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.track_context import Place, Subscription, current_track
from runguard_otel.adapters.agents_v1.track_slots import TrackSlots
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.subscription import SubscriptionPolicy
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import TRACK_SUBSCRIBE, GuardName
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
        self.pool = StreamPool(
            services.recorder,
            settings.track_subscribe_linger_seconds,
            settings.track_subscribe_grace_seconds,
        )
        self._lock = threading.Lock()
        self._slots = TrackSlots(services.recorder, settings.track_subscribe_grace_seconds)
        self._policies: BoundedMap[tuple[Place, int], SubscriptionPolicy] = BoundedMap(
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
        services.before_flush.append(self.settle)
        services.on_close.append(self.settle)

    def subscribed(self, room: rtc.Room, publication: Any, participant: Any) -> Subscription | None:
        """A track was subscribed; ``None`` where nothing is guarded (fake jobs)."""
        job = current_job()
        if is_rehearsal(job):
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
            again = live.pop(sid, None)
            beside = list(live.values())
            live[sid] = subscription
        if again is not None:
            again.ended = True
            self._slots.end(again)
        subject = Subject(
            room=place.room,
            participant=place.participant,
            participant_sid=str(getattr(participant, "sid", "") or ""),
            job_id=str(getattr(getattr(job, "job", None), "id", "")),
            track_source=place.source,
        )
        if _is_video(publication, place):
            self._report(subject, reused=False)
        else:
            self._slots.begin(subscription, beside, lambda: self._judge(subscription, subject))
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
            subscription.left = event == "participant_disconnected"
            subscription.over = event == "disconnected"
            subscription.unused()
            self._slots.end(subscription)
            self.pool.track_ended(subscription.place)
        if event == "disconnected":
            self.pool.room_left(_room_name(room), _own_identity(room))
        elif event == "participant_disconnected" and args:
            who = str(getattr(args[0], "identity", ""))
            self.pool.participant_left(_room_name(room), _own_identity(room), who)

    def settle(self) -> None:
        """Report what is not reported yet: nobody will know better."""
        self._slots.settle()
        with self._lock:
            left = [s for live in self._live.values() for s in live.values()]
        for subscription in left:
            subscription.unused()

    def _judge(self, subscription: Subscription, subject: Subject) -> None:
        place, enforces = subscription.place, self._mode is Mode.ENFORCE
        reuse = enforces and self.pool.has_reusable(place)
        with self._lock:
            policy = self._policies.get((place, subscription.slot))
            trip = policy.on_subscribe(subject, self._mode, "reuse_stream").trip
        if trip is not None:
            self._periods.opened(lambda: self._quiet_left(policy))

        def report(reused: bool) -> None:
            self._report(subject, reused=reused)
            if trip is not None:
                action = "reuse_stream" if reused else "none"
                self._recorder.trip(dataclasses.replace(trip, action=action))

        if subscription.outcome is not None:
            report(subscription.outcome == "reused")
        elif enforces and not reuse and self.pool.may_have_reusable(place):
            # Said as soon as it is known, which takes a moment when the end of a track is late.
            subscription.also_report = lambda outcome: report(outcome == "reused")
        else:
            report(reuse)

    def _report(self, subject: Subject, *, reused: bool) -> None:
        outcome = Outcome.REUSED if reused else Outcome.ALLOWED
        self._recorder.event(
            TRACK_SUBSCRIBE,
            outcome if self._mode is Mode.ENFORCE else Outcome.OBSERVED,
            subject,
            attributes={"runguard.source": subject.track_source},
        )

    def _quiet_left(self, policy: SubscriptionPolicy) -> float:
        with self._lock:
            return policy.quiet_left

    def _resolve_later(self, subscription: Subscription) -> None:
        if self._mode is not Mode.ENFORCE:
            subscription.unused()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(SETTLE_SECONDS, subscription.unused)


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
        table += stream_patches(services, guard.pool)
    return table


def _place(room: rtc.Room, publication: Any, participant: Any) -> Place:
    who = getattr(participant, "identity", "") or getattr(participant, "sid", "")
    number = getattr(publication, "source", 0)
    source = "unknown"
    if isinstance(number, int) and number in rtc.TrackSource.values():
        source = rtc.TrackSource.Name(number).removeprefix("SOURCE_").lower()  # type: ignore[arg-type]
    if source not in _SOURCES:
        source = "unknown"
    return Place(_room_name(room), _own_identity(room), str(who), source)


def _is_video(publication: Any, place: Place) -> bool:
    """Whether no STT stream can be behind it: then it is counted, and is no cascade of them."""
    if place.source in ("camera", "screenshare"):
        return True
    return bool(getattr(publication, "kind", None) == rtc.TrackKind.KIND_VIDEO)


def _room_name(room: rtc.Room) -> str:
    return room.name or f"?{id(room)}"


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
