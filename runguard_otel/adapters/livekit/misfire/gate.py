"""The VAD misfire guard on a real ``AgentSession``: what reaches the LLM, by which path.

``AudioRecognition._on_stt_event`` gets one event per result, after every adapter and the user's own
``stt_node``, and before preemptive generation, turn detection and interruption. What must not reach
the LLM is blanked there rather than dropped, because a manual commit waits for a final result.
``AgentActivity.on_end_of_turn`` is the last place before an LLM call: a turn without a word is
vetoed there.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from runguard_otel.adapters.hooks import Ahead, Answer, Failed, Hook, Replace
from runguard_otel.adapters.livekit.facts.models import heard_in, kept_back, recogniser_of
from runguard_otel.adapters.livekit.facts.turn import (
    by_hand,
    changed,
    forget_guesses,
    is_wordless,
    pause_within,
    pending_words,
    preflight_type,
    realtime_session,
    recogniser_finds_turns,
    result_arrived,
    without_reply,
)
from runguard_otel.adapters.livekit.misfire.hearing import Hearing
from runguard_otel.adapters.livekit.misfire.held_back import LATE_SECONDS
from runguard_otel.adapters.livekit.misfire.realtime import RealtimeGate
from runguard_otel.adapters.livekit.misfire.session import GUARD, SpeechState
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
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

        self._enforcing = services.enforcing(GUARD)
        self._hearing = sessions.hearing
        self._clock = sessions.clock
        self._realtime = realtime
        self._final = SpeechEventType.FINAL_TRANSCRIPT
        self._interim = SpeechEventType.INTERIM_TRANSCRIPT
        self._preflight = preflight_type()
        self._speech_starts = SpeechEventType.START_OF_SPEECH
        self._speech_ends = SpeechEventType.END_OF_SPEECH
        self._voice_starts = VADEventType.START_OF_SPEECH
        self._voice_ends = VADEventType.END_OF_SPEECH

    def on_stt_event(
        self, recognition: Any, ev: Any, *_: Any, **__: Any
    ) -> Answer | Replace | Ahead | None:
        """``AudioRecognition._on_stt_event``: one event per result, guess, start or end."""
        kind = ev.type
        if kind is self._final:
            return self._judge(recognition, ev)
        if kind is self._interim or kind is self._preflight:
            return self._judge_guess(recognition, ev)
        if kind is self._speech_starts or kind is self._speech_ends:
            self._recognised_voice(recognition, ev)
        return None

    def on_end_of_turn(self, activity: Any, info: Any, *_: Any, **__: Any) -> Answer | None:
        """``AgentActivity.on_end_of_turn``: the last place before an LLM call."""
        if realtime_session(activity) is not None:
            return Answer(True) if self._realtime.vetoes_turn(activity) else None
        wordless = self._enforcing and is_wordless(info, activity)
        return Answer(True) if wordless and not without_reply(info) else None

    def on_vad_event(self, recognition: Any, ev: Any, *_: Any, **__: Any) -> None:
        """``AudioRecognition._on_vad_event``: about thirty a second, of which few matter."""
        if ev.type is self._voice_starts:
            self._voice_began(recognition, ev)
        elif ev.type is self._voice_ends:
            self._voice_ended(recognition, ev)

    def detecting(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``AudioRecognition._on_vad_event(ev)`` written out: without a call more."""
        starts, ends = self._voice_starts, self._voice_ends
        began, ended = self._voice_began, self._voice_ended

        async def _on_vad_event(self: Any, ev: Any) -> Any:
            if live:
                try:
                    if ev.type is starts:
                        began(self, ev)
                    elif ev.type is ends:
                        ended(self, ev)
                except Exception:  # noqa: BLE001 - the contract that hooks.flat leaves to it
                    failed("AudioRecognition._on_vad_event")
            return await original(self, ev)

        return _on_vad_event

    def _judge(self, recognition: Any, event: Any) -> Answer | Replace | Ahead | None:
        """What becomes of a final result: it passes, is blanked or, without a text, swallowed."""
        hearing = self._hearing(recognition)
        if hearing.realtime and hearing.subtitles_only:
            return None  # the model's own transcript of the same speech is judged
        state, activity = hearing.state, hearing.activity
        best = event.alternatives[0] if event.alternatives else None
        said = heard_in(best)
        if not said.text and kept_back(activity, best):
            state.segments.words()
            return None
        reaches_llm = self._enforcing and not hearing.realtime
        acts = reaches_llm and not by_hand(recognition)
        decision = state.on_final(
            said,
            best.confidence if best is not None else None,
            recogniser_of(hearing.recogniser),
            activity=activity,
            mode=None if acts else Mode.OBSERVE,
            joins=functools.partial(pending_words, recognition) if acts else None,
        )
        if acts and decision.verdict is Verdict.ALLOW:
            return self._begun_with(state) if state.kept.events else None
        if not reaches_llm:
            return None
        if acts:
            if decision.kind is not MisfireKind.DUPLICATE:  # a guess is what comes after it
                forget_guesses(recognition)
            if decision.kind is MisfireKind.LOW_CONFIDENCE and not decision.open:
                state.kept.keep(event)
        elif not said.text.strip():
            forget_guesses(recognition)  # the recogniser took its guess back; a commit promotes it
        if best is None:
            # The host takes `alternatives[0]` unasked: this one would end recognition for good.
            result_arrived(recognition)
            return Answer()
        if acts and said.text:
            result_arrived(recognition)
            return Replace(ev=changed(event, alternatives=[changed(best, text="")]))
        return None

    def _begun_with(self, state: SpeechState) -> Ahead | None:
        """The results kept back in the turn that has words now: they go before those."""
        kept = state.kept.take()
        if state.segments.silent_for(self._clock()) > LATE_SECONDS:
            return None
        return Ahead(*(Replace(ev=unsure) for unsure in kept))

    def _judge_guess(self, recognition: Any, event: Any) -> Answer | Replace | None:
        hearing = self._hearing(recognition)
        state = hearing.state
        if event.alternatives and event.alternatives[0].text.strip():
            state.repetition.guessed(self._clock())
        if not state.guard.in_a_row or not self._acts_on(hearing, recognition):
            return None
        if state.storm:
            return Answer()  # a guess must not interrupt the agent, nor be promoted by a commit
        if event.type is self._preflight:  # after a misfire, wait for the final result
            return Replace(ev=changed(event, type=self._interim))
        return None

    def _acts_on(self, hearing: Hearing, recognition: Any) -> bool:
        """Where the application says when a turn is (a button), what it holds is no noise either.

        There, results are observed only, a guess that the final result took back is forgotten, and
        a turn without a word is vetoed at its end.
        """
        return self._enforcing and not hearing.realtime and not by_hand(recognition)

    def _voice_began(self, recognition: Any, event: Any) -> None:
        hearing = self._hearing(recognition)
        if not hearing.recognises:
            return
        state, now = hearing.state, self._clock()
        if state.segments.wordless:
            state.unheard_segment()
        began = now - event.speech_duration - event.inference_duration
        if state.kept.events:
            self._may_be_new_turn(state, recognition, began)
        state.repetition.voice(now, detected=True)
        state.segments.began(began)

    def _voice_ended(self, recognition: Any, event: Any) -> None:
        hearing = self._hearing(recognition)
        if hearing.recognises:
            ended = self._clock() - event.silence_duration - event.inference_duration
            hearing.state.segments.ended(ended, event.speech_duration)

    def _may_be_new_turn(self, state: SpeechState, recognition: Any, began: float) -> None:
        if not state.segments.continues(began, pause_within(recognition)):
            state.kept.forget()

    def _recognised_voice(self, recognition: Any, event: Any) -> None:
        """The recogniser tells when a voice begins and ends: believed where it finds the turns."""
        state = self._hearing(recognition).state
        if event.type is self._speech_starts:
            state.repetition.voice(self._clock(), detected=False)
        if not recogniser_finds_turns(recognition):
            return
        segments, now = state.segments, self._clock()
        if event.type is self._speech_starts:
            said = getattr(event, "speech_start_time", None)  # wall clock; not in every release
            began = now - max(0.0, time.time() - said) if said else now
            self._may_be_new_turn(state, recognition, began)
            segments.recognised(began)
        else:
            segments.recognised_end(now)
