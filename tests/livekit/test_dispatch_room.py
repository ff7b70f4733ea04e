"""Two agents that meet in a room: the one with the lower token leaves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.adapters.livekit.facts.job import job_facts
from runguard_otel.claims.key import claim_key
from runguard_otel.claims.registries.memory import MemoryStore
from runguard_otel.testing.jobs import job_proc
from tests.kit.claimed_jobs import Context, Process, job

pytest_plugins = ["tests.kit.claimed_fixtures"]
pytestmark = [pytest.mark.livekit, pytest.mark.usefixtures("livekit_url")]


def participant(**attributes: str) -> Any:
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return SimpleNamespace(attributes=named)


async def in_room(process: Process, *present: Any) -> tuple[Context, Any, list[dict[str, str]]]:
    """A job that has its claim and has connected to a room with these participants in it."""
    published: list[dict[str, str]] = []

    async def set_attributes(attributes: dict[str, str]) -> None:
        published.append(attributes)

    room: Any = rtc.EventEmitter()
    room.local_participant = SimpleNamespace(set_attributes=set_attributes)
    room.remote_participants = dict(enumerate(present))
    context = Context(job("AJ_1", agent_name="support"))
    context.room = room  # type: ignore[attr-defined]

    async def entrypoint(ctx: Any) -> None:
        await process.connect(connected, ctx)
        await asyncio.sleep(0)

    async def connected() -> None:
        """What LiveKit's own connect would do."""

    made = job_proc(entrypoint)
    guarded: Any = made._job_entrypoint_fnc
    await asyncio.create_task(guarded(context))
    return context, room, published


async def test_the_agent_with_the_lower_token_leaves_and_only_that_one(process: Process) -> None:
    context, room, published = await in_room(process)
    ((fence),) = (mine["runguard.claim"] for mine in published)
    claim, _, token = fence.partition(":")
    lower, higher = f"{claim}:{int(token) - 1}", f"{claim}:{int(token) + 1}"
    for harmless in (
        participant(lk_agent_name="support", runguard_claim=lower),
        participant(lk_agent_name="translator", runguard_claim=higher),
        participant(lk_agent_name="support", runguard_claim=f"another claim:{int(token) + 1}"),
        participant(lk_agent_name="support", runguard_claim="nonsense"),
        participant(lk_agent_name="support"),
        participant(),
    ):
        room.emit("participant_connected", harmless)
    avatar = participant(lk_agent_name="support", runguard_claim=higher)
    avatar.attributes["lk.publish_on_behalf"] = "agent-1"
    room.emit("participant_connected", avatar)
    assert context.reasons == []
    duplicate = participant(lk_agent_name="support", runguard_claim=higher)
    room.emit("participant_attributes_changed", {"runguard.claim": higher}, duplicate)
    room.emit("participant_connected", duplicate)
    assert context.reasons == ["runguard: claim lost (outranked)"]
    await context.end()


async def test_a_duplicate_that_is_already_there_is_seen(
    process: Process, store: MemoryStore
) -> None:
    key = claim_key(job_facts(job("x", agent_name="support"), "ws://livekit.test"))
    theirs = f"{key.partition('{')[2][:12]}:{10**18}"
    there = participant(lk_agent_name="support", runguard_claim=theirs)
    context, _, _ = await in_room(process, there)
    assert context.reasons == ["runguard: claim lost (outranked)"]
    await context.end()
