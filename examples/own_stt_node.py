"""An overridden `stt_node`: names that the recogniser never gets right are corrected on the way.

Results are judged after the node. One that the node makes anew has no confidence any more, and is
taken to be of unknown confidence, not of none.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    ModelSettings,
    WorkerOptions,
    cli,
    stt,
)

import runguard_otel

runguard_otel.instrument()
NAMES = {"live kid": "LiveKit", "run guard": "Runguard"}


class Support(Agent):
    """Answers questions about products."""

    def __init__(self) -> None:
        super().__init__(instructions="Answer questions about our products, in one sentence.")

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent | str]:
        """Correct the names in what was recognised."""
        async for event in Agent.default.stt_node(self, audio, model_settings):
            if isinstance(event, stt.SpeechEvent):
                event.alternatives = [corrected(said) for said in event.alternatives]
            yield event


def corrected(said: stt.SpeechData) -> stt.SpeechData:
    """The same with the right names."""
    text = said.text
    for wrong, right in NAMES.items():
        text = text.replace(wrong, right)
    return said if text == said.text else stt.SpeechData(language=said.language, text=text)


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3"
    )
    await session.start(agent=Support(), room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
