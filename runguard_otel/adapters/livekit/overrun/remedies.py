"""How each overrun is ended, in enforce. Called from a thread: the loop may be what hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from runguard_otel.adapters.livekit.facts.streams import abort_stream
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.core.guards.overrun import (
    AGENT_ALONE,
    CLOSE_HUNG,
    DURATION,
    SILENT_CALLER,
)

__all__ = ["carry_out"]

GRACE_SECONDS = 1.0
"""What a loop that still runs gets to close its streams before its process is ended."""
FLUSH_SECONDS = 2.0


class Held(Protocol):
    """What one job holds, and by what it can be reached."""

    services: Services
    ctx: Any
    loop: asyncio.AbstractEventLoop | None

    @property
    def rooms(self) -> Iterable[Any]:
        """Connected."""

    @property
    def sessions(self) -> Iterable[Any]:
        """Started and not closed."""

    @property
    def streams(self) -> Iterable[Any]:
        """Of recognisers."""


def carry_out(watch: Held, signature: str) -> None:
    """End what has gone on too long.

    Args:
        watch: The job.
        signature: What tripped.
    """
    if signature in (AGENT_ALONE, DURATION):
        _soon(watch, lambda: _leave(watch, signature))
    elif signature == SILENT_CALLER:
        _soon(watch, lambda: _hang_up(watch))
    elif signature == CLOSE_HUNG:
        _soon(watch, lambda: _abort_streams(watch))
        lifecycle = watch.services.lifecycle
        if lifecycle is not None:
            time.sleep(GRACE_SECONDS)  # on the watch's thread: the loop may be what hangs
            lifecycle.flush(FLUSH_SECONDS)
            lifecycle.end_process("hung")


def _soon(watch: Held, action: Callable[[], None]) -> None:
    if watch.loop is not None and not watch.loop.is_closed():
        watch.loop.call_soon_threadsafe(action)


def _leave(watch: Held, signature: str) -> None:
    """Ask the job to shut down; a script has none, and leaves its rooms."""
    if watch.ctx is not None:
        watch.ctx.shutdown(reason=f"runguard: {signature}")
        return
    assert watch.loop is not None
    for room in list(watch.rooms):
        _keep(watch, watch.loop.create_task(room.disconnect(), name="runguard-leave"))


def _hang_up(watch: Held) -> None:
    """Say the sentence, close the sessions after it, and let the job go."""
    assert watch.loop is not None
    _keep(watch, watch.loop.create_task(_say_and_close(watch), name="runguard-hang-up"))


async def _say_and_close(watch: Held) -> None:
    sentence = watch.services.settings.session_overrun_say
    for session in list(watch.sessions):
        if sentence:
            await session.say(sentence, allow_interruptions=False)
        await session.aclose()
    _leave(watch, SILENT_CALLER)


def _abort_streams(watch: Held) -> None:
    for stream in list(watch.streams):
        abort_stream(stream)


_tasks: set[Any] = set()


def _keep(watch: Held, task: Any) -> None:
    _tasks.add(task)

    def done(finished: Any) -> None:
        _tasks.discard(finished)
        if not finished.cancelled() and finished.exception() is not None:
            try:
                raise finished.exception()
            except Exception:  # noqa: BLE001 - the host's own failure to end is reported, no more
                watch.services.recorder.internal_error("session_overrun")

    task.add_done_callback(done)
