"""A voice agent: one AgentSession that listens, thinks and speaks."""

from __future__ import annotations

from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli

import runguard_otel

runguard_otel.instrument()


class Receptionist(Agent):
    """Takes bookings."""

    def __init__(self) -> None:
        super().__init__(instructions="You take bookings for a small restaurant. Be brief.")

    async def on_enter(self) -> None:
        """Speak first."""
        await self.session.say("Good evening, how can I help?")


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    session: AgentSession[None] = AgentSession(  # before 1.6, add a VAD: silero.VAD.load()
        stt="deepgram/nova-3",
        llm="openai/gpt-4.1-mini",
        tts="cartesia/sonic-3",
    )
    await session.start(agent=Receptionist(), room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
