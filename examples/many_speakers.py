"""MultiSpeakerAdapter: one microphone, several people, and only one of them is the caller.

The adapter keeps background speakers back, with a blank result for each of their sentences. Those
are no misfires, however many.
"""

from __future__ import annotations

from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli, inference, stt

import runguard_otel

runguard_otel.instrument()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    recogniser = inference.STT("deepgram/nova-3", extra_kwargs={"diarize": True})
    session: AgentSession[None] = AgentSession(
        stt=stt.MultiSpeakerAdapter(stt=recogniser, suppress_background_speaker=True),
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    agent = Agent(instructions="You are the kiosk of a museum. Answer in one sentence.")
    await session.start(agent=agent, room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
