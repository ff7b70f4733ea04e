"""The VAD misfire guard on 0.12, where every voice segment without words wakes the LLM.

``HumanInput.emit`` hands each result to the agent: what must not reach the LLM ends there. But a
result is not even needed: five seconds after any voice segment ``_validate_reply_if_possible`` asks
the LLM to ``<continue>``, though nobody said a word. That turn is vetoed, with one exception: an
agent that was cut off by a noise would stay silent in mid-sentence, so it may go on, once between
two genuine results.
"""

from __future__ import annotations

import time
from typing import Any

from runguard_otel.adapters.agents_v0 import agents, host
from runguard_otel.adapters.agents_v0.pipeline_state import PipelineSessions
from runguard_otel.adapters.agents_v1 import batch_stt, echo_text
from runguard_otel.adapters.agents_v1.recognisers import recogniser_of
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_state import GUARD
from runguard_otel.adapters.agents_v1.streams import model_names
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
            live agents.
        clock: Monotonic seconds; for tests.
    """
    if services.mode(GUARD) is Mode.OFF:
        return []
    sessions = PipelineSessions(services, clock)
    services.on_close.append(sessions.close)
    gate = _Gate(services, sessions)
    return [
        Patch(
            host.human_input(),
            "emit",
            gate.emit,
            GUARD,
            "judges every STT result; keeps back those that must not wake the LLM",
        ),
        Patch(
            host.human_input(),
            "_recognize_task",
            gate.recognize,
            GUARD,
            "knows the agent of every result; after an echo storm the microphone is closed",
        ),
        Patch(
            host.pipeline_agent(),
            "_validate_reply_if_possible",
            gate.validate,
            GUARD,
            "no LLM call for a voice segment without a word",
        ),
        Patch(
            host.multimodal_agent(),
            "_emit_speech_committed",
            gate.committed,
            GUARD,
            "judges what a realtime model heard; observes, because it is billed by then",
        ),
        Patch(
            host.subtitles(),
            "update",
            gate.subtitle,
            GUARD,
            "a result without any alternative would end recognition for good",
        ),
        *batch_stt.patches(services, sessions),
        *echo_text.patches(services, sessions),
        *agents.patches(services, sessions),
    ]


class _Gate:
    def __init__(self, services: Services, sessions: PipelineSessions) -> None:
        self._recorder = services.recorder
        self._enforcing = services.enforcing(GUARD)
        self._sessions = sessions

    def emit(self, wrapped: Any, ears: Any, args: Any, kwargs: Any) -> Any:
        """``HumanInput.emit``: a result on its way to the agent."""
        forward, before = True, []
        if len(args) > 1 and args[0] in ("final_transcript", "interim_transcript"):
            with shield(self._recorder, "HumanInput.emit"):
                agent = self._sessions.agent_of(ears)
                if agent is not None:
                    if args[0] == "final_transcript":
                        forward = self._final(agent, args[1])
                        before = self._begun_with(agent, args[1]) if forward else []
                    else:
                        forward = self._interim(agent, args[1])
        elif len(args) > 1 and args[0] in ("start_of_speech", "end_of_speech"):
            with shield(self._recorder, "HumanInput.emit"):
                agent = self._sessions.agent_of(ears)
                if agent is not None:
                    self._voice(agent, args[1], begins=args[0] == "start_of_speech")
        for unsure in before:
            wrapped(args[0], unsure)
        return wrapped(*args, **kwargs) if forward else None

    async def recognize(self, wrapped: Any, ears: Any, args: Any, kwargs: Any) -> Any:
        """``HumanInput._recognize_task``: the whole life of one track's recognition."""
        agent = self._sessions.agent_of(ears)
        if agent is None:
            return await wrapped(*args, **kwargs)
        with self._sessions.starting(agent):
            if self._enforcing and args:
                with shield(self._recorder, "HumanInput._recognize_task"):
                    args = (_Microphone(args[0], self._sessions, agent), *args[1:])
            return await wrapped(*args, **kwargs)

    def subtitle(self, wrapped: Any, forwarder: Any, args: Any, kwargs: Any) -> Any:
        """``STTSegmentsForwarder.update``: it takes ``alternatives[0]`` unasked, first of all."""
        malformed = False
        with shield(self._recorder, "STTSegmentsForwarder.update"):
            malformed = self._enforcing and bool(args) and not args[0].alternatives
        return None if malformed else wrapped(*args, **kwargs)

    def validate(self, wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        """``VoicePipelineAgent._validate_reply_if_possible``: the user's turn is over."""
        veto = False
        with shield(self._recorder, "VoicePipelineAgent._validate_reply_if_possible"):
            veto = self._is_misfire(agent)
        return None if veto else wrapped(*args, **kwargs)

    def committed(self, wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        """``MultimodalAgent._emit_speech_committed``: what the model heard, or said."""
        with shield(self._recorder, "MultimodalAgent._emit_speech_committed"):
            speaker, text = args[0], args[1]
            state = self._sessions.of(agent)
            if speaker == "user":
                provider, model = model_names(agent._model)
                state.on_final(text or "", None, provider, model, mode=Mode.OBSERVE)
            else:
                state.echo.push_whole(text, object())
        return wrapped(*args, **kwargs)

    def _voice(self, agent: Any, event: Any, *, begins: bool) -> None:
        """A voice began or ended. One without words is judged by its turn, not as a segment."""
        segments, now = self._sessions.state(agent).segments, self._sessions.clock()
        late = event.inference_duration
        if begins:
            segments.began(now - event.speech_duration - late)
        else:
            segments.ended(now - event.silence_duration - late, 0.0)

    def _final(self, agent: Any, event: Any) -> bool:
        """Whether the agent may have this result."""
        started = time.perf_counter()
        best = event.alternatives[0] if event.alternatives else None
        provider, model, measures = recogniser_of(agent.stt)
        confidence = known_confidence(best.confidence) if best is not None and measures else None
        state = self._sessions.state(agent)
        decision = state.on_final(
            best.text if best is not None else "",
            confidence,
            provider,
            model,
            activity=agent,
            joins=self._enforcing and bool(str(agent._transcribed_text).strip()),
        )
        stop = self._enforcing and decision.verdict is Verdict.SUPPRESS
        if stop:
            agent._transcribed_interim_text = ""
            if decision.kind is MisfireKind.LOW_CONFIDENCE and not decision.open:
                state.kept.keep(event)
        self._recorder.observe(
            "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
        )
        return not stop

    def _begun_with(self, agent: Any, event: Any) -> list[Any]:
        """The results kept back in the turn to which ``event`` adds words, to go before it."""
        best = event.alternatives[0] if event.alternatives else None
        if best is None or not best.text.strip():
            return []
        return self._sessions.state(agent).kept.take()

    def _interim(self, agent: Any, event: Any) -> bool:
        """In a storm a guess must not interrupt the agent."""
        idle = not event.alternatives or self._sessions.of(agent).storm
        return not (self._enforcing and idle)

    def _is_misfire(self, agent: Any) -> bool:
        """Whether this turn must not reach the LLM. Counts it, if no result of it was counted."""
        state = self._sessions.state(agent)
        judged, cut_off = state.judged, state.cut_off
        state.kept.forget()
        state.judged = state.cut_off = False
        if not _would_ask_without_words(agent):
            return False
        goes_on = cut_off and not state.continued and not state.storm
        if goes_on:
            state.continued = True
        veto = self._enforcing and not goes_on
        if not judged:
            provider, model = model_names(agent.stt)
            mode = None if veto else Mode.OBSERVE
            state.on_final("", None, provider, model, activity=agent, mode=mode, heard=False)
        return veto


def _would_ask_without_words(agent: Any) -> bool:
    """Whether the host is about to ask the LLM though nothing was said."""
    playing = agent._playing_speech
    speaking = playing is not None and not playing.interrupted
    if speaking and not (playing.allow_interruptions and agent._should_interrupt()):
        return False  # it is not listening
    if agent._pending_agent_reply is not None or agent._opts.preemptive_synthesis:
        return False  # it has asked already, about words, or will not ask at all
    return not str(agent._transcribed_text).strip()


class _Microphone:
    """A track's audio, without what is heard while the microphone is closed."""

    def __init__(self, audio: Any, sessions: PipelineSessions, agent: Any) -> None:
        self._audio = audio
        self._state = sessions.state(agent)

    def __aiter__(self) -> _Microphone:
        return self

    async def __anext__(self) -> Any:
        while True:
            event = await self._audio.__anext__()
            if not self._state.muted:
                return event
