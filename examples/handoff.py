"""An AgentTask and a handoff: ask for consent, then hand the caller on to another agent.

Agents and tasks come and go, the caller and the noise on the line stay: the guards belong to the
session.
"""

from __future__ import annotations

from livekit.agents import (
    Agent,
    AgentSession,
    AgentTask,
    JobContext,
    WorkerOptions,
    cli,
    function_tool,
)

import runguard_otel

runguard_otel.instrument()


class Consent(AgentTask[bool]):
    """Asks whether the call may be recorded; its result is the answer."""

    def __init__(self) -> None:
        super().__init__(instructions="Ask whether the call may be recorded. Get a yes or a no.")

    async def on_enter(self) -> None:
        """Ask."""
        await self.session.say("May we record this call?")

    @function_tool
    async def answered(self, agreed: bool) -> None:
        """The caller has answered.

        Args:
            agreed: Whether the call may be recorded.
        """
        self.complete(agreed)


class Bookings(Agent):
    """Takes the booking."""

    def __init__(self) -> None:
        super().__init__(instructions="Take the booking: how many guests, and when. Be brief.")

    async def on_enter(self) -> None:
        """Take over."""
        await self.session.say("Bookings, for how many?")


class Reception(Agent):
    """Asks for consent and hands on."""

    def __init__(self) -> None:
        super().__init__(instructions="Find out what the caller wants. Hand bookings on.")

    async def on_enter(self) -> None:
        """First things first."""
        recorded = await Consent()
        await self.session.say("Thank you." if recorded else "Nothing will be recorded.")

    @function_tool
    async def booking(self) -> Agent:
        """The caller wants a table."""
        return Bookings()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3"
    )
    await session.start(agent=Reception(), room=ctx.room)
    await ctx.connect()


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
