"""Turns that the client takes, and what must not fire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import Agent, function_tool

from runguard_otel.testing.models import ScriptedSTT, final
from runguard_otel.testing.responses import Heard
from runguard_otel.testing.waiting import settle, until
from tests.kit.realtime import realtime_call
from tests.kit.realtime_storm import BUTTON_WORKS, NEVER, ORDERS, SOON, model, storm
from tests.kit.speech import Guarded

pytestmark = pytest.mark.livekit


class TestClientTakesTurns:
    """The session's own voice detector ends the user's turn: nothing committed, nothing billed."""

    async def test_without_us_every_noise_is_committed_and_answered(self) -> None:
        with Guarded(on=False):
            async with realtime_call(model(server_turns=False), turn_detection="vad") as c:
                await storm(c, 8)
                assert c.model.sessions[0].commits == len(c.responses) == 8

    @ORDERS
    async def test_nothing_is_committed_while_the_input_is_closed(self, first: bool) -> None:
        client = model(server_turns=False, transcript_first=first)
        with Guarded(vad_misfire_cooldown_seconds=NEVER):
            async with realtime_call(client, turn_detection="vad") as c:
                await storm(c, 5)
                assert not c.listens()
                server = c.model.sessions[0]
                assert (server.commits, server.clears) == (5, 1)
                billed = [r.cancelled for r in c.responses]
                assert billed[:4] == [False] * 4
                # Nobody asks for the fifth answer if its transcript came first, from 1.6 on.
                assert billed[4:] in (([], [False]) if first else ([True],))
                await storm(c, 3)
                assert (server.commits, server.clears) == (5, 4), "vetoed, and forgotten"
                assert c.answers == 4

    async def test_a_turn_on_trial_is_committed_and_its_words_end_the_storm(self) -> None:
        with Guarded(vad_misfire_cooldown_seconds=SOON) as guarded:
            async with realtime_call(model(server_turns=False), turn_detection="vad") as c:
                await storm(c)
                await until(c.listens)
                await c.hear(Heard("a table for two please"))
                await c.quiet()
                assert c.answers == 5
                assert guarded.recorder.open_guards["vad_misfire"] == 0

    async def test_an_answer_that_allows_no_interruption_is_not_interrupted(self) -> None:
        client = model(server_turns=False)
        with Guarded(vad_misfire_cooldown_seconds=NEVER):
            async with realtime_call(client, turn_detection="vad", allow_interruptions=False) as c:
                await storm(c)
                assert not c.listens()
                assert c.answers == 5
                assert not any(r.cancelled for r in c.responses)

    @pytest.mark.skipif(
        not BUTTON_WORKS, reason="this release commits nothing to a model without a recogniser"
    )
    async def test_a_button_is_no_loop_the_input_stays_as_the_application_wants_it(self) -> None:
        with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
            async with realtime_call(model(server_turns=False), turn_detection="manual") as c:
                for _ in range(6):
                    c.model.script.append(Heard(""))
                    c.input.push_voice()
                    await settle()
                    c.session.commit_user_turn()
                    await until(lambda: not c.model.script, 10)
                    await c.quiet()
                assert c.listens()
                assert c.model.sessions[0].commits == 6
        assert [t.action for t in guarded.recorder.trips] == ["suppress"]


class TestMustNotFire:
    @ORDERS
    async def test_a_healthy_call(self, first: bool) -> None:
        with Guarded() as guarded:
            async with realtime_call(model(transcript_first=first)) as c:
                for text in ("hello", "a table please", "two", "yes", "at eight", "no", "bye") * 2:
                    await c.hear(Heard(text))
                    await c.quiet()
                assert c.answers == 14
                assert c.listens()
        assert not guarded.recorder.events

    async def test_a_silent_user_and_some_coughs_between_sentences(self) -> None:
        with Guarded() as guarded:
            async with realtime_call(model()) as c:
                for _ in range(3):
                    c.input.push_silence(2.0)
                    await settle()
                    await c.noise(4)
                    await c.hear(Heard("let me think"))
                    await c.quiet()
                assert c.answers == 15
                assert c.turns.count("") == 12
        assert not guarded.recorder.trips
        assert set(guarded.outcomes) == {"allowed"}

    async def test_a_greeting_a_tool_and_its_reply(self) -> None:
        class Host(Agent):
            async def on_enter(self) -> None:
                self.session.generate_reply(instructions="Greet.")

            @function_tool
            async def book(self) -> str:
                """Book a table."""
                booked.append(True)
                return "booked"

        booked: list[bool] = []
        with Guarded() as guarded:
            async with realtime_call(model(), agent=Host(instructions="Be brief.")) as c:
                await c.quiet()
                await c.hear(Heard("book it", call="book"))
                await until(lambda: len(c.responses) == 3)
                await c.quiet()
                assert booked == [True]
                assert [r.asked for r in c.responses] == [True, False, True]
                assert c.answers == 2
        assert not guarded.recorder.events

    async def test_a_reply_the_model_makes_by_itself_to_a_tools_result(self) -> None:
        with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
            async with realtime_call(model()) as c:
                await storm(c)
                await c.quiet()
                spoken = c.answers
                activity: Any = c.session._activity
                activity._pending_auto_tool_reply_fut = asyncio.Future()
                c.model.sessions[0]._respond(asked=False)
                await c.quiet()
                assert c.answers == spoken + 1
        assert "no_transcript" not in str(guarded.recorder.signatures())

    async def test_a_model_that_reports_no_confidence(self) -> None:
        with Guarded() as guarded:
            async with realtime_call(model()) as c:
                for _ in range(8):
                    await c.hear(Heard("uh", 0.0))
                    await c.quiet()
                assert c.answers == 8
        assert not guarded.recorder.events

    async def test_a_recogniser_beside_the_model_is_not_counted_as_well(self) -> None:
        recogniser = ScriptedSTT()
        with Guarded() as guarded:
            async with realtime_call(model(), stt=recogniser) as c:
                for _ in range(4):
                    await c.hear(Heard(""))
                    recogniser.send(final("", 0.0))
                    await c.quiet()
                assert c.listens()
        assert guarded.kinds == ["empty_transcript"] * 4

    async def test_a_recogniser_beside_the_model_that_hears_nothing_is_no_news(self) -> None:
        client = model(server_turns=False)
        with Guarded() as guarded:
            async with realtime_call(client, stt=ScriptedSTT(), turn_detection="vad") as c:
                for _ in range(3):
                    await c.hear()
        assert not guarded.recorder.events
