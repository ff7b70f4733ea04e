"""Failures of our own code: counted, logged once per place, never raised."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Failures", "quiet"]

logger = logging.getLogger("runguard_otel")

F = TypeVar("F", bound=Callable[..., Any])


class Failures:
    """Logs the failure being handled, once per place, so that a storm cannot fill the disk."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def log(self, where: str) -> None:
        """Log the exception being handled, if ``where`` has not failed before.

        The traceback shows our lines and the exception's type but not its text, which may quote a
        room name or a transcript.
        """
        if where in self._seen or len(self._seen) > 1000:
            return
        self._seen.add(where)
        kind, _, trace = sys.exc_info()
        logger.error(
            "runguard-otel failed in %s (%s). The call is fine and goes on, only with less "
            "telemetry; further failures of this place are counted, not logged.\n%s",
            where,
            kind.__name__ if kind else "no exception",
            "".join(traceback.format_tb(trace)),
        )

    @contextlib.contextmanager
    def logged(self, where: str) -> Iterator[None]:
        """What fails in this block is logged, and goes no further."""
        try:
            yield
        except Exception:  # noqa: BLE001 - that is what it is for
            self.log(where)


class _HasFailures(Protocol):
    failures: Failures

    def count_failure(self, where: str) -> None: ...


def quiet(method: F) -> F:
    """A method that never raises: its failure is logged and counted instead.

    The object needs ``failures`` and ``count_failure``.
    """

    @functools.wraps(method)
    def guarded(self: _HasFailures, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        # The recorder is called from the host's own path and must hold promise 1 by itself: not
        # every caller stands inside an adapter's shield.
        except Exception:  # noqa: BLE001
            where = f"{type(self).__name__}.{method.__name__}"
            self.failures.log(where)
            self.count_failure(where)
            return None

    return cast("F", guarded)
