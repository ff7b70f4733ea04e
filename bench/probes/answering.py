"""The pipe between ``bench`` and a probe: one JSON line asks for a method, one answers."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from typing import Any

__all__ = ["answer"]


def answer(probe: object) -> None:
    """Run the methods of ``probe`` that are asked for on standard input, until it ends."""
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    asyncio.run(_serve(probe, wire))
    os._exit(0)  # no goodbye: what a measured package does at exit is not asked for


async def _serve(probe: object, wire: Any) -> None:
    loop = asyncio.get_running_loop()
    wire.write("{}\n")
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, arguments = json.loads(line)
        found = getattr(probe, name)(**arguments)
        if inspect.isawaitable(found):
            found = await found
        wire.write(json.dumps(found) + "\n")
