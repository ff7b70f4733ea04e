"""The reconnect guard installed over rooms of the stage."""

from __future__ import annotations

from typing import Any

from livekit import rtc

from runguard_otel.adapters.livekit.reconnect import hooks as reconnect
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.settings import Settings
from runguard_otel.testing.ffi import StageServer
from tests.kit.recorder import MemoryRecorder

URL = "wss://stage.example"


Reason = rtc.DisconnectReason


class Guarded:
    """The guard installed, with what it recorded."""

    def __init__(self, tolerant: bool = False, **settings: Any) -> None:
        self.recorder = MemoryRecorder(tolerant=tolerant)
        self.services = Services(Settings.load(**settings), self.recorder)
        self.patches = PatchSet(reconnect.patches(self.services))

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    def reconnects(self, signature: str = "room_reconnect") -> list[str]:
        return [str(e.outcome) for e in self.recorder.events if e.signature == signature]

    def redials(self) -> list[str]:
        return self.reconnects("room_reconnect:redial")


async def connect(server: StageServer, room: str = "lobby", identity: str = "agent") -> rtc.Room:
    made = rtc.Room()
    await made.connect(URL, server.token(room, identity))
    return made


async def lose(
    server: StageServer,
    room: rtc.Room,
    reason: rtc.DisconnectReason.ValueType = Reason.SIGNAL_CLOSE,
) -> None:
    """The server, or the way to it, ends the connection."""
    server.drop("lobby", reason)
    await server.settle()
    assert not room.isconnected()
