"""A realtime model that answers noise: what is stopped, what cannot be, who is never cut off."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.llm import InputTranscriptionCompleted
from livekit.agents.voice.agent_activity import AgentActivity
from livekit.agents.voice.audio_recognition import AudioRecognition
from livekit.agents.voice.speech_handle import SpeechHandle

from runguard_otel.adapters.agents_v1.cooldown import Cooldown
from runguard_otel.adapters.agents_v1.exchange import Exchange
from runguard_otel.adapters.agents_v1.realtime import RealtimeGate
from runguard_otel.adapters.agents_v1.speech_actions import SpeechActions
from runguard_otel.adapters.agents_v1.vad import VADThresholds
from runguard_otel.core.guards.misfire import MisfireGuard
from runguard_otel.core.verdict import Outcome
from runguard_otel.demo.stage.models import ScriptedSTT, final
from runguard_otel.demo.stage.realtime import ScriptedRealtimeModel
from runguard_otel.demo.stage.responses import Heard
from runguard_otel.settings import Settings
from tests.kit.realtime import RealtimeCall, realtime_call
from tests.kit.recorder import MemoryRecorder
from tests.kit.speech import Guarded, settle, until

pytestmark = pytest.mark.livekit

ORDERS = pytest.mark.parametrize("first", [False, True], ids=["answer-first", "transcript-first"])
SOON = 0.05
"""A cool-down no test has to wait for."""
NEVER = 3600.0
_COMMIT = getattr(AudioRecognition, "commit_user_turn", None) or AudioRecognition._commit_user_turn
BUTTON_WORKS = (  # in 1.2 a commit wants a recogniser, and the model is not told
    "if not self._stt or" not in inspect.getsource(_COMMIT)
    or "_rt_session" in inspect.getsource(AgentActivity.commit_user_turn)
)


def model(**options: Any) -> ScriptedRealtimeModel:
    return ScriptedRealtimeModel(**{"speed": 200.0, **options})


async def storm(c: RealtimeCall, noises: int = 5) -> None:
    await c.noise(noises)


@ORDERS
async def test_without_us_every_noise_is_answered_and_becomes_a_blank_turn(first: bool) -> None:
    with Guarded(on=False):
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c, 12)
            assert len(c.responses) == c.answers == 12
            assert c.turns == [""] * 12


@ORDERS
async def test_the_fifth_noise_in_a_row_closes_the_input_and_stops_its_answer(first: bool) -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c, 12)
            assert not c.listens()
            assert len(c.responses) == 5, "what the provider never heard is not billed"
            assert [r.cancelled for r in c.responses] == [False] * 4 + [True]
            assert c.answers == 4
            assert c.turns == [""] * 4
            assert c.model.spoken_seconds < 4.5 * c.model.answer_seconds
        assert c.listens(), "the session may start again, and is not deaf then"
    assert guarded.kinds == ["empty_transcript"] * 5
    assert guarded.outcomes == ["allowed"] * 4 + ["suppressed"]
    (trip,) = guarded.recorder.trips
    assert (trip.count, trip.signature) == (5, "vad_misfire:empty_transcript")
    assert guarded.recorder.count("runguard.stt.results", kind="empty", provider="scripted") == 5
    assert guarded.recorder.open_guards["vad_misfire"] == 0


async def test_an_answer_that_comes_after_the_trip_is_read_to_its_end_and_not_spoken() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model(transcript_first=True)) as c:
            await storm(c)
            late = c.responses[-1]
            assert late.cancelled
            await until(lambda: late.unread == 0)
            spoken = c.answers
            c.model.sessions[0]._respond(asked=False)  # was on its way when the input closed
            await c.quiet()
            assert c.responses[-1].cancelled
            await until(lambda: c.responses[-1].unread == 0)
            assert c.answers == spoken


@ORDERS
async def test_the_input_opens_again_and_a_genuine_sentence_is_answered(first: bool) -> None:
    with Guarded(vad_misfire_cooldown_seconds=SOON) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c)
            assert not c.listens()
            await until(c.listens)
            assert guarded.recorder.open_guards["vad_misfire"] == 1, "open on trial only"
            await c.hear(Heard("a table for two please"))
            await c.quiet()
            assert not c.responses[-1].cancelled
            assert c.answers == 5
            assert c.turns[-1] == "a table for two please"
            assert guarded.recorder.open_guards["vad_misfire"] == 0
            await c.noise(4)
            assert c.listens(), "the next row counts from one"
    assert len(guarded.recorder.trips) == 1


@ORDERS
async def test_one_more_noise_on_trial_closes_the_input_for_twice_as_long(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    lengths: list[float] = []
    close = Cooldown.close

    def noted(cooldown: Cooldown) -> bool:
        seconds = cooldown.seconds
        closed = close(cooldown)
        if closed:
            lengths.append(seconds)
        return closed

    monkeypatch.setattr(Cooldown, "close", noted)
    with Guarded(vad_misfire_cooldown_seconds=SOON) as guarded:
        async with realtime_call(model(transcript_first=first)) as c:
            await storm(c)
            await until(c.listens)
            await c.hear(Heard(""))
            assert not c.listens()
            assert c.responses[-1].cancelled
            await until(c.listens)
            await c.hear(Heard("hello are you there"))
            await c.quiet()
            await storm(c)
    assert lengths == [SOON, 2 * SOON, SOON], "and from the start after a genuine sentence"
    assert len(guarded.recorder.trips) == 2


@pytest.mark.parametrize("first", ["mute", "cool"])
@pytest.mark.parametrize("last", ["mute", "cool"])
async def test_an_input_closed_for_two_reasons_opens_when_both_are_gone(
    first: str, last: str
) -> None:
    undo = {"mute": "unmute", "cool": "warm"}
    other = {"mute": "cool", "cool": "mute"}
    async with realtime_call(model()) as c:
        actions = SpeechActions(weakref.ref(c.session), Settings.load(), VADThresholds())
        for reason in (first, other[first]):
            getattr(actions, reason)()
            assert not c.listens()
        getattr(actions, undo[other[last]])()
        assert not c.listens()
        getattr(actions, undo[last])()
        assert c.listens()
        c.session.input.set_audio_enabled(False)
        actions.mute()
        assert not actions.cool(), "closed by the application: not ours to open"
        actions.warm()
        actions.unmute()
        assert not c.listens()


async def test_the_doubling_has_a_bound() -> None:
    class Ears:
        def cool(self) -> bool:
            return True

        def warm(self) -> None:
            opened.append(True)

    opened: list[bool] = []
    cooldown = Cooldown(10, Ears(), asyncio.get_running_loop(), lambda f: f())  # type: ignore[arg-type]  # only its ears
    lengths = []
    for _ in range(6):
        lengths.append(cooldown.seconds)
        assert cooldown.close()
        assert not cooldown.close(), "it is closed already"
        cooldown._timer.cancel()  # type: ignore[union-attr]  # closed: there is one
        cooldown._open()
    assert lengths == [10, 20, 40, 80, 80, 80]
    assert len(opened) == 6
    cooldown.reset()
    assert cooldown.seconds == 10


async def test_a_genuine_transcript_that_was_under_way_opens_the_input_at_once() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model()) as c:
            await storm(c)
            c.model.sessions[0]._report(Heard("sorry I was on mute"))
            assert c.listens()


async def test_the_trip_says_that_the_input_was_closed() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model()) as c:
            await storm(c)
            assert not c.listens()
    assert [t.action for t in guarded.recorder.trips] == ["close_input"]


async def test_a_quiet_window_opens_the_input_however_long_the_cool_down() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER, vad_misfire_window_seconds=0.2) as guarded:
        async with realtime_call(model()) as c:
            await storm(c)
            assert not c.listens()
            guarded.now += 1
            await until(c.listens)


async def test_what_the_application_asks_for_is_spoken_while_the_input_is_closed() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER):
        async with realtime_call(model()) as c:
            await storm(c)
            await c.quiet()
            spoken = c.answers
            c.session.generate_reply()
            await until(lambda: c.answers == spoken + 1)
            c.model.sessions[0]._report(Heard(""))  # a late one of the storm
            await c.quiet()
            assert not c.responses[-1].cancelled
            assert c.responses[-1].asked


@pytest.mark.skipif(
    "confidence" not in InputTranscriptionCompleted.__dataclass_fields__,
    reason="this release of livekit-agents reports no confidence of realtime transcripts",
)
async def test_unsure_transcripts_count_once_the_model_is_known_to_report_confidence() -> None:
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model()) as c:
            for _ in range(6):
                await c.hear(Heard("uh", 0.2))
                await c.quiet()
            assert not c.listens()
    assert guarded.kinds == ["low_confidence"] * 5


async def test_the_agents_own_voice_in_its_transcripts_is_an_echo() -> None:
    said = "we are open every day from nine to five"
    with Guarded(vad_misfire_cooldown_seconds=NEVER) as guarded:
        async with realtime_call(model(answer=said)) as c:
            await c.hear(Heard("when are you open"))
            await c.quiet()
            for _ in range(5):
                await c.hear(Heard("we are open every day from nine"))
                await c.quiet()
            assert not c.listens()
    assert guarded.kinds == ["echo"] * 5


async def test_a_late_transcript_of_an_echo_is_judged_by_when_the_voice_began() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(answer="we are open every day from nine to five")) as c:
            await c.hear(Heard("when are you open"))
            await c.quiet()
            guarded.now += 1.5
            await c.hear(Heard(None))
            await c.quiet()
            guarded.now += 3
            c.model.sessions[0]._report(Heard("we are open every day from nine"))
            await c.quiet()
            guarded.now += 9
            await c.hear(Heard("we are open every day from nine"))
    assert guarded.kinds == ["echo"], "nine seconds later it is a guest who repeats it"


async def test_answers_nobody_is_known_to_have_asked_for_are_counted_and_left_alone() -> None:
    with Guarded() as guarded:
        async with realtime_call(model()) as c:
            for _ in range(7):
                await c.hear(Heard(None))
                await c.quiet()
            assert c.listens()
            assert c.answers == 7
    assert guarded.recorder.signatures() == [("vad_misfire:no_transcript", "observed")] * 6
    assert not guarded.recorder.trips


async def test_an_answer_after_its_transcript_is_explained() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(transcript_first=True)) as c:
            for text, unasked in (("hello", 0), (None, 0), (None, 1), (None, 2)):
                await c.hear(Heard(text))
                await c.quiet()
                assert len(guarded.recorder.events) == unasked


async def test_guesses_of_the_model_are_not_judged() -> None:
    kind = InputTranscriptionCompleted
    with Guarded() as guarded:
        async with realtime_call(model()) as c:
            for _ in range(6):
                guess = kind(item_id="1", transcript="", is_final=False)
                c.model.sessions[0].emit("input_audio_transcription_completed", guess)
    assert not guarded.recorder.events


async def test_without_transcripts_an_answer_without_speech_is_counted() -> None:
    with Guarded() as guarded:
        async with realtime_call(model(transcribes=False)) as c:
            c.model.sessions[0]._respond(asked=False)  # nobody told of any speech so far
            await c.quiet()
            await c.hear()
            await c.quiet()
            await c.hear()
            await c.quiet()
            assert not guarded.recorder.events
            c.model.sessions[0]._respond(asked=False)
            await c.quiet()
            assert c.answers == 4
    assert guarded.recorder.signatures() == [("vad_misfire:no_transcript", "observed")]


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
        (Exchange, "answer", "AgentActivity._on_generation_created"),
        (Exchange, "speech_started", "AgentActivity._on_input_speech_started"),
        (RealtimeGate, "_exchange", "AgentActivity._schedule_speech"),
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
