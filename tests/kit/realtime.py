"""A phone call with a realtime model, for tests: a real AgentSession, and sounds to make."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import Agent, AgentSession

from runguard_otel.testing.models import ScriptedAudioInput, ScriptedAudioOutput, ScriptedVAD
from runguard_otel.testing.realtime import ScriptedRealtimeModel
from runguard_otel.testing.responses import Heard, Response
from runguard_otel.testing.waiting import settle, until


class RealtimeCall:
    """A running session and the strings it hangs on.

    Args:
        model: What listens and answers.
        agent: Who it is.
        **options: For ``AgentSession``.
    """

    def __init__(
        self, model: ScriptedRealtimeModel, agent: Agent | None = None, **options: Any
    ) -> None:
        self.model = model
        self.vad = ScriptedVAD()
        self.input = ScriptedAudioInput()
        self.output = ScriptedAudioOutput(speed=model.speed)
        self.agent = agent or Agent(instructions="Be brief.")
        settings: dict[str, Any] = {"turn_detection": "realtime_llm", **options}
        if not model.capabilities.turn_detection:
            settings["vad"] = self.vad
            settings = {"min_endpointing_delay": 0.0, "max_endpointing_delay": 0.0, **settings}
        known = inspect.signature(AgentSession.__init__).parameters
        if "aec_warmup_duration" in known:
            settings["aec_warmup_duration"] = None  # else the model hears silence at first
        if "session_close_transcript_timeout" in known:
            settings["session_close_transcript_timeout"] = 0.0
        self.session: AgentSession[Any] = AgentSession(llm=model, **settings)
        self.session.input.audio = self.input
        self.session.output.audio = self.output

    async def start(self) -> None:
        await self.session.start(self.agent)
        self.input.push_silence()
        await settle()

    async def hear(self, heard: Heard | None = None) -> None:
        """A voice; what the model makes of it, unless its script says so already."""
        if heard is not None:
            self.model.script.append(heard)
        client = not self.model.capabilities.turn_detection
        if client and self.listens():
            self.vad.start_of_speech()
            await settle(20)
        self.input.push_voice()
        await settle(20)
        if client:
            self.vad.end_of_speech()
        await settle()

    async def noise(self, times: int = 1) -> None:
        """Sounds without a word, each when the agent is done with the one before."""
        for _ in range(times):
            await self.hear(Heard(""))
            await self.quiet()

    async def quiet(self) -> None:
        """Wait until nobody speaks."""
        await until(lambda: not any(r.running for r in self.responses))
        await until(lambda: self.session.current_speech is None)
        await settle(50)

    def listens(self) -> bool:
        return self.session.input.audio_enabled

    @property
    def responses(self) -> list[Response]:
        return self.model.responses

    @property
    def turns(self) -> list[str]:
        """The user's turns in the conversation."""
        items = self.agent.chat_ctx.items
        return [i.text_content or "" for i in items if i.type == "message" and i.role == "user"]

    @property
    def answers(self) -> int:
        """How often the agent was heard."""
        return self.output.log.count("start")


@asynccontextmanager
async def realtime_call(
    model: ScriptedRealtimeModel, **options: Any
) -> AsyncIterator[RealtimeCall]:
    """A call from start to end."""
    running = RealtimeCall(model, **options)
    await running.start()
    try:
        yield running
    finally:
        await running.session.aclose()
