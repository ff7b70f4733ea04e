"""A realtime model: it hears the caller itself, and answers by voice.

The provider bills an answer before the agent hears of it: the guard ends a storm, it cannot prevent
its beginning. docs/limits.md has the details.
"""

from __future__ import annotations

from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli, inference

import runguard_otel

runguard_otel.instrument()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    session: AgentSession[None] = AgentSession(
        llm=inference.RealtimeModel("openai/gpt-realtime", voice="marin"),
        turn_detection="realtime_llm",
    )
    agent = Agent(instructions="You take bookings for a small restaurant. Be brief.")
    await session.start(agent=agent, room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
