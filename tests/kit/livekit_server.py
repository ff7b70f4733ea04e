"""A real LiveKit server, where ``LIVEKIT_URL`` names one; participants that publish real audio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
from livekit import api, rtc

SAMPLE_RATE = 16_000
WHY_NOT = (
    "LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not set: start a server with "
    "`livekit-server --dev --bind 127.0.0.1` and set them to ws://127.0.0.1:7880, devkey, secret"
)

needs_server = pytest.mark.skipif(
    not all(os.environ.get(n) for n in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")),
    reason=WHY_NOT,
)


def new_room(kind: str = "room") -> str:
    """A room name that no other test uses."""
    return f"{kind}-{uuid.uuid4().hex[:10]}"


def url() -> str:
    """Where the server is."""
    return os.environ["LIVEKIT_URL"]


def token(room: str, identity: str, *, agent: bool = False, on_behalf_of: str = "") -> str:
    """A token that lets ``identity`` join ``room``, as an agent, or as the avatar of one."""
    made = (
        api.AccessToken()
        .with_identity(identity)
        .with_grants(api.VideoGrants(room_join=True, room=room, agent=agent))
    )
    if on_behalf_of:
        made = made.with_attributes({"lk.publish_on_behalf": on_behalf_of})
    return (made.with_kind("agent") if agent or on_behalf_of else made).to_jwt()


@contextlib.asynccontextmanager
async def server_api() -> AsyncIterator[api.LiveKitAPI]:
    """The server's own view: rooms, participants, dispatches."""
    client = api.LiveKitAPI(url().replace("ws", "http", 1))
    try:
        yield client
    finally:
        await client.aclose()


async def participants(client: api.LiveKitAPI, room: str) -> list[api.ParticipantInfo]:
    """Who is in ``room``, as the server says; empty when there is no such room."""
    try:
        answer = await client.room.list_participants(api.ListParticipantsRequest(room=room))
    except api.TwirpError as error:
        if error.code == "not_found":
            return []
        raise
    return list(answer.participants)


async def until(
    condition: Callable[[], bool | Awaitable[bool]], timeout: float = 20.0, what: str = "condition"
) -> None:
    """Wait until ``condition`` holds; polls, because the other side is another process."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{what} did not hold within {timeout:g} s")
        await asyncio.sleep(0.05)


class Speaker:
    """A participant that publishes a tone from a real audio source.

    Args:
        room: Room to join.
        identity: Its identity.
    """

    def __init__(self, room: str, identity: str) -> None:
        self.room = rtc.Room()
        self._name, self.identity = room, identity
        self._publication: rtc.LocalTrackPublication | None = None
        self._feed: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Speaker:
        await self.room.connect(url(), token(self._name, self.identity))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.unpublish()
        await self.room.disconnect()

    async def publish(self) -> None:
        """Publish a microphone track and start to feed it."""
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self._publication = await self.room.local_participant.publish_track(track, options)
        self._feed = asyncio.create_task(self._tone(source))

    async def unpublish(self) -> None:
        """Take the track away."""
        if self._feed is not None:
            self._feed.cancel()
            self._feed = None
        if self._publication is not None and self.room.isconnected():
            await self.room.local_participant.unpublish_track(self._publication.sid)
        self._publication = None

    async def _tone(self, source: rtc.AudioSource) -> None:
        step = SAMPLE_RATE // 50
        wave = (8000 * np.sin(np.arange(step) * 2 * np.pi * 400 / SAMPLE_RATE)).astype(np.int16)
        while True:
            frame = rtc.AudioFrame(wave.tobytes(), SAMPLE_RATE, 1, step)
            await source.capture_frame(frame)
