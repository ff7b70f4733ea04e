"""psycopg 3 and asyncpg behind one small face: run a statement, and give up at once when told to.

Both drivers answer a cancellation by asking the server to cancel the statement and waiting for it.
From a server that hangs no answer comes, so the holder's bound of 250 ms would not hold. Here a
cancelled statement costs its connection instead: the socket is shut and another one is opened.

Statements use ``$1`` placeholders, and none is prepared by name, so a transaction pooler may stand
in between.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from runguard_otel.claims.redact import unreadable

__all__ = [
    "CONNECT_SECONDS",
    "POOL_SECONDS",
    "Driver",
    "Row",
    "Session",
    "split_options",
]

Row = tuple[Any, ...]
CONNECT_SECONDS = 2
POOL_SECONDS = 0.2
"""How long a statement waits for the first connection, less than a claim's 250 ms."""
OWN_OPTIONS = ("mode", "driver")


class Session(Protocol):
    """One connection."""

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """Run one statement; all rows it returns."""

    def alive(self) -> bool:
        """Whether it can be used, as far as is known without asking the server."""

    def close(self) -> None:
        """Close it without waiting for the server."""


class Driver(Protocol):
    """A way to PostgreSQL."""

    errors: tuple[type[BaseException], ...]
    """What it raises when the server cannot be asked or says no."""

    turns: asyncio.Semaphore
    """As many as it has, or the user's pool may have, connections."""

    async def open(self) -> None:
        """Connect ahead of the first statement, with more patience than that has."""

    async def fetch(self, statement: str, *args: object) -> list[Row]:
        """Run one statement on any connection, as a transaction of its own."""

    async def connect(self) -> Session:
        """A connection of the caller's own."""

    def close(self) -> None:
        """Give everything back that is ours."""


def split_options(url: str) -> tuple[str, dict[str, str]]:
    """Take our own options out of the URL's query; the rest is the driver's.

    Returns:
        The URL for the driver, and ``mode`` and ``driver`` where given.

    Raises:
        SettingsError: If it is no URL; the text holds no password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the password
        raise unreadable(url) from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in pairs if name in OWN_OPTIONS}
    rest = urlencode([pair for pair in pairs if pair[0] not in OWN_OPTIONS])
    return urlunsplit(("postgresql", parts.netloc, parts.path, rest, "")), ours
