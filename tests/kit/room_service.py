"""A LiveKit server's RoomService and dispatch service, as data: what it is asked it answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from aiohttp import web
from livekit.protocol.agent_dispatch import AgentDispatch, ListAgentDispatchResponse
from livekit.protocol.models import ParticipantInfo, Room
from livekit.protocol.room import (
    DeleteRoomRequest,
    DeleteRoomResponse,
    ListParticipantsRequest,
    ListParticipantsResponse,
    ListRoomsRequest,
    ListRoomsResponse,
    RemoveParticipantResponse,
    RoomParticipantIdentity,
)

__all__ = ["RoomService"]


@dataclass
class RoomService:
    """Use it as an async context manager.

    Args:
        rooms: Who is in which room.
        did: What was asked to be changed, in order.
    """

    rooms: dict[str, list[ParticipantInfo]] = field(default_factory=dict)
    did: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def comes(self, room: str, identity: str, *, agent: str | None = None) -> ParticipantInfo:
        """Somebody joins."""
        people = self.rooms.setdefault(room, [])
        now = time.time()
        person = ParticipantInfo(
            sid=f"PA_{room}_{identity}_{len(people)}", identity=identity,
            joined_at=int(now), joined_at_ms=int(1000 * now),
        )  # fmt: skip
        if agent is not None:
            person.kind = ParticipantInfo.Kind.AGENT
            person.attributes["lk.agent.name"] = agent
        people.append(person)
        return person

    async def __aenter__(self) -> RoomService:
        app = web.Application()
        app.router.add_post("/twirp/livekit.{service}/{method}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        answer = getattr(self, f"_{request.match_info['method']}")(await request.read())
        return web.Response(body=answer, content_type="application/protobuf")

    def _ListRooms(self, body: bytes) -> bytes:
        names = ListRoomsRequest.FromString(body).names
        rooms = [
            Room(name=name, sid=f"RM_{name}", creation_time=1)
            for name in self.rooms
            if not names or name in names
        ]
        return ListRoomsResponse(rooms=rooms).SerializeToString()

    def _ListParticipants(self, body: bytes) -> bytes:
        people = self.rooms.get(ListParticipantsRequest.FromString(body).room, [])
        return ListParticipantsResponse(participants=people).SerializeToString()

    def _ListDispatch(self, body: bytes) -> bytes:
        none: list[AgentDispatch] = []
        return ListAgentDispatchResponse(agent_dispatches=none).SerializeToString()

    def _RemoveParticipant(self, body: bytes) -> bytes:
        who = RoomParticipantIdentity.FromString(body)
        self.did.append(("remove", who.identity))
        self.rooms[who.room] = [p for p in self.rooms[who.room] if p.identity != who.identity]
        return RemoveParticipantResponse().SerializeToString()

    def _DeleteRoom(self, body: bytes) -> bytes:
        room = DeleteRoomRequest.FromString(body).room
        self.did.append(("delete", room))
        self.rooms.pop(room, None)
        return DeleteRoomResponse().SerializeToString()
