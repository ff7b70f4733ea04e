"""Calls of a realtime model in which noise is answered."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from livekit.agents.voice.agent_activity import AgentActivity
from livekit.agents.voice.audio_recognition import AudioRecognition

from runguard_otel.testing.realtime import ScriptedRealtimeModel
from tests.kit.realtime import RealtimeCall

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
