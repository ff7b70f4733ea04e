"""A sample agent with runguard in it, which can be told to misbehave.

``MISBEHAVE=reconnect`` makes it open a second connection to its room, again and again: the loop
that a naive "when in doubt, connect" makes. It needs no model and no key of any provider.
"""

from __future__ import annotations

import asyncio
import logging
import os

from livekit import api, rtc
from livekit.agents import JobContext, WorkerOptions, cli

import runguard_otel

runguard_otel.instrument()
logger = logging.getLogger("sample")


def token(room: str) -> str:
    """A token for the room, as an application that connects by itself would make one."""
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken().with_identity("sample-agent").with_grants(grants).to_jwt()


async def entrypoint(ctx: JobContext) -> None:
    """Join the room; then behave, or not."""
    await ctx.connect()
    if os.environ.get("MISBEHAVE") != "reconnect":
        logger.info("in the room, and staying")
        return
    url, name = os.environ["LIVEKIT_URL"], ctx.room.name
    while True:
        room = rtc.Room()  # the server throws the one before out: both have one identity
        try:
            await room.connect(url, token(name))
        except rtc.ConnectError as error:  # a guard's refusal is one of these
            logger.info("refused: %s", error)
        await asyncio.sleep(0.5)


def idle() -> float:
    """A busy laptop is no reason to refuse the one caller of a sample."""
    return 0.0


if __name__ == "__main__":
    health = int(os.environ.get("HEALTH_PORT", "8081"))
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint, load_fnc=idle, port=health))
