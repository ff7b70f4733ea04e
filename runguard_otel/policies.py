"""Settings become policies here and nowhere else: a call and a replay of it are judged alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from runguard_otel.core.guards.misfire import MisfireGuard, MisfirePolicy
from runguard_otel.core.guards.overrun import JobPolicy, Limits
from runguard_otel.core.guards.recogniser import StreamPolicy
from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.guards.subscription import SubscriptionPolicy
from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Subject
from runguard_otel.settings import Settings

__all__ = ["Policies"]

Made = TypeVar("Made")


class Policies:
    """Makes the policies of one set of settings.

    Args:
        settings: Frozen settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def misfire(self, subject: Subject) -> MisfireGuard:
        """The judge of one session's final results."""
        return self._misfire(subject, MisfireGuard)

    def reconnect(self, clock: Clock = time.monotonic) -> ReconnectPolicy:
        """The judge of one room's connects."""
        return self._reconnect(clock, ReconnectPolicy)

    def subscription(self, clock: Clock = time.monotonic) -> SubscriptionPolicy:
        """The judge of one source's subscriptions."""
        return self._subscription(clock, SubscriptionPolicy)

    def job(
        self, subject: Subject, listening: Callable[[], bool], clock: Clock = time.monotonic
    ) -> JobPolicy:
        """The judge of one job's time. Arguments: :class:`JobPolicy`."""
        return self._job(subject, listening, clock, JobPolicy)

    def stream(self, clock: Clock = time.monotonic) -> StreamPolicy:
        """The judge of one recogniser stream's connections."""
        return self._stream(clock, StreamPolicy)

    def note(self, what: str, /, **facts: AttributeValue) -> None:
        """Something that the history of a call should tell and no policy hears.

        Args:
            what: A word of the journal's schema.
            **facts: What there is to say about it; no words of people.
        """

    def limits(self) -> Limits:
        """How long is too long."""
        settings = self.settings
        return Limits(
            left_seconds=settings.session_overrun_left_seconds,
            unmet_seconds=settings.session_overrun_unmet_seconds,
            silent_seconds=settings.session_overrun_silent_seconds,
            close_seconds=settings.session_overrun_close_seconds,
            session_seconds=settings.session_overrun_session_seconds,
        )

    # Which setting is which argument; ``make`` is the policy's class, or makes one that listens in

    def _misfire(self, subject: Subject, make: Callable[..., Made]) -> Made:
        settings = self.settings
        policy = MisfirePolicy(
            limit=settings.vad_misfire_limit,
            window_seconds=settings.vad_misfire_window_seconds,
            min_confidence=settings.vad_misfire_min_confidence,
            floor_confidence=settings.vad_misfire_floor_confidence,
        )
        return make(policy, subject=subject, mode=settings.mode_of(GuardName.VAD_MISFIRE))

    def _reconnect(self, clock: Clock, make: Callable[..., Made]) -> Made:
        settings = self.settings
        return make(
            limit=settings.room_reconnect_limit,
            window_seconds=settings.room_reconnect_window_seconds,
            redial_limit=settings.room_reconnect_redial_limit,
            clock=clock,
        )

    def _subscription(self, clock: Clock, make: Callable[..., Made]) -> Made:
        settings = self.settings
        return make(
            limit=settings.track_subscribe_limit,
            window_seconds=settings.track_subscribe_window_seconds,
            clock=clock,
        )

    def _job(
        self,
        subject: Subject,
        listening: Callable[[], bool],
        clock: Clock,
        make: Callable[..., Made],
    ) -> Made:
        mode = self.settings.mode_of(GuardName.SESSION_OVERRUN)
        return make(self.limits(), subject, mode, listening=listening, clock=clock)

    def _stream(self, clock: Clock, make: Callable[..., Made]) -> Made:
        settings = self.settings
        return make(
            settings.mode_of(GuardName.SESSION_OVERRUN),
            reconnects=settings.session_overrun_stt_reconnects,
            reconnects_at_all=settings.session_overrun_stt_reconnects_at_all,
            clock=clock,
        )
