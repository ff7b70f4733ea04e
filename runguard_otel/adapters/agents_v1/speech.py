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

from runguard_otel.adapters.agents_v1 import batch_stt, echo_text, session
from runguard_otel.adapters.agents_v1.exchange import transcribes
from runguard_otel.adapters.agents_v1.pending_turn import LATE_SECONDS, holds_words, pause_within
from runguard_otel.adapters.agents_v1.realtime import RealtimeGate
from runguard_otel.adapters.agents_v1.recognisers import kept_back, recogniser_of
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import GUARD, SpeechState
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.confidence import known_confidence
from runguard_otel.core.guards.misfire import MisfireKind
from runguard_otel.core.verdict import Clock, Mode, Verdict

__all__ = ["patches"]


def patches(services: Services, clock: Clock = time.monotonic) -> list[Patch]:
    """Everything the misfire guard touches; nothing when it is off.

    Args:
        services: Settings and recorder. ``services.on_close`` gets the undo of what was done to
            live sessions (thresholds, microphones).
        clock: Monotonic seconds; for tests.
    """
    if services.mode(GUARD) is Mode.OFF:
        return []
    from livekit.agents.voice.agent_activity import AgentActivity
    from livekit.agents.voice.audio_recognition import AudioRecognition

    sessions = SpeechSessions(services, clock)
    services.on_close.append(sessions.close)
    realtime = RealtimeGate(services, sessions)
    gate = _Gate(services, sessions, realtime)
    return [
        Patch(
            AudioRecognition,
            "_on_stt_event",
            gate.on_stt_event,
            GUARD,
            "judges every STT result; blanks those that must not wake the LLM",
        ),
        Patch(
            AgentActivity,
            "on_end_of_turn",
            gate.on_end_of_turn,
            GUARD,
            "no LLM call for a turn without a word (an empty manual commit), and no turn of a "
            "realtime model while its input is closed",
        ),
        Patch(
            AudioRecognition,
            "_on_vad_event",
            gate.on_vad_event,
            GUARD,
            "knows when a voice was heard, and counts those that led to no text; changes nothing",
        ),
        *batch_stt.patches(services, sessions),
        *echo_text.patches(services, sessions),
        *session.patches(services, sessions),
        *realtime.patches(),
    ]


