"""Speech lines of the must-not-fire list: healthy calls, in enforce, exactly as without us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, stt

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import (
    ScriptedLLM,
    ScriptedSTT,
    final,
    interim,
    preflight,
)
from runguard_otel.testing.waiting import settle, until
from tests.kit.speech import HAS_PREFLIGHT, Guarded

pytestmark = pytest.mark.livekit

SPEECH = "Shall I book the table for two at eight?"


async def a_silent_user(c: Call) -> None:
    c.input.push_silence(5.0)
    await settle()


async def a_slow_user(c: Call) -> None:
    for words in ("well", "I would like", "a table"):
        await c.hear(interim(words[:3]), final(words, 0.8))
        c.input.push_silence(1.0)
        await settle()


async def an_stt_that_never_reports_confidence(c: Call) -> None:
    for n in range(8):
        await c.hear(final(f"sentence number {n}", 0.0))


async def an_stt_that_always_reports_one(c: Call) -> None:
    for n in range(8):
        await c.hear(final(f"sentence number {n}", 1.0))


async def one_word_answers(c: Call) -> None:
    for word in ("yes", "no", "si", "7", "ok", "好", "yes", "yes"):
        await c.hear(final(word, 0.7))


async def a_soft_spoken_user_once(c: Call) -> None:
    await c.hear(final("could I have a table", 0.4))
    await c.hear(final("a table please", 0.8))


async def empty_results_between_sentences(c: Call) -> None:
    for n in range(8):
        await c.hear(final(f"sentence number {n}", 0.8))
        c.stt.send(final("", 0.0))  # type: ignore[attr-defined]  # a ScriptedSTT
        await settle()


async def preemptive_generations_of_one_turn(c: Call) -> None:
    c.vad.start_of_speech()
    await settle(20)
    for words in ("a table", "a table for two", "a table for two at eight"):
        c.stt.send(preflight(words))  # type: ignore[attr-defined]  # a ScriptedSTT
        await settle(60)
    c.stt.send(final("a table for two at eight"))  # type: ignore[attr-defined]  # the same
    await settle(60)
    c.vad.end_of_speech()
    await settle()


async def routine_idle_reconnects_of_the_stt(c: Call) -> None:
    for n in range(6):
        recogniser: Any = c.stt
        await recogniser.streams[-1].aclose()
        c.session.clear_user_turn()  # LiveKit opens a new stream
        await settle()
        c.input.push_silence()
        await settle()
        await c.hear(final(f"sentence number {n}"))


HEALTHY: list[Callable[[Call], Awaitable[None]]] = [
    a_silent_user,
    a_slow_user,
    an_stt_that_never_reports_confidence,
    an_stt_that_always_reports_one,
    one_word_answers,
    a_soft_spoken_user_once,
    empty_results_between_sentences,
    *([preemptive_generations_of_one_turn] if HAS_PREFLIGHT else []),
    routine_idle_reconnects_of_the_stt,
]


@pytest.mark.parametrize("user", HEALTHY, ids=lambda user: user.__name__)
async def test_a_healthy_call_is_served_exactly_as_without_us(
    user: Callable[[Call], Awaitable[None]],
) -> None:
    async with call() as stock:
        await user(stock)
        expected = (list(stock.asked), list(stock.transcribed))
    with Guarded() as guarded:
        async with call() as c:
            await user(c)
            assert (c.asked, c.transcribed) == expected
            assert c.vad.thresholds == (0.5, 0.35)
    assert guarded.recorder.trips == []
    assert "suppressed" not in [
        str(e.outcome)
        for e in guarded.recorder.events
        if user is not empty_results_between_sentences
    ]
    assert not guarded.recorder.errors


async def test_a_user_who_repeats_the_agents_words_once_to_confirm_is_answered() -> None:
    with Guarded() as guarded:
        async with call(voice=True) as c:
            c.session.say(SPEECH)
            await until(lambda: c.speaking)
            guarded.now += 0.6  # the voice begins right at the end
            await until(lambda: not c.speaking)
            await c.hear(final("the table for two at eight", 0.9))
            assert c.asked == ["the table for two at eight"]
            guarded.now += 30
            await c.hear(final("yes the table for two at eight please", 0.9))
            assert len(c.asked) == 2
    assert guarded.outcomes == ["allowed"]
    assert guarded.recorder.trips == []


def answered(c: Call) -> int:
    return c.tts.said.count("Of course.") if c.tts is not None else 0


@pytest.mark.parametrize("pause", [1, 3])
async def test_a_user_who_repeats_after_the_agent_is_no_echo(pause: float) -> None:
    """A lesson, a read-back: once the agent fell silent its words cannot be in the microphone."""
    with Guarded() as guarded:
        async with call(voice=True) as c:
            c.session.say(SPEECH)
            await until(lambda: c.speaking)
            await until(lambda: not c.speaking)
            for n in range(1, 4):
                guarded.now += pause
                await c.hear(final("the table for two at eight", 0.9))
                await until(lambda n=n: answered(c) == n and not c.speaking)
            assert c.asked == ["the table for two at eight"] * 3
    assert guarded.kinds == []


async def test_barge_in_with_own_words_interrupts_the_agent() -> None:
    with Guarded() as guarded:
        async with call(voice=True, speed=2) as c:
            handle = c.session.say(SPEECH)
            await until(lambda: c.speaking)
            await c.hear(final("no wait make it nine instead", 0.9))
            await until(lambda: handle.interrupted)
            assert c.asked == ["no wait make it nine instead"]
    assert guarded.kinds == []


@pytest.mark.skipif(not hasattr(AgentSession, "run"), reason="this release has no AgentSession.run")
async def test_a_text_only_session_is_left_alone() -> None:
    model = ScriptedLLM()
    with Guarded() as guarded:
        session: AgentSession[None] = AgentSession(llm=model)
        await session.start(Agent(instructions="Be brief."))
        for n in range(6):
            await session.run(user_input=f"line {n}")
        await session.run(user_input="")
        await session.aclose()
    assert model.calls == [f"line {n}" for n in range(6)] + [""]
    assert guarded.recorder.events == []
    assert not guarded.recorder.errors


async def test_an_overridden_stt_node_and_a_fallback_adapter_count_one_result_once() -> None:
    class Custom(Agent):
        async def stt_node(self, audio: Any, model_settings: Any) -> Any:
            async for event in Agent.default.stt_node(self, audio, model_settings):
                yield event

    first, second = ScriptedSTT("one"), ScriptedSTT("two")
    adapter: Any = stt.FallbackAdapter([first, second])
    with Guarded() as guarded:
        async with call(recogniser=adapter, agent=Custom(instructions="Be brief.")) as c:
            for event in (final("uh", 0.1), final("a table for two")):
                c.vad.start_of_speech()
                await settle()
                first.send(event)
                await settle()
                c.vad.end_of_speech()
                await settle()
            assert c.asked == ["a table for two"]
    assert guarded.recorder.count("runguard.stt.results") == 2
