"""What ``facts/turn.py`` says of sessions and turns, asked of running sessions."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.voice.agent_activity import AgentActivity
from livekit.agents.voice.audio_recognition import AudioRecognition

from runguard_otel.adapters.livekit.facts import job
from runguard_otel.adapters.livekit.facts import turn as facts
from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.models import ScriptedVAD, final, interim, preflight
from runguard_otel.testing.realtime import ScriptedRealtimeModel
from runguard_otel.testing.waiting import settle, until
from tests.kit.facts import since
from tests.kit.realtime import RealtimeCall

pytestmark = pytest.mark.livekit


def parts(running: Call | RealtimeCall) -> tuple[Any, Any]:
    """Activity and recognition of a running session."""
    activity = facts.activity_of(running.session)
    return activity, facts.recognition_of(activity)


class Realtime:
    """A call with a realtime model, from start to end."""

    def __init__(self, model: ScriptedRealtimeModel, **options: Any) -> None:
        self.call = RealtimeCall(model, **options)

    async def __aenter__(self) -> RealtimeCall:
        await self.call.start()
        return self.call

    async def __aexit__(self, *_: object) -> None:
        await self.call.session.aclose()


async def test_session_activity_recognition_and_detector_lead_to_each_other() -> None:
    """Fails for another name of any of the four links."""
    running = Call()
    assert facts.activity_of(running.session) is None, "it has not begun"
    assert facts.detector_of(running.session) is running.vad
    await running.start()
    activity, recognition = parts(running)
    assert isinstance(activity, AgentActivity) and isinstance(recognition, AudioRecognition)
    assert facts.listener_of(recognition) is activity
    assert facts.session_of(activity) is running.session
    assert facts.session_of(object()) is None
    await running.session.aclose()
    assert (facts.activity_of(running.session) is None) == since(1, 1), "it is over"


async def test_the_agents_own_detector_comes_first() -> None:
    own = ScriptedVAD()
    async with call(agent=Agent(instructions="Be brief.", vad=own)) as c:
        assert facts.detector_of(c.session) is own


def test_what_asks_after_a_silence_is_there_since_1_3() -> None:
    detection = facts.silence_detection()
    assert (detection is not None) == since(1, 3)
    assert detection is None or callable(vars(detection)["_on_silence_detected"])


class Looks(Agent):
    """Asks where it is: when a turn is over, and while it opens its recogniser's stream."""

    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.seen: dict[str, Any] = {}

    async def on_user_turn_completed(self, turn_ctx: Any, new_message: Any) -> None:
        context = facts.activity_context()
        activity = facts.activity_of(self.session)
        self.seen["context"] = context is not None and context.get(None) is activity
        self.seen["activity"] = job.in_activity()
        self.seen["turn"] = facts.answers_turn(activity)

    async def stt_node(self, audio: Any, model_settings: Any) -> Any:
        self.seen["session"] = job.in_session()
        async for event in Agent.default.stt_node(self, audio, model_settings):
            yield event


async def test_code_of_an_agent_knows_where_it_runs() -> None:
    agent = Looks()
    async with call(agent=agent) as c:
        await c.hear(final("a table for two"))
        await until(lambda: len(agent.seen) == 4)
        activity, _ = parts(c)
        assert agent.seen == {"context": True, "activity": True, "turn": True, "session": True}
        assert not facts.answers_turn(activity), "this test answers nothing"
        assert (job.in_activity(), job.in_session()) == (False, False)
        context = job.session_context(c.session)
        assert (context is not None) == since(1, 2)


@pytest.mark.parametrize(
    ("mode", "by_hand", "recogniser"),
    [("manual", True, False), ("vad", False, False), ("stt", False, True)],
)
async def test_who_says_when_a_turn_is_over(mode: str, by_hand: bool, recogniser: bool) -> None:
    async with call(turn_detection=mode) as c:
        _, recognition = parts(c)
        assert facts.by_hand(recognition) == by_hand
        assert facts.has_detector(recognition)
        assert facts.recogniser_finds_turns(recognition) == recogniser
        recognition._vad = None
        assert not facts.has_detector(recognition)
        assert facts.recogniser_finds_turns(recognition), "there is nothing else to find them"


def test_a_guess_that_may_be_answered_early_is_there_since_1_2() -> None:
    assert (facts.preflight_type() is not None) == since(1, 2)


async def test_who_may_answer() -> None:
    running = Call()
    assert facts.may_answer(running.session)
    async with call() as c:
        assert facts.may_answer(c.session)
        c.session.input.set_audio_enabled(False)
        assert not facts.may_answer(c.session), "push-to-talk, or hold"
        c.session.input.set_audio_enabled(True)
        c.session.input.audio = None
        assert not facts.may_answer(c.session), "text only"
    silent: AgentSession[Any] = AgentSession(stt=running.stt, vad=running.vad)
    silent.input.audio = running.input
    assert not facts.may_answer(silent), "a transcriber"


async def test_how_long_a_user_may_be_silent_within_a_turn() -> None:
    delays = {"min_endpointing_delay": 0.25, "max_endpointing_delay": 0.75}
    async with call(turn_detection="vad", **delays) as c:
        _, recognition = parts(c)
        assert facts.pause_within(recognition) == 0.25
        recognition._turn_detector = object()
        assert facts.pause_within(recognition) == 0.75, "a model may wait for the end of a sentence"


