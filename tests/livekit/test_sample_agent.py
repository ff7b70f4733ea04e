"""The sample agent of the stack hears what its caller sends."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from livekit import rtc
from livekit.agents import stt

import runguard_otel

pytestmark = pytest.mark.livekit

SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "agent"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sample_{name}", SAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_each_second_of_the_callers_voice_is_three_unsure_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runguard_otel, "instrument", lambda: None)
    agent, caller = script("agent"), script("caller")
    stream = agent.Noise().stream()
    for number in range(100):
        voice = caller.voice(number % 50)
        stream.push_frame(rtc.AudioFrame(voice, caller.RATE, 1, caller.FRAME))
    stream.end_input()
    events = [event async for event in stream]
    finals = [e for e in events if e.type is stt.SpeechEventType.FINAL_TRANSCRIPT]
    assert 5 <= len(finals) <= 6
    assert {e.alternatives[0].confidence for e in finals} == {agent.UNSURE}
    assert [e.type for e in events[:3]] == [
        stt.SpeechEventType.START_OF_SPEECH,
        stt.SpeechEventType.FINAL_TRANSCRIPT,
        stt.SpeechEventType.END_OF_SPEECH,
    ]


def test_the_agent_knows_the_loops_that_its_caller_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runguard_otel, "instrument", lambda: None)
    agent = script("agent")
    assert set(agent.LOOPS) == {"reconnect", "misfire", "tracks"}
    text = (SAMPLE / "caller.py").read_text()
    assert all(f'MISBEHAVE == "{name}"' in text for name in ("dispatch", "overrun", "tracks"))
