"""Several sessions in one job: every participant of a meeting has an assistant of their own.

Each session hears one participant and answers in text. What is decided about one of them (a storm
of noise, a raised threshold) is decided about that one.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    RoomInputOptions,
    RoomOutputOptions,
    WorkerOptions,
    cli,
)

import runguard_otel

runguard_otel.instrument()


async def assist(ctx: JobContext, who: rtc.RemoteParticipant) -> AgentSession[None]:
    """Start the session of one participant."""
    session: AgentSession[None] = AgentSession(stt="deepgram/nova-3", llm="openai/gpt-4.1-mini")
    await session.start(
        agent=Agent(instructions="Answer questions about the agenda, in one sentence."),
        room=ctx.room,
        room_input_options=RoomInputOptions(participant_identity=who.identity),
        room_output_options=RoomOutputOptions(audio_enabled=False),
    )
    return session


async def entrypoint(ctx: JobContext) -> None:
    """Give everybody who joins a session, and end it when they leave."""
    sessions: dict[str, asyncio.Task[AgentSession[None]]] = {}

    def joined(who: rtc.RemoteParticipant) -> None:
        sessions[who.identity] = asyncio.create_task(assist(ctx, who))

    async def end(starting: asyncio.Task[AgentSession[None]]) -> None:
        await (await starting).aclose()

    @ctx.room.on("participant_disconnected")
    def left(who: rtc.RemoteParticipant) -> None:
        if who.identity in sessions:
            ending.append(asyncio.create_task(end(sessions.pop(who.identity))))

    async def close(_: str) -> None:
        await asyncio.gather(*ending, *map(end, sessions.values()))

    ending: list[asyncio.Task[None]] = []
    ctx.room.on("participant_connected", joined)
    ctx.add_shutdown_callback(close)
    await ctx.connect()
    for who in ctx.room.remote_participants.values():
        joined(who)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
