"""The VAD misfire guard on a real ``AgentSession``: what reaches the LLM, by which path.

``AudioRecognition._on_stt_event`` gets one event per result, after every adapter and the user's own
``stt_node``, and before preemptive generation, turn detection and interruption. What must not reach
the LLM is blanked there rather than dropped, because a manual commit waits for a final result.
``AgentActivity.on_end_of_turn`` is the last place before an LLM call: a turn without a word is
vetoed there.
"""

from __future__ import annotations

import time
from typing import Any

from runguard_otel.adapters.hooks import Answer
from runguard_otel.adapters.livekit.facts.models import heard_in, kept_back, recogniser_of
from runguard_otel.adapters.livekit.facts.turn import (
    by_hand,
    changed,
    forget_guesses,
    is_wordless,
    listener_of,
    pause_within,
    pending_words,
    preflight_type,
    realtime_session,
    recogniser_finds_turns,
    result_arrived,
    transcribes,
    without_reply,
)
from runguard_otel.adapters.livekit.misfire.held_back import LATE_SECONDS
from runguard_otel.adapters.livekit.misfire.realtime import RealtimeGate
from runguard_otel.adapters.livekit.misfire.session import GUARD, SpeechState
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.misfire import MisfireKind
from runguard_otel.core.verdict import Mode, Verdict

__all__ = ["SpeechGate"]


