"""A reconnect loop on a job's own room, and what the job is asked."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import pytest
from livekit import api, rtc

from runguard_otel.adapters.livekit.reconnect import guard
from runguard_otel.errors import ReconnectLoopError
from runguard_otel.testing.ffi import StageServer
from tests.kit.room_guard import URL, Guarded, lose

pytestmark = pytest.mark.livekit


@pytest.fixture
def server() -> Iterator[StageServer]:
    """Nobody is in it: the same room object joins again and again."""
    with StageServer() as stage:
        yield stage


class Job:
    """As much of a JobContext as the guard looks at."""

    def __init__(self, room: rtc.Room, fake: bool = False) -> None:
        self.room = room
        self.job = SimpleNamespace(id="AJ_1")
        self.asked: list[str] = []
        self.api = SimpleNamespace(room=self)
        self._fake = fake

    def is_fake_job(self) -> bool:
        return self._fake

    def shutdown(self, reason: str = "") -> None:
        self.asked.append(reason)

    async def delete_room(self, request: api.DeleteRoomRequest) -> None:
        self.asked.append(f"delete {request.room}")


async def loop_in_job(server: StageServer, job: Job, room: rtc.Room) -> int:
    refused = 0
    with mock.patch.object(guard, "current_job", lambda: job):
        for _ in range(6):
            try:
                await room.connect(URL, server.token("lobby", "agent"))
                await lose(server, room)
            except ReconnectLoopError:
                refused += 1
    return refused


async def test_a_loop_on_the_jobs_own_room_asks_the_job_to_shut_down_once(
    server: StageServer,
) -> None:
    with Guarded() as guarded:
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, job.room) == 3
    assert job.asked == ["runguard: room reconnect loop"]
    assert [(t.action, t.subject.job_id) for t in guarded.recorder.trips] == [
        ("shutdown_job", "AJ_1")
    ]


async def test_a_loop_on_another_room_leaves_the_job_alone(server: StageServer) -> None:
    with Guarded():
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, rtc.Room()) == 3
    assert job.asked == []


async def test_deleting_the_room_is_an_option_and_happens_once(server: StageServer) -> None:
    with Guarded(room_reconnect_delete_room=True) as guarded:
        job = Job(rtc.Room())
        await loop_in_job(server, job, rtc.Room())
        await server.settle()
    assert job.asked == ["delete lobby"]
    assert guarded.recorder.trips[0].action == "delete_room"


async def test_observe_mode_never_touches_the_job(server: StageServer) -> None:
    with Guarded(mode="observe", room_reconnect_delete_room=True):
        job = Job(rtc.Room())
        assert await loop_in_job(server, job, job.room) == 0
    assert job.asked == []


async def test_must_not_fire_fake_jobs_are_not_looked_at(server: StageServer) -> None:
    with Guarded() as guarded:
        job = Job(rtc.Room(), fake=True)
        assert await loop_in_job(server, job, job.room) == 0
    assert guarded.recorder.events == []
    assert guarded.recorder.count("runguard.room.connects") == 0


async def test_must_not_fire_the_console_room_of_livekit_still_works_as_a_mock() -> None:
    with Guarded() as guarded:
        room = mock.create_autospec(rtc.Room, instance=True)  # as livekit-agents makes it
        for _ in range(6):
            await room.connect("ws://x", "y")
    assert guarded.recorder.events == []
