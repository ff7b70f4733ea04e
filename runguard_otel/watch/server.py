"""The LiveKit server, asked: its rooms, who is in them, what was dispatched to them."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from livekit.api import LiveKitAPI, TwirpError
from livekit.protocol.room import (
    DeleteRoomRequest,
    ListParticipantsRequest,
    ListRoomsRequest,
    RoomParticipantIdentity,
)

from runguard_otel.core.guards.presence import Dispatch, Member
from runguard_otel.core.verdict import Clock
from runguard_otel.errors import RunGuardError
from runguard_otel.watch import seen

__all__ = ["Credentials", "Room", "Server", "ServerError"]

SECONDS: Final = 10.0
"""For one question."""


class ServerError(RunGuardError):
    """The server cannot be asked; one line that says what to do."""


@dataclass(frozen=True)
class Credentials:
    """Where the server is and how to speak to it, from the variables that LiveKit itself reads.

    Args:
        url: ``LIVEKIT_URL``, ``ws`` or ``http``.
        key: ``LIVEKIT_API_KEY``.
        secret: ``LIVEKIT_API_SECRET``.
    """

    url: str
    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.url!r}, {self.key!r})"

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Credentials:
        """Read the environment.

        Raises:
            ServerError: If a variable is missing, or the URL is none.
        """
        names = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
        found = [environment.get(name, "").strip() for name in names]
        missing = [name for name, value in zip(names, found, strict=True) if not value]
        if missing:
            raise ServerError(f"set {' and '.join(missing)}: they name the LiveKit server to watch")
        url = found[0]
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            raise ServerError("LIVEKIT_URL is no address of a server, such as ws://127.0.0.1:7880")
        return cls(re.sub("^ws", "http", url), found[1], found[2])

    @property
    def host(self) -> str:
        """The server's host and port, without anything secret."""
        parts = urlsplit(self.url)
        return parts.hostname + (f":{parts.port}" if parts.port else "") if parts.hostname else ""


class Room(NamedTuple):
    """A room as the server lists it.

    Args:
        sid: LiveKit's id of this life of it.
        name: Its name.
        created: When it was opened, unix seconds.
    """

    sid: str
    name: str
    created: float


class Server:
    """A client of RoomService and the dispatch service. Use it as an async context manager.

    Every method raises :class:`ServerError`, with the reason in words, and nothing else.

    Args:
        credentials: Which server.
        clock: Monotonic seconds, of whoever compares them with :attr:`asked`.
    """

    def __init__(self, credentials: Credentials, clock: Clock = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._client: LiveKitAPI | None = None

    async def __aenter__(self) -> Server:
        given = self._credentials
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        # Where there are other regions to ask they are as ill, and a question has its time.
        newer = "failover" in inspect.signature(LiveKitAPI).parameters
        options: dict[str, Any] = {"failover": False} if newer else {}
        self._client = LiveKitAPI(given.url, given.key, given.secret, timeout=timeout, **options)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def rooms(self) -> list[Room]:
        """Every room there is."""
        answer = await self._ask(self._api.room.list_rooms(ListRoomsRequest()))
        return [Room(r.sid, r.name, seen.opened(r)) for r in answer.rooms]

    async def room(self, name: str) -> Room | None:
        """One room, if there is one of that name."""
        answer = await self._ask(self._api.room.list_rooms(ListRoomsRequest(names=[name])))
        return next((Room(r.sid, r.name, seen.opened(r)) for r in answer.rooms), None)

    async def members(self, room: str) -> list[Member] | None:
        """Who is in a room; ``None`` if there is no such room."""
        try:
            answer = await self._ask(
                self._api.room.list_participants(ListParticipantsRequest(room=room))
            )
        except _NotFound:
            return None
        return [seen.member(p) for p in answer.participants]

    async def dispatches(self, room: str) -> list[Dispatch] | None:
        """What was dispatched to a room; ``None`` if the server does not say."""
        try:
            answer = await self._ask(self._api.agent_dispatch.list_dispatch(room))
        except _NotFound:
            return None
        return [d for d in map(seen.dispatch, answer) if d is not None]

    async def remove(self, room: str, identity: str) -> None:
        """Make a participant leave."""
        who = RoomParticipantIdentity(room=room, identity=identity)
        await self._ask(self._api.room.remove_participant(who))

    async def delete(self, room: str) -> None:
        """Close a room."""
        await self._ask(self._api.room.delete_room(DeleteRoomRequest(room=room)))

    @property
    def _api(self) -> LiveKitAPI:
        assert self._client is not None, "use it as a context manager"
        return self._client

    async def _ask(self, question: Any) -> Any:
        where = self._credentials.host
        try:
            return await question
        except TwirpError as error:
            if error.code == "not_found":
                raise _NotFound(str(error)) from error
            if getattr(error, "status", 0) in (401, 403):
                raise ServerError(
                    f"{where} refuses LIVEKIT_API_KEY and LIVEKIT_API_SECRET: are they of this "
                    "server, and is the clock of this machine right?"
                ) from error
            if error.code == "unknown":
                raise ServerError(
                    f"{where} answers, but not as a LiveKit server does: is LIVEKIT_URL right?"
                ) from error
            raise ServerError(f"{where} answered {error.code}: {error.message}") from error
        except asyncio.TimeoutError as error:
            raise ServerError(f"{where} did not answer within {SECONDS:g} s") from error
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno or 0
            reason = os.strerror(number) if number > 0 else "no such host"
            raise ServerError(
                f"{where} cannot be reached: {reason}. Is LIVEKIT_URL right?"
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ServerError(
                f"{where} answers, but not as a LiveKit server does ({type(error).__name__}): is "
                "LIVEKIT_URL right?"
            ) from error
        except Exception as error:
            if type(error).__name__ == "DecodeError":  # protobuf's, of whichever implementation
                raise ServerError(
                    f"{where} answers, but not as a LiveKit server does: is LIVEKIT_URL right?"
                ) from error
            raise


class _NotFound(ServerError):
    """There is no such room."""
