"""Nothing of ours breaks a call: the one place that may catch everything."""

from __future__ import annotations

from types import TracebackType

from runguard_otel.core.ports import Recorder

__all__ = ["shield"]


class shield:
    """Run our own code inside the host's path.

    An exception of ours is counted in ``runguard.internal_errors``, logged once, and swallowed;
    ``CancelledError`` and every other ``BaseException`` passes. The host's own code must never run
    inside a shield, and an error raised on purpose (``LoopDetectedError``) must be raised outside.
    Entered several times per turn, so a plain class: a generator would cost twice as much.

    Args:
        recorder: Gets the report.
        where: The patch's name, for example ``Room.connect``.
    """

    __slots__ = ("_recorder", "_where")

    def __init__(self, recorder: Recorder, where: str) -> None:
        self._recorder = recorder
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._recorder.internal_error(self._where)
        return True
