"""What we know of one session's speech, and what a storm makes us do to it."""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from time import perf_counter
from typing import Any, ClassVar

from runguard_otel.adapters.livekit.facts.job import current_job, session_context
from runguard_otel.adapters.livekit.facts.models import Recogniser
from runguard_otel.adapters.livekit.facts.turn import activity_of
from runguard_otel.adapters.livekit.misfire.cooldown import Cooldown
from runguard_otel.adapters.livekit.misfire.held_back import KeptBack, drop_misfires
from runguard_otel.adapters.livekit.misfire.remedies import Remedies
from runguard_otel.adapters.livekit.misfire.segments import VoiceSegments
from runguard_otel.adapters.livekit.misfire.thresholds import VADThresholds
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.confidence import Confidence, ConfidenceScales
from runguard_otel.core.guards.echo import EchoMemory
from runguard_otel.core.guards.misfire import MisfireDecision, MisfireKind
from runguard_otel.core.guards.repetition import Heard, Repetition
from runguard_otel.core.ports import AttributeValue, Count
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Mode, Outcome, Subject, Trip, Verdict

__all__ = ["SpeechState"]

GUARD = GuardName.VAD_MISFIRE

MAX_PASSED = 8
"""Misfires let through that are remembered. A row has two at most; a pending turn, few rows."""
MAX_SERIES = 64
"""Series of results kept at hand: a session has a few, unless its recogniser makes up names."""


