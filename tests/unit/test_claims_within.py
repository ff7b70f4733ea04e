"""A bound on a wait, and the cancellation that must not get lost in it."""

from __future__ import annotations

import asyncio

import pytest

from runguard_otel.claims.within import within

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
