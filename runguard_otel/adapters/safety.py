"""Nothing of ours breaks a call: the one place that may catch everything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from runguard_otel.core.ports import Recorder

__all__ = ["shield"]


@contextlib.contextmanager
def shield(recorder: Recorder, where: str) -> Iterator[None]:
    """Run our own code inside the host's path.

    An exception of ours is counted in ``runguard.internal_errors``, logged once, and swallowed;
    ``CancelledError`` and every other ``BaseException`` passes. The host's own code must never run
    inside a shield, and an error raised on purpose (``LoopDetectedError``) must be raised outside.

    Args:
        recorder: Gets the report.
        where: The patch's name, for example ``Room.connect``.
    """
    try:
        yield
    except Exception:  # noqa: BLE001 - this is the one place; see the docstring
        recorder.internal_error(where)
