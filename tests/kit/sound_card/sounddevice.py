"""A sound card for LiveKit's console: hears silence and plays into nothing. Put on PYTHONPATH."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

RATE = 24_000

default = SimpleNamespace(device=(0, 0))


def query_devices(device: object = None, kind: str = "") -> dict[str, object]:
    """The one device."""
    return {"name": "a card", "index": 0, "default_samplerate": float(RATE)}


class _Stream:
    def __init__(self, *, callback: Callable[..., None], blocksize: int, **_: object) -> None:
        self._callback, self._size = callback, blocksize
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Call back once a block."""
        self._thread.start()

    def close(self) -> None:
        """No more calls."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self._size / RATE):
            now = time.time()
            at = SimpleNamespace(currentTime=now, inputBufferAdcTime=now, outputBufferDacTime=now)
            block: Any = np.zeros((self._size, 1), np.int16)
            try:
                self._callback(block, self._size, at)
            except RuntimeError:  # the console has closed its loop and not the card
                return


class InputStream(_Stream):
    """A microphone."""


class OutputStream(_Stream):
    """A speaker."""
