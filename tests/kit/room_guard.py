"""The reconnect guard installed over rooms of the stage."""

from __future__ import annotations

from typing import Any

from livekit import rtc

from runguard_otel.adapters.agents_v1 import room as room_adapter
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.demo.stage.ffi import StageServer
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

URL = "wss://stage.example"


Reason = rtc.DisconnectReason


class Guarded:
    """The guard installed, with what it recorded."""

    def __init__(self, tolerant: bool = False, **settings: Any) -> None:
        self.recorder = MemoryRecorder(tolerant=tolerant)
        self.services = Services(Settings.load(**settings), self.recorder)
        self.patches = PatchSet(room_adapter.patches(self.services))

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.patches.undo()
        self.services.close()

    def reconnects(self) -> list[str]:
        return [str(e.outcome) for e in self.recorder.events if e.signature == "room_reconnect"]


async def connect(server: StageServer, room: str = "lobby", identity: str = "agent") -> rtc.Room:
    made = rtc.Room()
    await made.connect(URL, server.token(room, identity))
    return made
