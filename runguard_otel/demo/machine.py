"""How slow this machine is now, and what that means for the demonstration.

It hears speech in real time and starts workers. On a busy machine that takes longer, and limits
made for an idle one would call a slow start a failure. So it measures first, with the same work
that takes most of the time: a Python that imports livekit-agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import Final

__all__ = ["PATIENCE", "Machine", "TooSlow", "measure", "patient"]

PATIENCE: Final = "STAGE_PATIENCE"
"""The variable that tells the storms' processes how patient to be."""

USUAL_SECONDS: Final = 2.0
"""What the import takes on two idle cores of the year 2020."""
USUALLY_BELOW: Final = 1.5
"""So many times slower is noise."""
SLOWEST: Final = 8.0
"""So many times slower, and what is heard in real time is not heard any more."""
GIVE_UP_SECONDS: Final = USUAL_SECONDS * SLOWEST


class TooSlow(Exception):
    """The demonstration would fail for want of CPU; the text says what to do."""


@dataclass(frozen=True)
class Machine:
    """What was measured.

    Args:
        slowness: How many times slower than usual; 1 or more.
    """

    slowness: float = 1.0

    @property
    def patience(self) -> float:
        """What limits are multiplied by: twice the slowness, as load comes and goes; at least 1."""
        return 1.0 if self.slowness < USUALLY_BELOW else 2 * self.slowness

    @property
    def side_by_side(self) -> int:
        """How many runs it can play at a time."""
        return 6 if self.slowness < USUALLY_BELOW else 2 if self.slowness < 3 else 1

    def words(self) -> str:
        """What to tell people; empty where all is as usual."""
        if self.slowness < USUALLY_BELOW:
            return ""
        return (
            f"this machine is {self.slowness:.1f} times slower than usual now: limits are "
            f"stretched, and {self.side_by_side} of the runs play at a time"
        )


async def measure() -> Machine:
    """Start a Python that imports livekit-agents, and take the time.

    Twice where the first was slow: it may have been the first at all on this machine, and have
    waited for the disk.

    Raises:
        TooSlow: If that takes so long that playing makes no sense.
    """
    ends = time.monotonic() + GIVE_UP_SECONDS
    slowness = await _import(GIVE_UP_SECONDS)
    if slowness >= USUALLY_BELOW and (left := ends - time.monotonic()) > USUAL_SECONDS:
        with contextlib.suppress(TooSlow):
            slowness = min(slowness, await _import(left))
    return Machine(max(1.0, slowness))


async def _import(limit: float) -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import livekit.agents",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await asyncio.wait_for(process.wait(), limit)
    except asyncio.TimeoutError:
        raise TooSlow(
            "this machine is too slow for the demonstration now: starting livekit-agents took "
            f"more than {limit:.0f} s, usually {USUAL_SECONDS:.0f}. End what else is running (load "
            f"{_load()} on {os.cpu_count()} cores) and try again, or play one storm that needs "
            "little: --anyway --only reconnect"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return (time.monotonic() - began) / USUAL_SECONDS


def patient(seconds: float) -> float:
    """A limit of a storm, stretched as this run was told.

    Args:
        seconds: What is enough on an idle machine.
    """
    try:
        return seconds * max(1.0, float(os.environ.get(PATIENCE, "1")))
    except ValueError:
        return seconds


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"
