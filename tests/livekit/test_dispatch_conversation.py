"""The ends of a conversation: who may have the room next, and when the former agent makes way.

Each test names the change it fails for.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.adapters.livekit.dispatch.conversation import Conversation
from runguard_otel.adapters.livekit.dispatch.witness import serves
from runguard_otel.adapters.livekit.facts.room import Person, serving_mark
from runguard_otel.claims.registries.memory import MemoryStore
from tests.kit.claimed_jobs import Context, Process, job, until

pytest_plugins = ["tests.kit.claimed_fixtures"]
pytestmark = [pytest.mark.livekit, pytest.mark.usefixtures("livekit_url")]


class Session:
    """What the claim needs of an ``AgentSession``."""

    def __init__(self, speech: Any = None) -> None:
        self.heard: list[bool] = []
        self.input = SimpleNamespace(set_audio_enabled=self.heard.append)
        self.current_speech = speech


class Room(rtc.EventEmitter[Any]):
    """A room to meet in and to leave."""

    def __init__(self) -> None:
        super().__init__()
        self.local_participant = SimpleNamespace(set_attributes=self._publish)
        self.remote_participants: dict[str, Any] = {}
        self.published: dict[str, str] = {}
        self.left = False

    async def _publish(self, attributes: dict[str, str]) -> None:
        self.published.update(attributes)

    def isconnected(self) -> bool:
        return not self.left

    async def disconnect(self) -> None:
        self.left = True


async def conversation(process: Process, job_id: str = "AJ_1") -> tuple[Conversation, Any]:
    """A job that has its claim and is in its room."""
    ctx: Any = Context(job(job_id, agent_name="support"))
    ctx.room = Room()
    made = Conversation(process.services, ctx)
    assert await made.admit()
    made.connected()
    await asyncio.sleep(0)
    return made, ctx


def ending(store: MemoryStore) -> bool:
    (lease,) = store.leases.values()
    return lease.held and lease.ending


async def test_the_claim_ends_when_the_last_session_begins_to_close(
    process: Process, store: MemoryStore
) -> None:
    """Mutants: end with the first session; end when it has closed."""
    made, _ = await conversation(process)
    first, second = Session(), Session()
    made.session_starts(first)
    made.session_starts(second)
    made.session_closes(first)
    await asyncio.sleep(0.05)
    assert not ending(store)
    made.session_closes(second)
    await until(lambda: ending(store))
    await made.over()


async def test_another_session_in_the_same_job_takes_the_end_back(
    process: Process, store: MemoryStore
) -> None:
    """Mutant: an end that is never cleared lets a second agent in beside a living one."""
    made, ctx = await conversation(process)
    session = Session()
    made.session_starts(session)
    made.session_closes(session)
    await until(lambda: ending(store))
    made.session_starts(Session())
    await until(lambda: not ending(store))
    assert ctx.reasons == []
    await made.over()


async def test_a_job_that_is_asked_to_end_lets_the_next_one_in(
    process: Process, store: MemoryStore
) -> None:
    """Mutant: only sessions count. And no session of a job that ends keeps the room."""
    made, _ = await conversation(process)
    made.asked_to_end()
    await until(lambda: ending(store))
    made.session_starts(Session())
    await asyncio.sleep(0.05)
    assert ending(store)
    await made.over()


async def test_a_job_that_stands_by_goes_when_it_is_asked_to(
    process: Process, rival: Context
) -> None:
    """Mutant: it waits for the holder's word, and its worker waits for it."""
    standing = Conversation(process.services, Context(job("AJ_2")))
    asked = asyncio.create_task(standing.admit())
    await asyncio.sleep(0.05)
    standing.asked_to_end()
    assert await asyncio.wait_for(asked, 30) is False


def successor(room: Room) -> Any:
    """An agent of the same name that has the claim now."""
    claim, _, token = room.published["runguard.claim"].rpartition(":")
    attributes = {"lk.agent.name": "support", "runguard.claim": f"{claim}:{int(token) + 1}"}
    return SimpleNamespace(attributes=attributes)


async def test_the_former_agent_falls_silent_and_leaves_when_the_next_one_is_there(
    process: Process,
) -> None:
    """Mutants: ask the job to end (its ``on_exit`` keeps it in the room); answer on."""
    made, ctx = await conversation(process)
    said = asyncio.Event()
    session = Session(SimpleNamespace(wait_for_playout=said.wait))
    made.session_starts(session)
    made.session_closes(session)
    assert not made.silent
    ctx.room.emit("participant_connected", successor(ctx.room))
    await until(lambda: made.silent)
    assert session.heard == [False]
    assert not ctx.room.left, "it may finish its sentence"
    said.set()
    await until(lambda: ctx.room.left)
    assert ctx.reasons == [], "its callbacks run as LiveKit runs them after a disconnect"
    await made.over()


async def test_a_farewell_that_never_ends_is_cut(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runguard_otel.adapters.livekit.dispatch.conversation.FAREWELL_SECONDS", 0)
    made, ctx = await conversation(process)
    session = Session(SimpleNamespace(wait_for_playout=asyncio.Event().wait))
    made.session_starts(session)
    made.session_closes(session)
    ctx.room.emit("participant_connected", successor(ctx.room))
    await until(lambda: ctx.room.left)
    await made.over()


async def test_an_agent_that_serves_is_no_former_one(process: Process) -> None:
    """Two that were let in by mistake: the older one loses, and is asked to end."""
    made, ctx = await conversation(process)
    made.session_starts(Session())
    ctx.room.emit("participant_connected", successor(ctx.room))
    await asyncio.sleep(0.05)
    assert (made.silent, ctx.reasons) == (False, ["runguard: claim lost (outranked)"])
    await made.over()


async def test_another_stay_of_the_same_participant_is_the_same_conversation(
    process: Process,
) -> None:
    """One job per publisher: she called back, and the job of her new stay is in the room.

    Mutant: compare whole claims. Both would answer her.
    """
    made, ctx = await conversation(process)
    session = Session()
    made.session_starts(session)
    made.session_closes(session)
    claim, _, token = ctx.room.published["runguard.claim"].rpartition(":")
    attributes = {"lk.agent.name": "support", "runguard.claim": f"{claim}.PA_2:{int(token) + 1}"}
    ctx.room.emit("participant_connected", SimpleNamespace(attributes=attributes))
    await until(lambda: ctx.room.left)
    await made.over()


def agent(token: int, serving: str) -> Person:
    return Person("PA_a", "agent", {"runguard.claim": f"c:{token}", "runguard.serving": serving})


HER = serving_mark("PA_1", "caller")


@pytest.mark.parametrize(
    ("present", "word"),
    [
        ([agent(7, HER), Person("PA_1", "caller", {})], True),
        ([agent(7, HER), Person("PA_2", "another", {})], False),
        ([agent(7, HER)], False),
        ([agent(7, HER), Person("PA_2", "caller", {})], None),  # its session decides
        ([agent(7, "")], None),
        ([agent(6, HER)], None),
        ([Person("PA_1", "caller", {})], None),
        ([], None),
    ],
)
def test_the_server_knows_whether_an_agent_has_its_caller(
    present: list[Person], word: bool | None
) -> None:
    """Mutant: a caller who is back under the same identity counts as gone."""
    assert serves(present, 7) is word
