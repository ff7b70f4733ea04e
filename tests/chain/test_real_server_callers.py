"""Callers who leave and come back, on a real LiveKit server: ``bench callers`` in short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit import callers
from tests.kit.callers import Outcome, side
from tests.kit.livekit_server import needs_server

pytestmark = [pytest.mark.chain, needs_server]

SERVED_WITHIN = 10.0
"""Generous: how soon is for the bench to say; here a caller has an agent, or does not."""


def served_once(outcome: Outcome) -> bool:
    """Whether the caller got an agent, and one only."""
    return outcome.reached < SERVED_WITHIN and not outcome.twice and outcome.both < 1


@pytest.mark.parametrize("on_exit", [0.0, 6.0, -1.0], ids=["at once", "summary", "for ever"])
async def test_a_caller_who_comes_back_while_her_session_closes_is_served(
    tmp_path: Path, on_exit: float
) -> None:
    """Mutant: the claim ends when the session has closed."""
    async with side(tmp_path, "module") as here:
        assert served_once(await callers.left(here, 0.5, microphone=True, on_exit=on_exit))


@pytest.mark.parametrize("anew", [True, False], ids=["as somebody else", "as herself"])
async def test_a_caller_without_a_microphone_is_served_when_she_comes_back(
    tmp_path: Path, anew: bool
) -> None:
    """The agent is told up to three seconds late. Mutant: the job that stands by does not ask."""
    async with side(tmp_path, "module") as here:
        outcome = await callers.left(here, 0, microphone=False, on_exit=0, anew=anew)
        assert served_once(outcome)


async def test_a_room_whose_agent_was_removed_or_killed_gets_the_next_one(tmp_path: Path) -> None:
    async with side(tmp_path, "module") as here:
        assert served_once(await callers.removed(here, 0))
        assert served_once(await callers.killed(here, 0))


async def test_an_agent_that_is_dispatched_twice_is_there_once(tmp_path: Path) -> None:
    async with side(tmp_path, "module") as here:
        outcome = await callers.doubled(here, 2)
        assert (outcome.both, outcome.twice) == (0, 0)


async def test_a_publisher_who_calls_back_is_heard_by_one_agent(tmp_path: Path) -> None:
    """Mutants: the key has her identity; the old job answers on while it writes its summary."""
    async with side(tmp_path, "module", per="publisher") as here:
        outcome = await callers.published(here, 1)
        assert (outcome.missed, outcome.twice) == (0, 0)
