"""A caller in a process of its own, so that it can be killed: ``lone_caller.py URL TOKEN``."""

from __future__ import annotations

import asyncio
import sys

from livekit import rtc


async def stay(url: str, token: str) -> None:
    room = rtc.Room()
    await room.connect(url, token)
    print("joined", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(stay(*sys.argv[1:]))
