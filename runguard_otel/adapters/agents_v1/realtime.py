"""The misfire guard with a realtime model, which hears the audio itself and answers unasked.

Where the provider takes turns, its answer is billed before anybody here learns what was said: no
result can be held back. What can be done comes after the trip: stop the answer that is running,
close the input for a while, open it on trial. Where the client takes turns, the audio is not
committed while the input is closed, and nothing is billed.
"""

from __future__ import annotations

import asyncio
import functools
import time
import weakref
from collections.abc import AsyncIterable
from typing import Any

from runguard_otel.adapters.agents_v1.exchange import Exchange
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import GUARD, SpeechState
from runguard_otel.adapters.patching import Patch
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.confidence import known_confidence

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
        self._exchanges: weakref.WeakKeyDictionary[SpeechState, Exchange] = (
            weakref.WeakKeyDictionary()
        )
        self._drains: set[asyncio.Future[Any]] = set()
        services.on_close.append(self._hand_back)

    def patches(self) -> list[Patch]:
        """The hooks; a session takes them when it starts, as bound methods."""
        from livekit.agents.voice import AgentSession
        from livekit.agents.voice.agent_activity import AgentActivity

        return [
            Patch(
                AgentActivity,
                "_on_input_audio_transcription_completed",
                self._on_transcription,
                GUARD,
                "judges what a realtime model heard; in a storm, closes the input for a while",
            ),
            Patch(
                AgentActivity,
                "_on_generation_created",
                self._on_generation,
                GUARD,
                "counts unasked answers of a realtime model; stops those that come after the trip",
            ),
            Patch(
                AgentActivity,
                "_on_input_speech_started",
                self._on_speech_started,
                GUARD,
                "knows whether an answer of a realtime model followed speech; changes nothing",
            ),
            Patch(
                AgentActivity,
                "_schedule_speech",
                self._on_schedule,
                GUARD,
                "knows which speech answers a user's turn, to stop that one alone",
            ),
            Patch(
                AgentSession,
                "_conversation_item_added",
                self._on_item_added,
                GUARD,
                "remembers for some seconds what a realtime model said, to recognise its echo",
            ),
        ]

    def _on_transcription(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        pass_on = True
        with shield(self._recorder, "AgentActivity._on_input_audio_transcription_completed"):
            event = args[0] if args else kwargs["ev"]
            if event.is_final:
                started = time.perf_counter()
                pass_on = self._judge(activity, event)
                self._recorder.observe(
                    "runguard.guard.duration", time.perf_counter() - started, guard=GUARD.value
                )
        return wrapped(*args, **kwargs) if pass_on else None

    def _on_generation(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        exchange, refused = None, False
        with shield(self._recorder, "AgentActivity._on_generation_created"):
            event = args[0] if args else kwargs["ev"]
            if not event.user_initiated and not _answers_tool(activity):
                state = self._sessions.of(activity._session)
                exchange = self._exchange(state)
                if exchange.answer(activity):
                    state.unasked_answer(*_names(activity.llm))
                if state.cooldown.closed:
                    activity._rt_session.interrupt()
                    self._drain(event)
                    refused = True
        if refused:
            return None
        if exchange is None:
            return wrapped(*args, **kwargs)
        exchange.answering = True
        try:
            return wrapped(*args, **kwargs)
        finally:
            exchange.answering = False

    def _on_speech_started(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        with shield(self._recorder, "AgentActivity._on_input_speech_started"):
            state = self._sessions.of(activity._session)
            self._exchange(state).speech_started(self._sessions.clock())
        return wrapped(*args, **kwargs)

    def _on_schedule(self, wrapped: Any, activity: Any, args: Any, kwargs: Any) -> Any:
        late = None
        if getattr(activity, "_rt_session", None) is not None:
            with shield(self._recorder, "AgentActivity._schedule_speech"):
                state = self._sessions.of(activity._session)
                exchange = self._exchange(state)
                turn = getattr(activity, "_user_turn_completed_atask", None)
                asked = turn is not None and turn is asyncio.current_task()
                if asked or exchange.answering:
                    exchange.reply = args[0] if args else kwargs["speech"]
                if asked and state.cooldown.closed:
                    late = exchange  # its transcript came before the answer was even asked for
        result = wrapped(*args, **kwargs)
        if late is not None:
            with shield(self._recorder, "AgentActivity._schedule_speech"):
                late.stop(activity)
        return result

    def _on_item_added(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        with shield(self._recorder, "AgentSession._conversation_item_added"):
            item = args[0] if args else kwargs["message"]
            realtime = getattr(getattr(session, "_activity", None), "_rt_session", None)
            if realtime is not None and getattr(item, "role", "") == "assistant":
                self._sessions.of(session).agent_said(item.text_content or "", item.id)
        return wrapped(*args, **kwargs)

    def vetoes_turn(self, activity: Any) -> bool:
        """Whether a turn that the client ends must not be committed: its input is closed.

        There is no transcript yet, ever: what was said is no reason here.
        """
        if getattr(activity, "_rt_session", None) is None:
            return False
        if not self._sessions.of(activity._session).cooldown.closed:
            return False
        if _server_takes_turns(activity):
            return False
        activity._rt_session.clear_audio()
        return True

    def _judge(self, activity: Any, event: Any) -> bool:
        """Whether the host may have this final transcript."""
        state = self._sessions.of(activity._session)
        exchange = self._exchange(state)
        began = exchange.transcribed()
        provider, model = _names(activity.llm)
        confidence = getattr(event, "confidence", None)  # not before 1.4
        closes = not _manual(activity)  # a turn that a person ends with a button is no loop
        decision = state.on_final(
            event.transcript,
            known_confidence(confidence),
            provider,
            model,
            activity=activity,
            answered=True,
            remedy="close_input" if closes else "",
            began=began,
        )
        if not (self._enforcing and decision.open):
            return True
        exchange.stop(activity)
        if closes and state.cooldown.close() and not _server_takes_turns(activity):
            activity._rt_session.clear_audio()
        return False

    def _exchange(self, state: SpeechState) -> Exchange:
        exchange = self._exchanges.get(state)
        if exchange is None:
            exchange = self._exchanges[state] = Exchange()
        return exchange

    def _hand_back(self) -> None:
        """Sessions hold our wrappers as their event handlers: give them the host's own again.

        The host takes its handlers off by what they are now. When it hands a session on to the next
        agent it would leave ours there, and two agents would take every turn.
        """
        for state in self._sessions.states():
            activity = getattr(state.session, "_activity", None)
            if getattr(activity, "_rt_session", None) is not None:
                state.from_anywhere(functools.partial(_rebind, activity))

    def _drain(self, event: Any) -> None:
        """Read what the provider still sends to an answer that nobody takes."""
        reading = asyncio.gather(
            _read_messages(event.message_stream),
            _read(event.function_stream),
            return_exceptions=True,  # the host would have seen the provider's errors elsewhere
        )
        self._drains.add(reading)
        reading.add_done_callback(self._drains.discard)


def _rebind(activity: Any) -> None:
    realtime = activity._rt_session
    for event in (
        "generation_created",
        "input_audio_transcription_completed",
        "input_speech_started",
    ):
        now = getattr(activity, f"_on_{event}")
        for handler in list(realtime._events.get(event, ())):
            same = getattr(handler, "__self__", None) is activity
            if same and handler != now and handler.__name__ == now.__name__:
                realtime.off(event, handler)
                realtime.on(event, now)


def _names(model: Any) -> tuple[str, str]:
    return str(getattr(model, "provider", "unknown")), str(getattr(model, "model", "unknown"))


def _server_takes_turns(activity: Any) -> bool:
    capable = activity.llm.capabilities.turn_detection
    return bool(getattr(activity, "_rt_turn_detection_enabled", capable))  # since 1.6


def _manual(activity: Any) -> bool:
    names = ("_turn_detection", "_turn_detection_mode")  # since 1.4, before
    return any(getattr(activity, name, None) == "manual" for name in names)


def _answers_tool(activity: Any) -> bool:
    """Some models answer by themselves once they got the result of a tool."""
    waiting = getattr(activity, "_pending_auto_tool_reply_fut", None)  # since 1.6
    if waiting is not None and not waiting.done():
        return True
    items = activity._agent._chat_ctx.items
    return bool(items) and items[-1].type == "function_call_output"


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