class SpeechState:
    """The misfire guard of one ``AgentSession``. Touched on the session's loop only.

    Args:
        session: The session; only a weak reference is kept.
        services: Settings and recorder.
        clock: Monotonic seconds.
        thresholds: Raised detectors, shared by all sessions.
        scales: What was learned of recognisers' numbers, shared by all sessions.

    Attributes:
        speaks: Whether the agent speaks; ``None`` when this state is over, and whoever kept it must
            ask for the session's new one.
    """

    remedies: ClassVar[type[Remedies]] = Remedies
    """What a storm makes us do to a session of this kind."""

    def __init__(
        self,
        session: Any,
        services: Services,
        clock: Clock,
        thresholds: VADThresholds,
        scales: ConfidenceScales,
    ) -> None:
        settings = services.settings
        self.loop = asyncio.get_running_loop()
        self.mode = services.mode(GUARD)
        self.subject = _subject()
        self.guard = services.policies.misfire(self.subject)
        self.echo = EchoMemory(settings.vad_misfire_echo_seconds)
        self.segments = VoiceSegments()
        self.repetition = Repetition(settings.vad_misfire_duplicate_seconds)
        self.kept = KeptBack()
        self.speaks: bool | None = False
        self._session = weakref.ref(session)
        self._recorder = services.recorder
        self._took = services.recorder.bind("runguard.guard.duration", guard=GUARD.value)
        self._results: dict[tuple[MisfireKind, Confidence, Recogniser], Count] = {}
        self._heard_genuine = services.heard_genuine
        self._note = services.policies.note
        self._clock = clock
        self._window = settings.vad_misfire_window_seconds
        self._clear = settings.vad_misfire_min_confidence
        self._scales = scales
        self._actions = self.remedies(self._session, settings, thresholds, self._later)
        self.cooldown = Cooldown(
            settings.vad_misfire_cooldown_seconds,
            settings.vad_misfire_bound_seconds,
            self._actions,
            self._later,
        )
        self._opened: tuple[str, str, str] | None = None  # as it was reported
        self._close_after = settings.vad_misfire_close_after_trips
        self._trips = 0
        self._may_mute = False
        self._last_misfire = 0.0
        self._passed: deque[str] = deque(maxlen=MAX_PASSED)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def session(self) -> Any | None:
        """The session, while it lives."""
        return self._session()

    @property
    def storm(self) -> bool:
        """Whether the guard is open."""
        return self._opened is not None and self.guard.is_open(self._clock())

    def on_final(
        self,
        said: Heard,
        reported: object,
        maker: Recogniser,
        *,
        activity: Any = None,
        mode: Mode | None = None,
        heard: bool = True,
        answered: bool = False,
        remedy: str = "",
        began: float | None = None,
        joins: Callable[[], object] | None = None,
    ) -> MisfireDecision:
        """Judge and report one final result.

        Args:
            said: What was recognised.
            reported: What its recogniser calls its confidence.
            maker: The recogniser.
            activity: The running ``AgentActivity``.
            mode: Overrides the session's mode for this event.
            heard: False where no result came at all, and none is to be counted.
            answered: The model needs no transcript to answer: nothing is held back before a trip.
            remedy: What a trip does to this session, where that is not what the guard says.
            began: When the speech began, in monotonic seconds, if the result came long after it.
            joins: Tells whether its turn already holds words that were let through; only of an
                unsure result that is asked.
        """
        started, now = perf_counter(), self._clock()
        text = said.text
        confidence = self._scales.judge(maker, reported) if maker.measures else None
        span = self.segments.span(now) if began is None else (began, began)
        clear = confidence is not None and confidence >= self._clear
        echo = self.echo.is_echo(text, now, span, clear=clear)
        duplicate = not answered and self.repetition.is_duplicate(said, now)
        unsure = not clear and confidence is not None
        decision = self.guard.on_final(
            text,
            confidence,
            echo=echo,
            joins=unsure and joins is not None and bool(joins()),
            duplicate=duplicate,
            now=now,
        )
        kind, mode = decision.kind, mode or self.mode
        if heard:
            known = Confidence.JUDGED if confidence is not None else self._unjudged(maker)
            count = self._results.get((kind, known, maker)) or self._bind(kind, known, maker)
            count(1)
        if kind is MisfireKind.GENUINE:
            self.repetition.delivered(said, now)
            self.segments.words()
            if self._passed:
                self._passed.clear()
            if self.repetition.repeated(text):
                self._event("vad_misfire:repeated_transcript", Outcome.OBSERVED, maker)
            if heard:
                self._heard_genuine(self._session())
        else:
            verdict = decision.verdict
            if verdict is Verdict.ALLOW:
                self.repetition.delivered(said, now)
                self._passed.append(text)
            held = decision.open or not answered
            outcome = Outcome.of(verdict if held else Verdict.ALLOW, mode)
            self._event(decision.signature, outcome, maker)
            if kind is not MisfireKind.EMPTY:
                self.segments.words()
        if decision.open or self._opened is not None:
            self._settle(decision.open)
            if decision.open and kind is not MisfireKind.DUPLICATE:
                self._last_misfire = now
                self.kept.forget()
            if decision.trip is not None:
                self._tripped(decision.trip, activity, mode, remedy)
        self._took(perf_counter() - started)
        return decision

    def _unjudged(self, maker: Recogniser) -> Confidence:
        other = not maker.measures or self._scales.is_other(maker)
        return Confidence.UNUSABLE if other else Confidence.ABSENT

    def _bind(self, kind: MisfireKind, confidence: Confidence, maker: Recogniser) -> Count:
        if len(self._results) >= MAX_SERIES:
            self._results.clear()
        count = self._results[kind, confidence, maker] = self._recorder.bind(
            "runguard.stt.results",
            kind=kind.value,
            confidence=confidence.value,
            provider=maker.provider,
            model=maker.model,
        )
        return count

    def unheard_segment(self) -> None:
        """A voice segment of half a second or more led to no text at all. Observed only."""
        self.segments.wordless = False
        self._event("vad_misfire:no_transcript", Outcome.OBSERVED)

    def unasked_answer(self, provider: str, model: str) -> None:
        """A realtime model answered, and nothing tells what it heard. Observed only."""
        self._event("vad_misfire:no_transcript", Outcome.OBSERVED, (provider, model))

    def agent_said(self, text: str, source: Hashable) -> None:
        """The agent said ``text``, by a voice that never told us before."""
        self.echo.said(text, source, self._clock())

    def agent_speaks(self, speaking: bool) -> None:
        """Whether the agent speaks, which may be what is known already."""
        if speaking is not self.speaks:
            self.agent_changed(speaking)

    def agent_changed(self, speaking: bool) -> None:
        """The agent started or stopped speaking."""
        self.speaks, now = speaking, self._clock()
        self._note("agent_speaks", on=speaking)
        if speaking:
            self.echo.started(now)
            self.guard.next_turn()
            if self._may_mute and self.guard.mutes(now):
                self._actions.mute()
        else:
            self.echo.stopped(now)
            if self._may_mute:
                self._actions.unmute()

    def switched(self, heard: Any, enabled: bool) -> None:
        """The audio of ``heard``, an ``AgentInput``, was switched on or off."""
        self._actions.requested(heard, enabled)

    def close(self) -> None:
        """The session is over, or we leave: undo whatever is still in force."""
        self.speaks = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.segments.wordless:
            self.unheard_segment()
        self.guard.reset()
        self._settle(False)
        self._actions.recover()
        self._actions.unmute()
        self.cooldown.reset()

    def close_from_anywhere(self) -> None:
        """Like :meth:`close`, from a thread that may not be the session's."""
        self.speaks = None
        self.from_anywhere(self.close)

    def from_anywhere(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the session's loop: at once if that is possible, else soon."""
        try:
            same = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            same = False
        if same or not self.loop.is_running():
            action()
        else:
            self.loop.call_soon_threadsafe(self._shielded, action)

    def _event(self, signature: str, outcome: Outcome, maker: tuple[Any, ...] = ()) -> None:
        attributes: dict[str, AttributeValue] = {}
        if maker:
            attributes["gen_ai.provider.name"], attributes["gen_ai.request.model"] = maker[:2]
        self._recorder.event(
            signature,
            outcome,
            self.subject,
            attributes=attributes,
            context=session_context(self._session()),
        )

    def _settle(self, now_open: bool, signature: str = "", mode: str = "") -> None:
        """Report and undo when the guard opened or closed since the last time."""
        if now_open == (self._opened is not None):
            return
        if self._opened is None:
            self._opened = (GUARD, signature, mode)
            self._recorder.guard_opened(*self._opened)
            self._watch(self._window)
        else:
            self._recorder.guard_closed(*self._opened)
            self._opened = None
            self._actions.recover()
            self.cooldown.reset()

    def _tripped(self, trip: Trip, activity: Any, mode: Mode, remedy: str) -> None:
        self._trips += 1
        closing = 0 < self._close_after <= self._trips
        if mode is not Mode.ENFORCE:
            trip = replace(trip, mode=mode, action="none")
        elif closing:
            trip = replace(trip, action="close_session")
        elif remedy:
            trip = replace(trip, action=remedy)
        self._recorder.trip(trip, context=session_context(self._session()))
        if mode is not Mode.ENFORCE:
            return
        activity = activity or activity_of(self._session())
        drop_misfires(activity, self._passed)
        self._may_mute = True
        self._actions.calm(activity)
        if self.speaks and self.guard.mutes(self._clock()):
            self._actions.mute()
        if closing:
            self._actions.end()

    def _later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self._shielded, action)

    def _watch(self, seconds: float) -> None:
        """Look again when the window may have passed quietly: raised thresholds must not stay."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        if self._opened is None:
            return
        now = self._clock()
        if self.guard.is_open(now):
            self._watch(self._last_misfire + self._window - now)
        else:
            self._settle(False)

    def _shielded(self, action: Any) -> None:
        with shield(self._recorder, "AgentSession.timer"):
            action()


def _subject() -> Subject:
    job = getattr(current_job(), "job", None)
    room = getattr(getattr(job, "room", None), "name", "")
    return Subject(
        room=room if isinstance(room, str) else "",  # a console session has a mock for a room
        job_id=str(getattr(job, "id", "") or ""),
        session=uuid.uuid4().hex,
    )
