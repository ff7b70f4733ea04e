"""Is a track subscribed again and again? Follows the tracks of every room and asks the policy.

``AgentSession`` keeps one STT stream over all tracks of its participant. Code that users write for
``track_subscribed`` rarely does: that is where the streams pile up, and where handles are given.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, Final

from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.facts.job import current_job, id_in, in_session, is_fake_job
from runguard_otel.adapters.livekit.facts.room import (
    TRACK_ENDS,
    TrackOrigin,
    carries_no_audio,
    ends_track,
    heard_track,
    is_read,
    own_identity,
    room_name,
    track_origin,
)
from runguard_otel.adapters.livekit.facts.streams import takes_audio
from runguard_otel.adapters.livekit.open_periods import OpenPeriods
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.subscription.context import Subscription, current_track
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.adapters.livekit.subscription.patience import PatientTimer
from runguard_otel.adapters.livekit.subscription.pool import Opener, StreamPool
from runguard_otel.adapters.livekit.subscription.slots import TrackSlots
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.subscription import SubscriptionPolicy
from runguard_otel.core.keyed import BoundedMap
from runguard_otel.core.signatures import TRACK_SUBSCRIBE, GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject

__all__ = ["GUARD", "TrackGuard"]

GUARD = GuardName.TRACK_SUBSCRIBE
SETTLE_SECONDS: Final = 1.0
"""Whoever opens an STT stream for a track does so at once; later it counts as merely observed."""


@dataclass
class _Source:
    """One of the concurrent tracks of an origin, over all its subscriptions."""

    policy: SubscriptionPolicy
    latest: Subscription | None = None


class TrackGuard:
    """Counts subscriptions per source, and has their STT streams handed on.

    Args:
        services: Settings, the recorder, and where to leave what ``uninstrument()`` must end.
    """

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._recorder = services.recorder
        self._mode = services.mode(GUARD)
        self._pool = StreamPool(
            services.recorder,
            settings.track_subscribe_linger_seconds,
            settings.track_subscribe_grace_seconds,
        )
        self._lock = threading.Lock()
        self._slots = TrackSlots(services.recorder, settings.track_subscribe_grace_seconds)
        self._window_seconds = settings.track_subscribe_window_seconds
        self._sources: BoundedMap[tuple[TrackOrigin, int], _Source] = BoundedMap(
            lambda _: _Source(services.policies.subscription()), settings.max_keys
        )
        self._live: weakref.WeakKeyDictionary[rtc.Room, dict[str, Subscription]] = (
            weakref.WeakKeyDictionary()
        )
        self._periods = OpenPeriods(services.recorder)
        services.on_close.append(self._periods.close)
        services.on_close.append(self._pool.close)
        services.before_flush.append(self.settle)
        services.on_close.append(self.settle)

    def emit(
        self, wrapped: Any, room: rtc.Room, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """``Room.emit(event, ...)``: the handlers of ``track_subscribed`` run for a track."""
        event = args[0] if args else ""
        token = None
        if event == "track_subscribed" and len(args) >= 4:
            started = time.perf_counter()
            with shield(self._recorder, "Room.emit"):
                token = current_track.set(self.subscribed(room, args[2], args[3]))
                self._recorder.observe(
                    "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
                )
        elif event in TRACK_ENDS:
            with shield(self._recorder, "Room.emit"):
                self.ended(room, event, args[1:])
        try:
            return wrapped(*args, **kwargs)
        finally:
            if token is not None:
                current_track.reset(token)

    def stream(
        self, wrapped: Any, model: stt.STT[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """``STT.stream(...)``: what a track's handler opens is a handle."""
        subscription = current_track.get()
        if subscription is None:
            return wrapped(*args, **kwargs)
        own = Opener(wrapped, args, kwargs)
        handle: StreamHandle | None = None
        key, theirs = None, True
        with shield(self._recorder, "STT.stream"):
            theirs = in_session()
            if not theirs and self._mode is Mode.ENFORCE:
                key = self._pool.key(subscription.origin, model, args, kwargs)
            if key is not None:
                handle = self._pool.take_over(key, model, subscription, own)
        if handle is not None:
            return handle
        real = own()
        if key is None and not theirs:
            with shield(self._recorder, "STT.stream"):
                still = weakref.ref(real)
                subscription.opened.append(lambda: (s := still()) is not None and takes_audio(s))
        if key is not None:
            with shield(self._recorder, "STT.stream"):
                subscription.resolve("opened")
                handle = self._pool.lend(key, model, subscription, real, own)
        return real if handle is None else handle

    def reads(self, audio: Any, *_: Any, **__: Any) -> None:
        """``rtc.AudioStream`` was made: user code reads a track, or a participant's tracks."""
        sid = heard_track(audio)
        subscription = current_track.get()
        if sid:
            with self._lock:
                found = [live[sid] for live in self._live.values() if sid in live]
            subscription = found[0] if found else subscription
        if subscription is not None and not in_session():
            still = weakref.ref(audio)
            subscription.readers.append(lambda: (a := still()) is not None and is_read(a))

    def subscribed(self, room: rtc.Room, publication: Any, participant: Any) -> Subscription | None:
        """A track was subscribed; ``None`` where nothing is guarded (fake jobs)."""
        job = current_job()
        if is_fake_job(job):
            return None
        self._periods.sweep()
        origin = track_origin(room, publication, participant)
        sid = str(getattr(publication, "sid", "") or "")
        subscription = Subscription(
            origin,
            lambda outcome: self._recorder.add(
                "runguard.track.subscriptions", subscription=outcome, source=origin.source
            ),
            began=time.monotonic(),
        )
        with self._lock:
            live = self._live.setdefault(room, {})
            again = live.pop(sid, None)
            beside = list(live.values())
            live[sid] = subscription
        if again is not None:
            again.ended = True
            self._slots.end(again)
        self._pool.track_began(origin)
        subject = Subject(
            room=origin.room,
            participant=origin.participant,
            participant_sid=str(getattr(participant, "sid", "") or ""),
            job_id=id_in(job),
            track_source=origin.source,
        )
        if carries_no_audio(publication, origin):
            self._report(subject, reused=False)
        else:
            self._slots.begin(subscription, beside, lambda: self._judge(subscription, subject))
        self._resolve_later(subscription)
        return subscription

    def ended(self, room: rtc.Room, event: str, args: tuple[Any, ...]) -> None:
        """``Room`` emits one of :data:`~facts.room.TRACK_ENDS`."""
        gone: list[Subscription] = []
        with self._lock:
            live = self._live.get(room, {})
            for sid, subscription in list(live.items()):
                if ends_track(event, args, sid, subscription.origin.participant):
                    gone.append(live.pop(sid))
        for subscription in gone:
            subscription.ended = True
            subscription.left = event == "participant_disconnected"
            subscription.over = event == "disconnected"
            subscription.unused()
            self._slots.end(subscription)
            self._pool.track_ended(subscription.origin)
        if event == "disconnected":
            self._pool.room_left(room_name(room), own_identity(room))
        elif event == "participant_disconnected" and args:
            who = str(getattr(args[0], "identity", ""))
            self._pool.participant_left(room_name(room), own_identity(room), who)

    def settle(self) -> None:
        """Report what is not reported yet: what is known now is final."""
        self._slots.settle()
        with self._lock:
            left = [s for live in self._live.values() for s in live.values()]
        for subscription in left:
            subscription.unused()

    def _judge(self, subscription: Subscription, subject: Subject) -> None:
        origin, enforces = subscription.origin, self._mode is Mode.ENFORCE
        may_reuse = enforces and self._pool.may_reuse(origin)
        with self._lock:
            source = self._sources.get((origin, subscription.slot))
            before, policy = source.latest, source.policy
            source.latest = subscription
            counts = before is not None and before.in_use
            trip = policy.on_subscribe(subject, self._mode, "reuse_stream", counts=counts).trip
        if trip is not None:
            self._periods.opened(trip, lambda: self._quiet_left(policy))
        again = before is not None and (subscription.began - before.began < self._window_seconds)

        def report(reused: bool) -> None:
            self._report(subject, reused=reused, observed=again and not counts)
            if trip is not None:
                action = "reuse_stream" if reused else "none"
                self._recorder.trip(dataclasses.replace(trip, action=action))

        if subscription.outcome is None and may_reuse:
            # Said as soon as it is known: the application may open none, or one of other settings.
            subscription.also_report = lambda outcome: report(outcome == "reused")
        else:
            report(subscription.outcome == "reused")

    def _report(self, subject: Subject, *, reused: bool, observed: bool = False) -> None:
        outcome = Outcome.REUSED if reused else Outcome.OBSERVED if observed else Outcome.ALLOWED
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
        PatientTimer(loop, SETTLE_SECONDS, subscription.unused)
