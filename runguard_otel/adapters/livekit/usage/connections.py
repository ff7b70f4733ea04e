"""How long this process was a participant of each room."""

from __future__ import annotations

from typing import Any

from runguard_otel.core.ports import UsagePort

__all__ = ["Connections"]


class Connections:
    """Reports connections to be priced.

    Args:
        port: Where to.
    """

    def __init__(self, port: UsagePort) -> None:
        self._port = port

    def connected(self, room: Any, *_: Any, **__: Any) -> None:
        """``Room.connect`` has returned."""
        self._port.connection_opened(id(room))

    def event(self, room: Any, event: str, *_: Any, **__: Any) -> None:
        """``Room.emit``: an end, whoever caused it."""
        if event == "disconnected":
            self._port.connection_closed(id(room))
