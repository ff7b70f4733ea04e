"""The misfire guard with a realtime model, which hears the audio itself and answers unasked.

Where the provider takes turns, its answer is billed before anybody here learns what was said: no
result can be held back. What can be done comes after the trip: stop the answer that is running,
close the input for a while, open it on trial. Where the client takes turns, the audio is not
committed while the input is closed, and nothing is billed.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import AsyncIterable
from typing import Any

from runguard_otel.adapters.hooks import Answer
from runguard_otel.adapters.livekit.facts.models import Recogniser, model_names
from runguard_otel.adapters.livekit.facts.turn import (
    activity_of,
    answers_tool,
    answers_turn,
    realtime_session,
    rebind_realtime,
    server_takes_turns,
    session_of,
    turns_by_hand,
)
from runguard_otel.adapters.livekit.misfire.realtime_turns import RealtimeTurns
from runguard_otel.adapters.livekit.misfire.session import GUARD, SpeechState
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.repetition import Heard

__all__ = ["RealtimeGate"]


class RealtimeGate:
    """What the events of realtime sessions are passed through.

    Args:
        services: Settings and recorder.
        sessions: The speech state of every session.
    """

    def __init__(self, services: Services, sessions: SpeechSessions) -> None:
        self._recorder = services.recorder
        self._enforcing = services.enforcing(GUARD)
        self._sessions = sessions
        self._turns: weakref.WeakKeyDictionary[SpeechState, RealtimeTurns] = (
            weakref.WeakKeyDictionary()
        )
        self._drains: set[asyncio.Future[Any]] = set()
        services.on_close.append(self._hand_back)

    def transcribed(self, activity: Any, ev: Any, *_: Any, **__: Any) -> Answer | None:
        """``AgentActivity._on_input_audio_transcription_completed``."""
        return Answer() if ev.is_final and not self._judge(activity, ev) else None

    def answers(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        """``AgentActivity._on_generation_created``: an answer, which may be unasked."""
        turns, refused = None, False
        with shield(self._recorder, "AgentActivity._on_generation_created"):
            event = args[0] if args else kwargs["ev"]
            state = self._sessions.seen(session_of(activity))
            if state is not None and not event.user_initiated and not answers_tool(activity):
                turns = self._turns_of(state)
                if turns.answer(activity):
                    state.unasked_answer(*model_names(activity.llm))
                if state.cooldown.closed:
                    realtime_session(activity).interrupt()
                    self._drain(event)
                    refused = True
        if refused:
            return None
        if turns is None:
            return wrapped(*args, **kwargs)
        turns.answering = True
        try:
            return wrapped(*args, **kwargs)
        finally:
            turns.answering = False

    def speech_started(self, activity: Any, *_: Any, **__: Any) -> None:
        """``AgentActivity._on_input_speech_started``: the provider hears a voice."""
        state = self._sessions.seen(session_of(activity))
        if state is not None:
            self._turns_of(state).speech_started(self._sessions.clock())

    def scheduled(self, activity: Any, _: None, speech: Any, *__: Any, **___: Any) -> None:
        """``AgentActivity._schedule_speech``: the agent is going to say something."""
        if realtime_session(activity) is None:
            return
        state = self._sessions.seen(session_of(activity))
        if state is None:
            return
        turns = self._turns_of(state)
        asked = answers_turn(activity)
        if asked or turns.answering:
            turns.reply = speech
        if asked and state.cooldown.closed:
            turns.stop(activity)  # its transcript came before the answer was even asked for

    def item_added(self, session: Any, message: Any, *_: Any, **__: Any) -> None:
        """``AgentSession._conversation_item_added``."""
        if realtime_session(activity_of(session)) is None:
            return
        state = self._sessions.seen(session)
        if state is not None and getattr(message, "role", "") == "assistant":
            state.agent_said(message.text_content or "", message.id)

    def vetoes_turn(self, activity: Any) -> bool:
        """Whether a turn that the client ends must not be committed: its input is closed.

        There is no transcript yet, ever: what was said is no reason here.
        """
        if realtime_session(activity) is None:
            return False
        self._sessions.meets_realtime()  # its turn is scheduled next
        state = self._sessions.seen(session_of(activity))
        if state is None or not state.cooldown.closed:
            return False
        if server_takes_turns(activity):
            return False
        realtime_session(activity).clear_audio()
        return True

    def _judge(self, activity: Any, event: Any) -> bool:
        """Whether the host may have this final transcript."""
        state = self._sessions.seen(session_of(activity))
        if state is None:
            return True
        turns = self._turns_of(state)
        began = turns.transcribed()
        closes = not turns_by_hand(activity)  # a turn that a person ends with a button is no loop
        decision = state.on_final(
            Heard(event.transcript),
            getattr(event, "confidence", None),  # not before 1.4
            Recogniser(*model_names(activity.llm), True),
            activity=activity,
            answered=True,
            remedy="close_input" if closes else "",
            began=began,
        )
        if not (self._enforcing and decision.open):
            return True
        turns.stop(activity)
        if closes and state.cooldown.close() and not server_takes_turns(activity):
            realtime_session(activity).clear_audio()
        return False

    def _turns_of(self, state: SpeechState) -> RealtimeTurns:
        turns = self._turns.get(state)
        if turns is None:
            turns = self._turns[state] = RealtimeTurns()
            self._sessions.meets_realtime()
        return turns

    def _hand_back(self) -> None:
        """Sessions hold our wrappers as their event handlers: give them the host's own again."""
        for state in self._sessions.states():
            activity = activity_of(state.session)
            if realtime_session(activity) is not None:
                state.from_anywhere(functools.partial(rebind_realtime, activity))

    def _drain(self, event: Any) -> None:
        """Read what the provider still sends to an answer that is not played."""
        reading = asyncio.gather(
            _read_messages(event.message_stream),
            _read(event.function_stream),
            return_exceptions=True,  # the host would have seen the provider's errors elsewhere
        )
        self._drains.add(reading)
        reading.add_done_callback(self._drains.discard)


async def _read_messages(messages: AsyncIterable[Any]) -> None:
    reading: list[asyncio.Task[None]] = []
    try:
        async for message in messages:
            streams = (message.text_stream, message.audio_stream)
            reading += [asyncio.ensure_future(_read(stream)) for stream in streams]
    finally:
        await asyncio.gather(*reading, return_exceptions=True)


async def _read(stream: AsyncIterable[Any]) -> None:
    async for _ in stream:
        pass
