"""FallbackAdapter: when one provider is down, another one serves.

What passes through an adapter is counted once, and priced at the model that served.
"""

from __future__ import annotations

from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    WorkerOptions,
    cli,
    inference,
    llm,
    stt,
    tts,
)

import runguard_otel

runguard_otel.instrument()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    session: AgentSession[None] = AgentSession(
        stt=stt.FallbackAdapter(
            [inference.STT("deepgram/nova-3"), inference.STT("assemblyai/universal-streaming")]
        ),
        llm=llm.FallbackAdapter(
            [inference.LLM("openai/gpt-4.1-mini"), inference.LLM("google/gemini-2.5-flash")]
        ),
        tts=tts.FallbackAdapter(
            [inference.TTS("cartesia/sonic-3"), inference.TTS("elevenlabs/eleven_turbo_v2_5")]
        ),
    )
    agent = Agent(instructions="You take bookings for a small restaurant. Be brief.")
    await session.start(agent=agent, room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