class _Gate:
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
        self._preflight = getattr(SpeechEventType, "PREFLIGHT_TRANSCRIPT", None)  # since 1.2
        self._texts = {self._final, self._interim, self._preflight} - {None}
        self._speech_starts = SpeechEventType.START_OF_SPEECH
        self._speech_ends = SpeechEventType.END_OF_SPEECH
        self._voice_starts = VADEventType.START_OF_SPEECH
        self._voice_ends = VADEventType.END_OF_SPEECH

    async def on_stt_event(self, wrapped: Any, recognition: Any, args: Any, kwargs: Any) -> Any:
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

    def on_end_of_turn(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        veto = False
        with shield(self._recorder, "AgentActivity.on_end_of_turn"):
            info = args[0] if args else kwargs["info"]
            veto = self._enforcing and _is_wordless(info, activity)
            if veto and hasattr(info, "skip_reply"):
                info.skip_reply = True  # since 1.4: the host does the rest of its bookkeeping
                veto = False
            veto = veto or self._realtime.vetoes_turn(activity)
        return True if veto else wrapped(*args, **kwargs)

    async def on_vad_event(self, wrapped: Any, recognition: Any, args: Any, kwargs: Any) -> Any:
        event = args[0] if args else kwargs.get("ev")
        kind = getattr(event, "type", None)
        if kind is self._voice_ends or kind is self._voice_starts:
            with shield(self._recorder, "AudioRecognition._on_vad_event"):
                self._segment(recognition, event)
        return await wrapped(*args, **kwargs)

    def _judge(self, recognition: Any, event: Any) -> Any:
        """The event to forward: the same, a changed copy, or ``None`` to swallow it."""
        state = self._sessions.of_recognition(recognition)
        if event.type is self._final:
            if transcribes(recognition._hooks):
                return event  # the model's own transcript of the same speech is judged
            return self._judge_final(state, recognition, event)
        if not self._acts_on(recognition) or not state.guard.in_a_row:
            return event
        if state.storm:
            return None  # a guess must not interrupt the agent, nor be promoted by a commit
        if event.type is self._preflight:
            return _changed(event, type=self._interim)  # after a misfire, wait for the final result
        return event

    def _judge_final(self, state: SpeechState, recognition: Any, event: Any) -> Any:
        started = time.perf_counter()
        activity = recognition._hooks
        best = event.alternatives[0] if event.alternatives else None
        if kept_back(activity, best):
            state.segments.words()
            return event
        text = best.text if best is not None else ""
        provider, model, measures = recogniser_of(activity.stt)
        confidence = known_confidence(best.confidence) if best is not None and measures else None
        reaches_llm = self._reaches_llm(recognition)
        acts = reaches_llm and not _by_hand(recognition)
        decision = state.on_final(
            text,
            confidence,
            provider,
            model,
            activity=activity,
            mode=None if acts else Mode.OBSERVE,
            joins=acts and holds_words(activity),
        )
        if text and not text.isspace():
            state.segments.words()
        forward = event
        if best is None and reaches_llm:
            # The host takes `alternatives[0]` unasked: this one would end recognition for good.
            forward = None
            _received(recognition)
        if not acts and not text.strip() and reaches_llm:
            _forget_guesses(recognition)  # the recogniser took its guess back; a commit promotes it
        if acts and decision.verdict is Verdict.SUPPRESS:
            _forget_guesses(recognition)
            if decision.kind is MisfireKind.LOW_CONFIDENCE and not decision.open:
                state.kept.keep(event)
            if best is not None and text:
                _received(recognition)
                forward = _changed(event, alternatives=[_changed(best, text="")])
        self._recorder.observe(
            "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
        )
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
        return self._reaches_llm(recognition) and not _by_hand(recognition)

    def _reaches_llm(self, recognition: Any) -> bool:
        """With a realtime model STT results are subtitles: the model hears the audio itself."""
        return self._enforcing and getattr(recognition._hooks, "_rt_session", None) is None

    def _segment(self, recognition: Any, event: Any) -> None:
        if recognition._hooks.stt is None or transcribes(recognition._hooks):
            return
        state = self._sessions.of_recognition(recognition)
        segments, now = state.segments, self._sessions.clock()
        late = event.inference_duration
        if event.type is self._voice_starts:
            if segments.wordless:
                state.unheard_segment()
            began = now - event.speech_duration - late
            self._may_be_new_turn(state, recognition, began)
            segments.began(began)
        else:
            segments.ended(now - event.silence_duration - late, event.speech_duration)

    def _may_be_new_turn(self, state: SpeechState, recognition: Any, began: float) -> None:
        if not state.segments.continues(began, pause_within(recognition)):
            state.kept.forget()

    def _recognised_voice(self, recognition: Any, event: Any) -> None:
        """The recogniser tells when a voice begins and ends: believed where it finds the turns."""
        detector = getattr(recognition, "_vad", None)
        if detector is not None and getattr(recognition, "_turn_detection_mode", "") != "stt":
            return
        state = self._sessions.of_recognition(recognition)
        segments, now = state.segments, self._sessions.clock()
        if event.type is self._speech_starts:
            said = getattr(event, "speech_start_time", None)  # wall clock; not in every release
            began = now - max(0.0, time.time() - said) if said else now
            self._may_be_new_turn(state, recognition, began)
            segments.recognised(began)
        else:
            segments.recognised_end(now)


def _by_hand(recognition: Any) -> bool:
    return getattr(recognition, "_turn_detection_mode", "") == "manual"


def _changed(original: Any, **changes: Any) -> Any:
    """Like ``dataclasses.replace``, at a tenth of its price; the original is left alone."""
    changed = object.__new__(type(original))
    vars(changed).update(vars(original), **changes)
    return changed


def _is_wordless(info: Any, activity: Any) -> bool:
    """A turn of a pipeline session with no text. Realtime turns never have one."""
    if getattr(activity, "_rt_session", None) is not None or activity.stt is None:
        return False
    return not (getattr(info, "new_transcript", "") or "").strip()


def _forget_guesses(recognition: Any) -> None:
    """Take back what interim and preflight results left behind.

    A preemptive answer is cancelled only if a guess started it: one that grew from final results
    is still what the user asked for.
    """
    if getattr(recognition, "_audio_interim_transcript", ""):
        recognition._audio_interim_transcript = ""
    if getattr(recognition, "_audio_preflight_transcript", ""):  # since 1.2
        recognition._audio_preflight_transcript = ""
        cancel = getattr(recognition._hooks, "_cancel_preemptive_generation", None)
        if cancel is not None:
            cancel()


def _received(recognition: Any) -> None:
    """A manual commit need not wait any longer: there was a result, though it is kept back.

    Before 1.6 the host would not say so for a blank one.
    """
    received = getattr(recognition, "_final_transcript_received", None)
    if received is not None:
        received.set()
