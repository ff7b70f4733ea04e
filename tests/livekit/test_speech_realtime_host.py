"""The host's own behaviour around a realtime model: observe, our failures, leaving."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.speech_handle import SpeechHandle

from runguard_otel.adapters.livekit.misfire.realtime import RealtimeGate
from runguard_otel.adapters.livekit.misfire.realtime_turns import RealtimeTurns
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.core.guards.misfire import MisfireGuard
from runguard_otel.core.verdict import Outcome
from runguard_otel.settings import Settings
from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import settle, until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import NEVER, ORDERS, model, storm
from tests.kit.recorder import MemoryRecorder
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit


@ORDERS
async def test_observe_mode_counts_the_storm_and_leaves_the_call_as_it_is(first: bool) -> None:
    with Guarded(mode="observe") as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c, 12)
            assert len(c.responses) == c.answers == 12
            assert not any(r.cancelled for r in c.responses)
            assert c.turns == [""] * 12
            assert c.listens()
    assert set(guarded.outcomes) == {str(Outcome.OBSERVED)}
    assert [t.action for t in guarded.recorder.trips] == ["none"]


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("ours is broken")


@pytest.mark.parametrize(
    ("owner", "name", "where"),
    [
        (MisfireGuard, "on_final", "AgentActivity._on_input_audio_transcription_completed"),
        (RealtimeTurns, "answer", "AgentActivity._on_generation_created"),
        (RealtimeTurns, "speech_started", "AgentActivity._on_input_speech_started"),
        (RealtimeGate, "_turns_of", "AgentActivity._schedule_speech"),
    ],
)
async def test_our_own_failure_leaves_the_call_untouched_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, where: str
) -> None:
    monkeypatch.setattr(owner, name, boom)
    with Guarded(recorder=MemoryRecorder(tolerant=True)) as guarded:
        async with realtime_call(model()) as c:
            for _ in range(6):
                await c.hear(Heard("hello"))
                await c.quiet()
            assert c.answers == 6
            assert c.turns == ["hello"] * 6
    assert where in [place for place, _ in guarded.recorder.errors]


async def test_an_error_of_the_host_passes_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("the host's own")

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    with Guarded():
        async with realtime_call(model()) as c:
            activity: Any = c.session._activity
            event = SimpleNamespace(user_initiated=False)
            heard = SimpleNamespace(transcript="hello", is_final=True, item_id="1")
            with monkeypatch.context() as patched:
                patched.setattr(SpeechHandle, "create", broken)
                patched.setattr(c.session, "emit", broken)
                for hook, given in (
                    (activity._on_generation_created, event),
                    (activity._on_input_audio_transcription_completed, heard),
                ):
                    with pytest.raises(ValueError, match="the host's own") as raised:
                        hook(given)
                    assert raised.value is error


async def test_leaving_in_a_storm_opens_the_input_and_the_call_goes_on_as_stock() -> None:
    guarded = Guarded(vad_misfire_cooldown_seconds=NEVER)
    with guarded:
        running = realtime_call(model())
        c = await running.__aenter__()
        await storm(c)
        assert not c.listens()
    assert c.listens()
    await storm(c, 7)
    assert len(c.responses) == 12
    assert c.answers == 11
    assert len(guarded.recorder.events) == 5
    await running.__aexit__(None, None, None)


async def test_after_we_left_the_connection_is_handed_on_to_the_next_agent_whole() -> None:
    shared = model()
    for name in ("mutable_chat_context", "mutable_instructions", "mutable_tools"):
        setattr(shared.capabilities, name, True)  # since 1.6 the next agent then takes it over
    guarded = Guarded()
    with guarded:
        running = realtime_call(shared)
        c = await running.__aenter__()
        await c.hear(Heard("hello"))
        await c.quiet()
    second = Agent(instructions="Be brief.")
    c.session.update_agent(second)
    await until(lambda: getattr(second._activity, "_rt_session", None) is not None)
    await settle()
    await c.hear(Heard("still there"))
    await c.quiet()
    assert len(c.responses) == c.answers == 2
    heard = [i.text_content for i in c.session.history.items if i.type == "message"]
    assert heard.count("still there") == 1, "taken by one agent only"
    await running.__aexit__(None, None, None)


async def test_a_session_without_a_realtime_model_is_none_of_its_business() -> None:
    with Guarded() as guarded:
        session: AgentSession[None] = AgentSession()
        await session.start(Agent(instructions="Be brief."))
        await session.aclose()
    assert not guarded.recorder.events


def test_a_handler_that_is_called_where_no_loop_runs_is_left_to_the_host() -> None:
    """As in LiveKit's own unit tests. Fails if a state is made wherever a session is seen."""

    class Session:
        pass

    class Activity:
        _session = Session()
        _rt_session = object()
        llm = None

    services = Services(Settings.load(), MemoryRecorder())
    realtime = RealtimeGate(services, SpeechSessions(services))
    sessions = SpeechSessions(services)
    activity = Activity()
    realtime.speech_started(activity, None)
    realtime.scheduled(activity, None, object())
    realtime.item_added(Session(), object())
    sessions.agent_state(activity._session, None, "speaking")
    assert not realtime.vetoes_turn(activity)
    assert sessions.states() == []