async def test_guesses_are_forgotten_and_with_them_the_early_answer() -> None:
    """Fails if either text, or the answer that it started, is left behind."""
    async with call(turn_detection="vad") as c:
        activity, recognition = parts(c)
        c.vad.start_of_speech()
        await settle(20)
        assert c.stt is not None
        c.stt.send(interim("a tab"))  # type: ignore[attr-defined]
        await settle(60)
        assert recognition._audio_interim_transcript == "a tab"
        if since(1, 2):
            c.stt.send(preflight("a table"))  # type: ignore[attr-defined]
            await settle(60)
            assert recognition._audio_preflight_transcript
            assert activity._preemptive_generation is not None
        facts.forget_guesses(recognition)
        assert not recognition._audio_interim_transcript
        assert not getattr(recognition, "_audio_preflight_transcript", "")
        assert getattr(activity, "_preemptive_generation", None) is None
        facts.cancel_early_answer(activity)  # there is none any more


async def test_a_commit_by_hand_is_told_of_a_result_that_was_kept_back() -> None:
    async with call(turn_detection="manual") as c:
        _, recognition = parts(c)
        received = getattr(recognition, "_final_transcript_received", None)
        if received is not None:
            received.clear()
        facts.result_arrived(recognition)
        assert received is None or received.is_set()
        assert (received is not None) == since(1, 1)


async def test_what_is_not_committed_yet_can_be_read_and_dropped() -> None:
    async with call(turn_detection="manual") as c:
        _, recognition = parts(c)
        await c.hear(final("a table"), final("for two"))
        assert facts.pending_words(recognition) == ["a", "table", "for", "two"]
        facts.drop_pending(recognition)
        assert facts.pending_words(recognition) == []
        await c.hear(final("three please"))
        await c.commit()
        assert c.asked == ["three please"], "what was dropped is not asked"


async def test_a_turn_has_words_or_none_and_need_not_be_answered() -> None:
    async with call() as c:
        activity, _ = parts(c)
        turns, host = [], activity.on_end_of_turn

        def seen(info: Any, *more: Any) -> Any:
            turns.append(info)
            return host(info, *more)

        activity.on_end_of_turn = seen
        await c.hear(final("a table for two"))
        (info,) = turns
        assert not facts.is_wordless(info, activity)
        blank = facts.changed(info, new_transcript="  ")
        assert facts.is_wordless(blank, activity)
        assert info.new_transcript == "a table for two", "the original is left alone"
        assert type(blank) is type(info)
        assert facts.without_reply(blank) == since(1, 4)
        assert getattr(blank, "skip_reply", False) == since(1, 4)


@pytest.mark.parametrize("server_turns", [True, False])
@pytest.mark.parametrize("transcribes", [True, False])
async def test_what_a_realtime_model_does_itself(server_turns: bool, transcribes: bool) -> None:
    model = ScriptedRealtimeModel(server_turns=server_turns, transcribes=transcribes)
    async with Realtime(model) as c:
        activity, _ = parts(c)
        assert facts.realtime_session(activity) is model.sessions[0]
        assert facts.transcribes(activity) == transcribes
        assert facts.server_takes_turns(activity) == server_turns
        assert not facts.turns_by_hand(activity)
        info: Any = type("Turn", (), {"new_transcript": ""})()
        assert not facts.is_wordless(info, activity), "turns of a realtime model have no words"
    async with call() as pipeline:
        activity, _ = parts(pipeline)
        assert facts.realtime_session(activity) is None
        assert not facts.transcribes(activity)


async def test_a_button_ends_the_turns_of_a_realtime_model() -> None:
    async with Realtime(ScriptedRealtimeModel(server_turns=False), turn_detection="manual") as c:
        assert facts.turns_by_hand(parts(c)[0])


async def test_what_a_tool_returned_may_be_answered_unasked() -> None:
    async with Realtime(ScriptedRealtimeModel()) as c:
        activity, _ = parts(c)
        assert not facts.answers_tool(activity)
        returned: Any = llm.FunctionCallOutput
        item = returned(name="tables", call_id="1", output="two", is_error=False)
        activity._agent._chat_ctx.items.append(item)
        assert facts.answers_tool(activity)


async def test_a_realtime_session_gets_the_handlers_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails if one of the three events has another name, or keeps its handler of before."""
    async with Realtime(ScriptedRealtimeModel()) as c:
        activity, _ = parts(c)
        events = {
            "generation_created": "_on_generation_created",
            "input_audio_transcription_completed": "_on_input_audio_transcription_completed",
            "input_speech_started": "_on_input_speech_started",
        }
        realtime = facts.realtime_session(activity)
        for name in events.values():
            before = getattr(AgentActivity, name)
            monkeypatch.setattr(AgentActivity, name, functools.wraps(before)(lambda *_: None))
        facts.rebind_realtime(activity)
        for event, name in events.items():
            assert list(realtime._events[event]) == [getattr(activity, name)]
        monkeypatch.undo()
        facts.rebind_realtime(activity)


async def test_a_session_can_be_told_to_end_after_what_it_says() -> None:
    running = Call()
    await running.start()
    ended: list[object] = []
    running.session.on("close", ended.append)
    closing = facts.close_after_speech(running.session)
    assert (closing is None) == since(1, 2)
    if closing is not None:
        await closing
    await until(lambda: ended)


async def test_a_session_that_is_over_listens_when_it_starts_again() -> None:
    async with call() as c:
        c.session.input.set_audio_enabled(False)
        c.session.input.audio = None
        facts.hear_when_it_starts_again(c.session.input)
        assert c.session.input.audio_enabled
