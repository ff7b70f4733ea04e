"""The examples with several people, agents or ways in, as written: healthy, and off against on."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from runguard_otel.testing.responses import Heard
from runguard_otel.testing.stage import ROOM
from runguard_otel.testing.waiting import settle, until
from tests.kit.outcomes import Outcomes
from tests.kit.playing import CALLER, Show, example, playing
from tests.kit.scripted_inference import lacks

pytestmark = pytest.mark.livekit

NOISE = ["uh", "hm", "mm", "ah", "er", "oh"]
STT = "deepgram/nova-3"
SIP_CALLER = "sip_+15550100"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    table = Outcomes("Examples: calls", "example", "storm", "counted", "off", "on")
    yield from table.printed(request)


async def two_people(monkeypatch: pytest.MonkeyPatch, guards: bool, noise: bool) -> Show:
    """Alice's line murmurs, if it does; Bob, next to her, has two questions."""
    module = example("several_sessions")
    with playing(monkeypatch, guards=guards) as show:
        async with show.job(module):
            await settle()
            for n, who in enumerate(("alice", "bob"), start=1):
                await show.enter(who)
                await show.ready(streams=n)
            for text in NOISE if noise else ["when do we start"]:
                await show.hear(text, 0.2 if noise else 0.9, at=0)
                await show.quiet()
            if guards and show.detectors:
                raised = [detector.thresholds != (0.5, 0.35) for detector in show.detectors]
                assert raised == [noise, False], "Bob is heard as before"
            for text, sure in (("what is first on the agenda", 0.5), ("and then", 0.9)):
                await show.hear(text, sure, at=1)  # in a storm, 0.5 would not be enough
                await show.quiet()
        return show


