"""A caller for the sample agent: makes a room, joins it, and has a voice.

One call follows the other for as long as it runs. A room with a caller in it is what makes LiveKit
start a job, so without this the sample agent has nothing to do, and nothing to loop in. A call that
no agent answers is given up: the worker may have registered only after the room was made.

``MISBEHAVE=`` names what goes wrong on this side:

- ``dispatch``: three more jobs are asked for in each call, by a backend that does not remember;
- ``tracks``: the microphone goes and comes back every two seconds, on a bad network;
- ``overrun``: the room outlives the call by a minute and a half, and so does the agent in it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import uuid

from livekit import api, rtc

RATE = 48_000
FRAME = RATE // 50
UNANSWERED_SECONDS = 20
FLAP_SECONDS = 2
OUTLIVES_SECONDS = 90
MISBEHAVE = os.environ.get("MISBEHAVE", "")
logging.basicConfig(level=logging.INFO, format="%(message)s")
logger = logging.getLogger("caller")


def voice(number: int) -> bytes:
    """20 ms of something that a VAD may take for speech: a hum that swells like syllables."""
    samples = bytearray()
    for index in range(number * FRAME, (number + 1) * FRAME):
        at = index / RATE
        loud = 6000 * max(0.0, math.sin(2 * math.pi * 3 * at))
        tone = sum(math.sin(2 * math.pi * 140 * k * at) / k for k in range(1, 6))
        samples += int(loud * tone / 2.3).to_bytes(2, "little", signed=True)
    return bytes(samples)


async def call(url: str, seconds: float) -> None:
    """One call."""
    name = f"call-{uuid.uuid4().hex[:8]}"
    grants = api.VideoGrants(room_join=True, room=name)
    token = api.AccessToken().with_identity("caller").with_grants(grants).to_jwt()
    room, source = rtc.Room(), rtc.AudioSource(RATE, 1)
    if MISBEHAVE == "overrun":
        async with api.LiveKitAPI() as server:
            await server.room.create_room(
                api.CreateRoomRequest(name=name, departure_timeout=OUTLIVES_SECONDS)
            )
    await room.connect(url, token)
    logger.info("calling in %s for %.0f s", name, seconds)
    try:
        track = await publish(room, source)
        if MISBEHAVE == "dispatch":
            await dispatch_again(name)
        answered = False
        for number in range(int(seconds * 50)):
            answered = answered or bool(room.remote_participants)
            if not answered and number >= UNANSWERED_SECONDS * 50:
                logger.info("nobody answers in %s", name)
                break
            await source.capture_frame(rtc.AudioFrame(voice(number % 50), RATE, 1, FRAME))
            if MISBEHAVE == "tracks" and answered and number % (FLAP_SECONDS * 50) == 0:
                await room.local_participant.unpublish_track(track)
                track = await publish(room, source)
    finally:
        await room.disconnect()
        await source.aclose()


async def publish(room: rtc.Room, source: rtc.AudioSource) -> str:
    """The microphone; the sid of its track."""
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    return (await room.local_participant.publish_track(track, options)).sid


async def dispatch_again(room: str) -> None:
    """Ask for jobs in a room that has one: the loop of a backend that does not remember."""
    async with api.LiveKitAPI() as server:
        for _ in range(3):
            await server.agent_dispatch.create_dispatch(
                api.CreateAgentDispatchRequest(agent_name="", room=room)
            )


async def main() -> None:
    """Call, hang up, call again; a server that is not there yet is waited for."""
    url = os.environ["LIVEKIT_URL"]
    seconds = float(os.environ.get("CALL_SECONDS", "120"))
    while True:
        try:
            await call(url, seconds)
        except (rtc.ConnectError, OSError) as error:
            logger.info("no call: %s", error)
        await asyncio.sleep(5)


if __name__ == "__main__":
    asyncio.run(main())
