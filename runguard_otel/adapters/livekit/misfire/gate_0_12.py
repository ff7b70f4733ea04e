"""The VAD misfire guard on 0.12, where every voice segment without words wakes the LLM.

``HumanInput.emit`` hands each result to the agent: what must not reach the LLM ends there. But a
result is not even needed: five seconds after any voice segment ``_validate_reply_if_possible`` asks
the LLM to ``<continue>``, though no word was said. That turn is vetoed, with one exception: an
agent that was cut off by a noise would stay silent in mid-sentence, so it may go on, once between
two genuine results.
"""

from __future__ import annotations

import functools
from typing import Any

from runguard_otel.adapters.hooks import Answer
from runguard_otel.adapters.livekit.facts import pipeline_0_12 as host
from runguard_otel.adapters.livekit.facts.models import (
    Recogniser,
    heard_in,
    model_names,
    recogniser_of,
)
from runguard_otel.adapters.livekit.misfire.session import GUARD
from runguard_otel.adapters.livekit.misfire.session_0_12 import PipelineSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.misfire import MisfireKind
from runguard_otel.core.guards.repetition import Heard
from runguard_otel.core.verdict import Mode, Verdict

__all__ = ["PipelineGate"]


class PipelineGate:
    """What the results of a recogniser and the turns of an agent pass through.

    Args:
        services: Settings and recorder.
        sessions: The speech state of every agent.
    """

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

    def subtitle(self, _: Any, ev: Any, *__: Any, **___: Any) -> Answer | None:
        """``STTSegmentsForwarder.update``: it takes ``alternatives[0]`` unasked, first of all."""
        return Answer() if self._enforcing and not ev.alternatives else None

    def validate(self, agent: Any, *_: Any, **__: Any) -> Answer | None:
        """``VoicePipelineAgent._validate_reply_if_possible``: the user's turn is over."""
        return Answer() if self._is_misfire(agent) else None

    def committed(self, agent: Any, speaker: str, msg: str, *_: Any, **__: Any) -> None:
        """``MultimodalAgent._emit_speech_committed``: what the model heard, or said."""
        state = self._sessions.of(agent)
        if speaker == "user":
            maker = Recogniser(*model_names(host.realtime_model(agent)), True)
            state.on_final(Heard(msg or ""), None, maker, mode=Mode.OBSERVE)
        else:
            state.echo.push_whole(msg, object())

    def _voice(self, agent: Any, event: Any, *, begins: bool) -> None:
        """A voice began or ended. One without words is judged by its turn, not as a segment."""
        state, now = self._sessions.state(agent), self._sessions.clock()
        segments, late = state.segments, event.inference_duration
        if begins:
            state.repetition.voice(now, detected=True)
            segments.began(now - event.speech_duration - late)
        else:
            segments.ended(now - event.silence_duration - late, 0.0)

    def _final(self, agent: Any, event: Any) -> bool:
        """Whether the agent may have this result."""
        best = event.alternatives[0] if event.alternatives else None
        state = self._sessions.state(agent)
        decision = state.on_final(
            heard_in(best),
            best.confidence if best is not None else None,
            recogniser_of(agent.stt),
            activity=agent,
            joins=functools.partial(host.holds_words, agent) if self._enforcing else None,
        )
        stop = self._enforcing and decision.verdict is Verdict.SUPPRESS
        if stop:
            host.forget_guess(agent)
            if decision.kind is MisfireKind.LOW_CONFIDENCE and not decision.open:
                state.kept.keep(event)
        return not stop

    def _begun_with(self, agent: Any, event: Any) -> list[Any]:
        """The results kept back in the turn to which ``event`` adds words, to go before it."""
        best = event.alternatives[0] if event.alternatives else None
        if best is None or not best.text.strip():
            return []
        return self._sessions.state(agent).kept.take()

    def _interim(self, agent: Any, event: Any) -> bool:
        """In a storm a guess must not interrupt the agent."""
        state = self._sessions.of(agent)
        if event.alternatives and event.alternatives[0].text.strip():
            state.repetition.guessed(self._sessions.clock())
        idle = not event.alternatives or state.storm
        return not (self._enforcing and idle)

    def _is_misfire(self, agent: Any) -> bool:
        """Whether this turn must not reach the LLM. Counts it, if no result of it was counted."""
        state = self._sessions.state(agent)
        judged, cut_off = state.judged, state.cut_off
        state.kept.forget()
        state.judged = state.cut_off = False
        if not host.would_ask_without_words(agent):
            return False
        goes_on = cut_off and not state.continued and not state.storm
        if goes_on:
            state.continued = True
        veto = self._enforcing and not goes_on
        if not judged:
            maker = Recogniser(*model_names(agent.stt), True)
            mode = None if veto else Mode.OBSERVE
            state.on_final(Heard(""), None, maker, activity=agent, mode=mode, heard=False)
        return veto


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
