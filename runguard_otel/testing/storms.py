"""What goes wrong, on demand: the storms that the guards are for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from livekit import rtc

from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import final
from runguard_otel.testing.stage import ROOM

if TYPE_CHECKING:
    from runguard_otel.testing.calls import Call

__all__ = ["StormName", "drops", "flaps", "simulate_storm"]

StormName = Literal["reconnect", "misfire", "echo", "dispatch", "tracks", "overrun"]
"""What :func:`simulate_storm` plays."""

_NOISES: Final = ("", "uh", "", "mm", "hm")
_UNSURE: Final = 0.1


async def simulate_storm(
    name: StormName,
    on: Call | StageServer,
    *,
    times: int | None = None,
    room: str = ROOM,
    identity: str = "caller",
    words: Sequence[str] = _NOISES,
    entrypoint: Callable[[Any], Awaitable[None]] | None = None,
) -> None:
    """Let one kind of thing go wrong, as often as it takes.

    ============= ======== ====================================================================
    Storm         On       What happens
    ============= ======== ====================================================================
    ``misfire``   a call   noise: ``times`` results that are blank or unsure
    ``echo``      a call   the agent's last sentence comes back through the microphone
    ``reconnect`` a stage  ``room`` is lost ``times`` times; the application does what it does
    ``tracks``    a stage  the microphone of ``identity`` goes and comes back ``times`` times
    ``dispatch``  a stage  ``entrypoint`` is run as another job of ``room``
    ``overrun``   a stage  ``identity`` leaves ``room``, and nobody tells the agent
    ============= ======== ====================================================================

    Args:
        name: Which storm.
        on: The call or the stage that it breaks loose on.
        times: How often; as often as makes the guard trip by default settings, and once more.
        room: On a stage: where.
        identity: On a stage: whose microphone, or who leaves.
        words: The noises of ``misfire``, which are repeated.
        entrypoint: The agent of ``dispatch``.

    Raises:
        ValueError: If the storm needs something else than what it was given.
    """
    if name not in get_args(StormName):
        raise ValueError(f"no storm is called {name!r}; there are {', '.join(get_args(StormName))}")
    on_stage = isinstance(on, StageServer)
    if on_stage is (name in ("misfire", "echo")):
        needed = "a stage: Stage()" if not on_stage else "a call: call()"
        raise ValueError(f"the storm {name!r} breaks loose on {needed}")
    if isinstance(on, StageServer):
        await _on_stage(name, on, times, room, identity, entrypoint)
    elif name == "misfire":
        for n in range(times or 6):
            await on.hear(final(words[n % len(words)], _UNSURE))
    else:
        await _echo(on, times or 6)


async def drops(
    stage: StageServer,
    room: str = ROOM,
    times: int = 6,
    reason: rtc.DisconnectReason.ValueType = rtc.DisconnectReason.CONNECTION_TIMEOUT,
) -> AsyncIterator[int]:
    """Lose ``room`` again and again: the storm ``reconnect``, a step at a time.

    Yields:
        The number of the drop that comes next, so that the application has its time.
    """
    for n in range(1, times + 1):
        yield n
        stage.drop(room, reason)
        await stage.settle()


async def flaps(
    stage: StageServer, room: str = ROOM, identity: str = "caller", times: int = 8
) -> AsyncIterator[tuple[int, str]]:
    """A microphone that comes and goes: the storm ``tracks``, a step at a time.

    Yields:
        The number and the sid of each track, once it is published and subscribed.
    """
    for n in range(1, times + 1):
        sid = stage.publish(room, identity)
        await stage.settle()
        yield n, sid
        stage.unpublish(sid)
        await stage.settle()


async def _on_stage(
    name: str,
    stage: StageServer,
    times: int | None,
    room: str,
    identity: str,
    entrypoint: Callable[[Any], Awaitable[None]] | None,
) -> None:
    if name == "reconnect":
        async for _ in drops(stage, room, times or 5):
            await stage.settle()
    elif name == "tracks":
        async for _ in flaps(stage, room, identity, times or 5):
            await stage.settle()
    elif name == "overrun":
        stage.leave(room, identity)
        await stage.settle()
    else:
        if entrypoint is None:
            raise ValueError("the storm 'dispatch' needs the agent: entrypoint=...")
        from runguard_otel.testing.jobs import running_job

        for n in range(times or 1):
            async with running_job(stage, entrypoint, room, job_id=f"AJ_again_{n}") as job:
                await asyncio.wait({job.task}, timeout=_LONGEST_STANDBY)


_LONGEST_STANDBY: Final = 20.0
"""Seconds that a duplicate may take to learn that it is one; it takes a heartbeat or two."""


async def _echo(phone: Call, times: int) -> None:
    agent = cast("Any", phone.session)
    said = next(
        (
            item.text_content
            for item in reversed(agent.history.items)
            if getattr(item, "role", "") == "assistant" and item.text_content
        ),
        "",
    )
    if len(said.split()) < 3:
        raise ValueError("the storm 'echo' needs an agent that has said three words or more")
    for _ in range(times):
        await phone.hear(final(said))
