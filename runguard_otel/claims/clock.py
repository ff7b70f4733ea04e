"""The clock leases are measured on: it runs on while the machine sleeps, and never jumps."""

from __future__ import annotations

import time

__all__ = ["boottime"]


def boottime() -> float:
    """Seconds since boot, suspend included (CLOCK_BOOTTIME); monotonic time where that is absent.

    A monotonic clock stands still during suspend: a laptop or a paused virtual machine would wake
    up and believe that its lease, long taken over, still runs.
    """
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock_id is None else time.clock_gettime(clock_id)
