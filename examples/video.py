"""An agent that sees: the newest frame of the camera goes with every question.

A camera that comes and goes is counted per source. There is no STT stream behind a video track, so
there is nothing to share, and nothing is: the stream of frames is yours to close.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli, llm

import runguard_otel

runguard_otel.instrument()


class Watcher(Agent):
    """Answers questions about what it sees."""

    def __init__(self) -> None:
        super().__init__(instructions="Answer questions about the picture, in one sentence.")
        self.frame: rtc.VideoFrame | None = None
        self._watching: asyncio.Task[None] | None = None

    def watch(self, track: rtc.Track) -> None:
        """Look at this track from now on."""
        if self._watching is not None:
            self._watching.cancel()
        self._watching = asyncio.create_task(self._look(track))

    async def on_exit(self) -> None:
        """Look away when the call is over."""
        if self._watching is not None:
            self._watching.cancel()

    async def _look(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track)
        try:
            async for event in stream:
                self.frame = event.frame
        finally:
            await stream.aclose()

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        """Show the LLM what is seen right now."""
        if self.frame is not None:
            new_message.content.append(llm.ImageContent(image=self.frame))
            self.frame = None


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    agent = Watcher()

    @ctx.room.on("track_subscribed")
    def subscribed(track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            agent.watch(track)

    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3", llm="openai/gpt-4.1", tts="cartesia/sonic-3"
    )
    await session.start(agent=agent, room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