async def test_several_sessions(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """What is decided about one participant is not decided about the other."""
    show = await two_people(monkeypatch, guards=True, noise=False)
    alice, bob = show.llms
    assert alice.calls == ["when do we start"]
    assert bob.calls == ["what is first on the agenda", "and then"]
    assert show.trips == []
    assert [len(model.streams) for model in show.stts] == [1, 1]
    assert show.counted("runguard.stt.streams") == 0
    off = await two_people(monkeypatch, guards=False, noise=True)
    on = await two_people(monkeypatch, guards=True, noise=True)
    counts = [[len(model.calls) for model in show.llms] for show in (off, on)]
    outcomes.add("several_sessions", "6 murmurs", "LLM calls", *(str(c[0]) for c in counts))
    assert counts == [[6, 2], [0, 2]]
    assert on.trips == [("vad_misfire", "suppress")]
    misfires = on.spans("runguard.vad_misfire")
    who = {s["runguard.session.hash"] for s in misfires if s["runguard.outcome"] == "suppressed"}
    assert len(who) == 1
    assert on.signatures["vad_misfire:low_confidence"] == {"suppressed": 6, "allowed": 1}


async def handed_on(monkeypatch: pytest.MonkeyPatch, guards: bool, noise: bool) -> Show:
    """Consent is asked for and given, a booking is handed on; with noise at every stage."""
    module = example("handoff")
    with playing(monkeypatch, guards=guards, cost_plan="ship") as show:
        show.tools = {"yes you may": ("answered", '{"agreed": true}'), "a table": ("booking", "{}")}

        async def murmur() -> None:
            for text in NOISE[:2] if noise else []:
                await show.hear(text, 0.2)
                await show.quiet()

        async with show.job(module):
            await show.enter()
            await show.ready()
            await until(lambda: "May we record this call?" in show.said)
            await show.quiet()
            await murmur()
            if not noise:
                await show.hear("yes you may")
                await until(lambda: "Thank you." in show.said)
                await show.quiet()
                await show.hear("a table for two please")
                await until(lambda: "Bookings, for how many?" in show.said)
                await show.quiet()
            else:  # an agent is handed the call in the middle of the storm
                for _ in range(2):
                    show.sessions[0].update_agent(module.Bookings())
                    await settle()
                    await show.quiet()
                    await murmur()
            await show.hear("two guests at eight")
            await show.quiet()
        return show


async def test_handoff_and_agent_task(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """Neither a task nor a handoff forgets the storm, or asks for a second STT stream for long."""
    show = await handed_on(monkeypatch, guards=True, noise=False)
    show.healthy()
    assert show.asked[-1] == "two guests at eight"
    assert show.counted("runguard.stt.results", kind="genuine") == 3
    spoken = sum(voice.characters for voice in show.voices)
    assert show.counted("runguard.cost.estimated", component="tts") == pytest.approx(spoken * 50e-6)
    assert show.counted("runguard.stt.streams") == 0
    off = await handed_on(monkeypatch, guards=False, noise=True)
    on = await handed_on(monkeypatch, guards=True, noise=True)
    counts = [str(len(show.asked) - 1) for show in (off, on)]
    outcomes.add("handoff", "6 murmurs, 3 agents", "LLM calls", *counts)
    assert counts == ["6", "0"]
    assert on.trips == [("vad_misfire", "suppress")], "counted on from agent to agent"
    assert on.signatures["vad_misfire:low_confidence"] == {"suppressed": 6}


async def phone_call(monkeypatch: pytest.MonkeyPatch, guards: bool, echoes: int) -> Show:
    """A caller by phone, on a line that echoes what the agent says."""
    module = example("phone_line")
    with playing(monkeypatch, guards=guards) as show:
        show.answer = "You are speaking with a machine that takes bookings."
        async with show.job(module):
            await settle()
            show.stage.call_in(ROOM, SIP_CALLER, sip_trunkPhoneNumber="+15550123")
            await show.stage.settle()
            await show.speak_up(SIP_CALLER)
            await show.ready()
            await until(lambda: bool(show.said))
            await show.quiet()
            await show.hear("what is this")
            await show.quiet()
            for _ in range(echoes):
                await show.hear("speaking with a machine that takes bookings")
                await show.quiet()
            if not echoes:
                for _ in range(4):  # the line is put on hold and taken up again
                    await show.flap(SIP_CALLER)
                show.stage.press(ROOM, SIP_CALLER, "0")
                await until(lambda: show.said[-1].startswith("One moment"))
                await show.quiet()
            assert "+15550123" in show.sessions[0].current_agent.instructions
        return show


async def test_phone_line(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """A SIP caller: the number is on no label and in no span name; the session keeps its stream."""
    show = await phone_call(monkeypatch, guards=True, echoes=0)
    assert show.streams == 1
    assert show.trips == [], "the session keeps its one stream over all tracks"
    assert show.signatures == {"track_subscribe": {"allowed": 1, "observed": 4}}
    assert show.counted("runguard.track.subscriptions", source="microphone") == 5
    for span in show.spans("runguard.track_subscribe"):
        assert span["lk.pii.participant_identity"] == SIP_CALLER
        assert not any("1555" in str(v) for k, v in span.items() if ".pii." not in k)
    assert show.guard is not None
    counted = show.guard.snapshot()["metrics"]
    labels = [row["attributes"] for rows in counted.values() for row in rows]
    assert labels
    assert "1555" not in str(labels)  # of a sum of seconds these may be digits
    off = await phone_call(monkeypatch, guards=False, echoes=5)
    on = await phone_call(monkeypatch, guards=True, echoes=5)
    counts = [str(len(show.asked) - 1) for show in (off, on)]
    outcomes.add("phone_line", "5 echoes", "LLM calls", *counts)
    assert counts == ["5", "1"]
    assert on.trips == [("vad_misfire", "mute_while_speaking")]
    assert on.signatures["vad_misfire:echo"] == {"allowed": 1, "suppressed": 4}


async def realtime_call(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, guards: bool, heard: list[str]
) -> Show:
    """A voice for each text."""
    with playing(monkeypatch, guards=guards) as show:
        async with show.job(module):
            await show.enter()
            await until(lambda: bool(show.realtime) and bool(show.realtime[0].sessions))
            model = show.realtime[0]
            for n, text in enumerate(heard):
                model.script.append(Heard(text))
                before = model.heard_seconds
                await show.stage.say(show.tracks[CALLER], 30, 1000)
                await show.stage.say(show.tracks[CALLER], 10)
                if show.sessions[0].input.audio_enabled:
                    await until(lambda: model.heard_seconds > before + 0.5)  # noqa: B023
                    await until(lambda: len(model.responses) > n or not guards)  # noqa: B023
                await until(lambda: not any(r.running for r in model.responses))
                await show.quiet()
        return show


@pytest.mark.skipif(lacks("RealtimeModel"), reason="LiveKit Inference of this release has none")
async def test_realtime(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """Billed before anybody hears of it: the storm is cut short, not prevented."""
    module = example("realtime")
    show = await realtime_call(monkeypatch, module, True, ["a table for two", "at eight"])
    show.healthy()
    assert show.counted("runguard.stt.results", kind="genuine") == 2
    noise = [""] * 10
    told = [await realtime_call(monkeypatch, module, guards, noise) for guards in (False, True)]
    counts = [str(len(show.realtime[0].responses)) for show in told]
    outcomes.add("realtime", "10 noises", "answers billed", *counts)
    assert counts == ["10", "5"]
    assert told[1].signatures["vad_misfire:empty_transcript"]["allowed"] == 4
    (trip,) = told[1].spans("runguard.trip")
    assert trip["runguard.guard"] == "vad_misfire"
