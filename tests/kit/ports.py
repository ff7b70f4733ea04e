"""Free loopback ports."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A TCP port nobody listens on right now. It may be gone a moment later: retry on a clash."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Whether a server accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
