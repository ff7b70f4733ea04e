"""A bound on a wait, and the cancellation that must not get lost in it."""

from __future__ import annotations

import asyncio
import time

import pytest

from runguard_otel.claims.within import Overdue, within

pytestmark = pytest.mark.unit


async def turns(number: int) -> str:
    for _ in range(number):
        await asyncio.sleep(0)
    return "done"


async def test_the_answer_and_the_error_pass_through() -> None:
    async def fails() -> None:
        raise RuntimeError("no")

    assert await within(1, turns(3)) == "done"
    with pytest.raises(RuntimeError, match="no"):
        await within(1, fails())


async def test_too_slow_is_cancelled_and_has_ended() -> None:
    ended = False

    async def slow() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended = True

    with pytest.raises(asyncio.TimeoutError):
        await within(0.01, slow())
    assert ended


@pytest.mark.parametrize("after", range(8))
async def test_a_cancellation_at_any_point_is_heard(after: int) -> None:
    """Also when the work is done and the answer on its way: a loop would go on for ever."""
    laps = 0

    async def loop() -> None:
        nonlocal laps
        while laps < 100:
            laps += 1
            await within(1, turns(3))

    task = asyncio.ensure_future(loop())
    await turns(after)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()
    assert laps <= 3


async def test_a_loop_that_did_not_run_is_not_blamed_on_who_was_asked() -> None:
    """The answer came in time and waited in its socket. Mutant: ``asyncio.wait_for``."""

    async def asks() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, answer)

    def answer() -> str:
        time.sleep(0.05)
        return "answered"

    def starve() -> None:
        time.sleep(0.5)

    asyncio.get_running_loop().call_later(0.01, starve)
    assert await within(0.25, asks()) == "answered"


async def test_what_never_ends_is_overdue_also_in_a_starved_process() -> None:
    starving = asyncio.create_task(_starve())
    with pytest.raises(Overdue) as caught:
        await within(0.02, asyncio.Event().wait())
    assert caught.value.late > 0.02
    starving.cancel()


async def _starve() -> None:
    while True:
        time.sleep(0.03)
        await asyncio.sleep(0)
