"""An HTTP answer in parts, which waits where the laboratory wants it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tests.plugins.lab.loopback import PATIENCE, Script

__all__ = ["Paused"]


class Paused(Script):
    """A script whose answer has three parts: what is no reply yet, its start, and the rest."""

    content_type = "application/octet-stream"
    begins = True
    """Whether anything is heard before its end."""
    streams = False
    """Whether it is asked by ``stream()``."""

    def __init__(self) -> None:
        super().__init__()
        self.pause = 3
        """How many of the parts are sent; then the answer lasts until its client leaves."""
        self.tells = True
        """Whether it says what was used."""
        self.asked = 0

    def parts(self) -> Iterable[bytes]:
        """The three."""
        raise NotImplementedError

    async def answer(self, request: web.Request, said: Any) -> web.StreamResponse:
        await request.read()
        self.asked += 1
        response = web.StreamResponse(headers={"Content-Type": self.content_type})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            for part in list(self.parts())[: self.pause]:
                await response.write(part)
            if self.pause < 3:
                await asyncio.sleep(PATIENCE)
            await response.write_eof()
        return response
