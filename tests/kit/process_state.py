"""What code leaves open in its process, told where other tests' threads end at their own pace."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def nothing_opened() -> Iterator[None]:
    """Fails where the block leaves a new thread or file open.

    What was there before may go in the meantime: the executor of an earlier test, a socket that the
    garbage collector closes. Only what is new counts.
    """
    before = threads(), files()
    yield
    assert not threads() - before[0]
    assert not files() - before[1]


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def files() -> set[tuple[str, str]]:
    """Number and target of every open file: a number may be given again."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own, closed by now
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
