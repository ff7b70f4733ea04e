"""A phone line: the caller comes over SIP, and 0 on the keypad ends the menu.

A phone line echoes. An agent that hears itself answers itself; the guard recognises its own words.
"""

from __future__ import annotations

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    JobContext,
    RoomInputOptions,
    WorkerOptions,
    cli,
)

import runguard_otel

runguard_otel.instrument()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one call."""
    await ctx.connect()
    caller = await ctx.wait_for_participant(kind=rtc.ParticipantKind.PARTICIPANT_KIND_SIP)
    trunk = caller.attributes.get("sip.trunkPhoneNumber", "")
    session: AgentSession[None] = AgentSession(
        stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3"
    )

    @ctx.room.on("sip_dtmf_received")
    def pressed(key: rtc.SipDTMF) -> None:
        if key.digit == "0":
            session.interrupt()
            session.say("One moment, I am putting you through to a person.")

    await session.start(
        agent=Agent(instructions=f"You answer the phone of {trunk}. Be brief."),
        room=ctx.room,
        room_input_options=RoomInputOptions(participant_identity=caller.identity),
    )
    await session.say("Good evening, you are speaking with a machine. How can it help you?")


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