class SpeechGate:
    """What the events of a recogniser and of a voice detector pass through.

    Args:
        services: Settings and recorder.
        sessions: The speech state of every session.
        realtime: The gate for realtime models.
    """

    def __init__(
        self, services: Services, sessions: SpeechSessions, realtime: RealtimeGate
    ) -> None:
        from livekit.agents.stt import SpeechEventType
        from livekit.agents.vad import VADEventType

        self._recorder = services.recorder
        self._enforcing = services.enforcing(GUARD)
        self._sessions = sessions
        self._realtime = realtime
        self._final = SpeechEventType.FINAL_TRANSCRIPT
        self._interim = SpeechEventType.INTERIM_TRANSCRIPT
        self._preflight = preflight_type()
        self._texts = {self._final, self._interim, self._preflight} - {None}
        self._speech_starts = SpeechEventType.START_OF_SPEECH
        self._speech_ends = SpeechEventType.END_OF_SPEECH
        self._voice_starts = VADEventType.START_OF_SPEECH
        self._voice_ends = VADEventType.END_OF_SPEECH

    async def on_stt_event(self, wrapped: Any, recognition: Any, args: Any, kwargs: Any) -> Any:
        """``AudioRecognition._on_stt_event``: one event per result, guess, start or end."""
        event = args[0] if args else kwargs.get("ev")
        forward, before = event, []
        kind = getattr(event, "type", None)
        if kind in self._texts:
            with shield(self._recorder, "AudioRecognition._on_stt_event"):
                forward = self._judge(recognition, event)
                if forward is event and kind is self._final:
                    before = self._begun_with(recognition, event)
        elif kind is self._speech_starts or kind is self._speech_ends:
            with shield(self._recorder, "AudioRecognition._on_stt_event"):
                self._recognised_voice(recognition, event)
        for unsure in before:
            await wrapped(unsure)
        if forward is None:
            return None
        if forward is event:
            return await wrapped(*args, **kwargs)
        return await wrapped(forward)

    def on_end_of_turn(self, activity: Any, info: Any, *_: Any, **__: Any) -> Answer | None:
        """``AgentActivity.on_end_of_turn``: the last place before an LLM call."""
        if self._enforcing and is_wordless(info, activity) and not without_reply(info):
            return Answer(True)
        return Answer(True) if self._realtime.vetoes_turn(activity) else None

    def on_vad_event(self, recognition: Any, ev: Any, *_: Any, **__: Any) -> None:
        """``AudioRecognition._on_vad_event``: about thirty a second, of which few matter."""
        if ev.type is self._voice_ends or ev.type is self._voice_starts:
            self._segment(recognition, ev)

    def _judge(self, recognition: Any, event: Any) -> Any:
        """The event to forward: the same, a changed copy, or ``None`` to swallow it."""
        state = self._sessions.of_recognition(recognition)
        if event.type is self._final:
            if transcribes(listener_of(recognition)):
                return event  # the model's own transcript of the same speech is judged
            return self._judge_final(state, recognition, event)
        if event.alternatives and event.alternatives[0].text.strip():
            state.repetition.guessed(self._sessions.clock())
        if not self._acts_on(recognition) or not state.guard.in_a_row:
            return event
        if state.storm:
            return None  # a guess must not interrupt the agent, nor be promoted by a commit
        if event.type is self._preflight:
            return changed(event, type=self._interim)  # after a misfire, wait for the final result
        return event

    def _judge_final(self, state: SpeechState, recognition: Any, event: Any) -> Any:
        activity = listener_of(recognition)
        best = event.alternatives[0] if event.alternatives else None
        if kept_back(activity, best):
            state.segments.words()
            return event
        said = heard_in(best)
        reaches_llm = self._reaches_llm(recognition)
        acts = reaches_llm and not by_hand(recognition)
        decision = state.on_final(
            said,
            best.confidence if best is not None else None,
            recogniser_of(activity.stt),
            activity=activity,
            mode=None if acts else Mode.OBSERVE,
            joins=acts and bool(pending_words(recognition)),
        )
        forward = event
        if best is None and reaches_llm:
            # The host takes `alternatives[0]` unasked: this one would end recognition for good.
            forward = None
            result_arrived(recognition)
        if not acts and not said.text.strip() and reaches_llm:
            forget_guesses(recognition)  # the recogniser took its guess back; a commit promotes it
        if acts and decision.verdict is Verdict.SUPPRESS:
            if decision.kind is not MisfireKind.DUPLICATE:  # a guess is what comes after it
                forget_guesses(recognition)
            if decision.kind is MisfireKind.LOW_CONFIDENCE and not decision.open:
                state.kept.keep(event)
            if best is not None and said.text:
                result_arrived(recognition)
                forward = changed(event, alternatives=[changed(best, text="")])
        return forward

    def _begun_with(self, recognition: Any, event: Any) -> list[Any]:
        """The results kept back in the turn to which ``event`` adds words, to go before it."""
        best = event.alternatives[0] if event.alternatives else None
        if best is None or not best.text.strip() or not self._acts_on(recognition):
            return []
        state = self._sessions.of_recognition(recognition)
        kept = state.kept.take()
        if not kept or state.segments.silent_for(self._sessions.clock()) > LATE_SECONDS:
            return []
        return kept

    def _acts_on(self, recognition: Any) -> bool:
        """Where the application says when a turn is (a button), what it holds is no noise either.

        There, results are observed only, a guess that the final result took back is forgotten, and
        a turn without a word is vetoed at its end.
        """
        return self._reaches_llm(recognition) and not by_hand(recognition)

    def _reaches_llm(self, recognition: Any) -> bool:
        """With a realtime model STT results are subtitles: the model hears the audio itself."""
        return self._enforcing and realtime_session(listener_of(recognition)) is None

    def _segment(self, recognition: Any, event: Any) -> None:
        activity = listener_of(recognition)
        if activity.stt is None or transcribes(activity):
            return
        state = self._sessions.of_recognition(recognition)
        segments, now = state.segments, self._sessions.clock()
        late = event.inference_duration
        if event.type is self._voice_starts:
            if segments.wordless:
                state.unheard_segment()
            began = now - event.speech_duration - late
            self._may_be_new_turn(state, recognition, began)
            state.repetition.voice(now, detected=True)
            segments.began(began)
        else:
            segments.ended(now - event.silence_duration - late, event.speech_duration)

    def _may_be_new_turn(self, state: SpeechState, recognition: Any, began: float) -> None:
        if not state.segments.continues(began, pause_within(recognition)):
            state.kept.forget()

    def _recognised_voice(self, recognition: Any, event: Any) -> None:
        """The recogniser tells when a voice begins and ends: believed where it finds the turns."""
        state = self._sessions.of_recognition(recognition)
        if event.type is self._speech_starts:
            state.repetition.voice(self._sessions.clock(), detected=False)
        if not recogniser_finds_turns(recognition):
            return
        segments, now = state.segments, self._sessions.clock()
        if event.type is self._speech_starts:
            said = getattr(event, "speech_start_time", None)  # wall clock; not in every release
            began = now - max(0.0, time.time() - said) if said else now
            self._may_be_new_turn(state, recognition, began)
            segments.recognised(began)
        else:
            segments.recognised_end(now)
