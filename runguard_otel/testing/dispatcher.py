"""A dispatcher that speaks LiveKit's agent worker protocol, for tests and the demo.

Real workers (``cli.run_app``, ``AgentServer.run``) register here over a websocket, are offered
jobs, and start real job processes. It has no media: ``ctx.connect()`` gets a 404. Everything the
workers say is kept in ``messages``; a waiter is woken by each new one, without sleeping.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import WSMsgType, web
from livekit import api
from livekit.protocol import agent, models

__all__ = ["Dispatch", "Dispatcher", "Message"]

T = TypeVar("T")

FINAL = (agent.JobStatus.JS_SUCCESS, agent.JobStatus.JS_FAILED)


@dataclass(frozen=True)
class Message:
    """Something a worker said, or an HTTP request that reached us.

    Args:
        at: Monotonic seconds.
        worker_id: The worker's id of that connection, or ``""`` for HTTP.
        kind: Field name in ``WorkerMessage`` (``register``, ``availability``, ``update_job``,
            ``migrate_job``...), or ``http``.
        body: The protobuf message, or the request line.
    """

    at: float
    worker_id: str
    kind: str
    body: Any


@dataclass(frozen=True)
class Dispatch:
    """What came of offering one job to one worker.

    Args:
        job: The job.
        worker_id: The worker.
        available: Whether it took the job.
        terminate: If not: whether it asked that no other worker be tried.
        seconds: How long it took to answer.
    """

    job: agent.Job
    worker_id: str
    available: bool
    terminate: bool
    seconds: float


@dataclass
class Dispatcher:
    """Start it, point workers at :attr:`url`, and dispatch jobs to them.

    Args:
        api_key: The key workers must use.
        api_secret: The secret workers must use; long enough for HS256.
    """

    api_key: str = "devkey"
    api_secret: str = "a-secret-for-tests-and-the-demo-only"
    workers: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    _answers: dict[tuple[str, str], asyncio.Future[Any]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None
    _port: int = 0

    @property
    def url(self) -> str:
        """What workers need as ``LIVEKIT_URL``."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment a worker process needs to find us."""
        return {
            "LIVEKIT_URL": self.url,
            "LIVEKIT_API_KEY": self.api_key,
            "LIVEKIT_API_SECRET": self.api_secret,
        }

    async def start(self) -> None:
        """Listen on a free loopback port."""
        app = web.Application()
        app.router.add_get("/agent", self._serve_worker)
        app.router.add_route("*", "/{tail:.*}", self._serve_other)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        for socket in list(self.workers.values()):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Dispatcher:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @staticmethod
    def job(
        room: str,
        *,
        job_id: str = "",
        agent_name: str = "",
        job_type: agent.JobType = agent.JobType.JT_ROOM,
        participant: str = "",
        room_sid: str = "",
    ) -> agent.Job:
        """A job as a server makes it: each dispatch has an id of its own unless one is given."""
        made = agent.Job(
            id=job_id or f"AJ_{uuid.uuid4().hex[:12]}",
            dispatch_id=f"AD_{uuid.uuid4().hex[:12]}",
            type=job_type,
            agent_name=agent_name,
            room=models.Room(sid=room_sid or f"RM_{room}", name=room),
        )
        if participant:
            made.participant.CopyFrom(models.ParticipantInfo(identity=participant))
        return made

    async def dispatch(
        self, worker_id: str, job: agent.Job, *, resuming: bool = False, timeout: float = 20
    ) -> Dispatch:
        """Offer a job to a worker and, if it is available, assign it.

        Args:
            worker_id: A key of :attr:`workers`.
            job: The job.
            resuming: What the server says when a job moves to another worker.
            timeout: For the worker's answer, in seconds.
        """
        started = time.monotonic()
        answer = asyncio.get_running_loop().create_future()
        self._answers[worker_id, job.id] = answer
        offer = agent.ServerMessage(
            availability=agent.AvailabilityRequest(job=job, resuming=resuming)
        )
        await self._send(worker_id, offer)
        said = await asyncio.wait_for(answer, timeout)
        seconds = time.monotonic() - started
        if said.available:
            await self._assign(worker_id, job, said)
        return Dispatch(job, worker_id, said.available, said.terminate, seconds)

    async def terminate(self, worker_id: str, job_id: str) -> None:
        """End a job, as a server does when its room is deleted."""
        message = agent.ServerMessage(termination=agent.JobTermination(job_id=job_id))
        await self._send(worker_id, message)

    async def drop(self, worker_id: str) -> None:
        """Close a worker's connection; it will register again and migrate its jobs."""
        await self.workers[worker_id].close()

    def status(self, job_id: str) -> int | None:
        """The last ``JobStatus`` a worker reported for a job; ``None`` before the first."""
        reports = [m.body for m in self.messages if m.kind == "update_job"]
        return next((int(r.status) for r in reversed(reports) if r.job_id == job_id), None)

    async def wait_ended(self, job_id: str, timeout: float = 60) -> int:
        """Wait until a job has ended and return its last status."""
        return await self.wait(
            lambda: status if (status := self.status(job_id)) in FINAL else None, timeout
        )

    async def wait_workers(self, count: int, timeout: float = 90) -> list[str]:
        """Wait until that many workers are registered; their ids, oldest first."""
        return await self.wait(
            lambda: list(self.workers) if len(self.workers) >= count else None, timeout
        )

    async def wait(self, condition: Callable[[], T | None], timeout: float = 60) -> T:
        """Wait until ``condition()`` is neither ``None`` nor false, and return what it is.

        It is asked again at every message, and a few times a second for conditions that hang on
        something else, such as the output of a process.

        Raises:
            TimeoutError: If it stays false for ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() >= end:
                raise TimeoutError(f"still waiting after {timeout} s; heard: {self.transcript()}")
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), 0.1)
            except asyncio.TimeoutError:
                continue
        return value

    def transcript(self) -> list[str]:
        """What was heard, a line each, for error messages."""
        return [
            f"{m.worker_id or '-'} {m.kind} {' '.join(str(m.body).split())[:120]}"
            for m in self.messages
            if m.kind not in ("ping", "update_worker")
        ]

    async def _serve_worker(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        worker_id = ""
        async for received in socket:
            if received.type is not WSMsgType.BINARY:
                continue
            message = agent.WorkerMessage.FromString(received.data)
            kind = message.WhichOneof("message") or ""
            body = getattr(message, kind, None)
            if kind == "register":
                worker_id = f"AW_{uuid.uuid4().hex[:12]}"
                await socket.send_bytes(_registered(worker_id).SerializeToString())
                self.workers[worker_id] = socket
            elif kind == "availability":
                answer = self._answers.pop((worker_id, message.availability.job_id), None)
                if answer is not None and not answer.done():
                    answer.set_result(message.availability)
            self._hear(worker_id, kind, body)
        self.workers.pop(worker_id, None)
        self._hear(worker_id, "closed", "")
        return socket

    async def _serve_other(self, request: web.Request) -> web.Response:
        self._hear("", "http", f"{request.method} {request.path}")
        return web.Response(status=404, text="no media here")

    def _hear(self, worker_id: str, kind: str, body: Any) -> None:
        self.messages.append(Message(time.monotonic(), worker_id, kind, body))
        self._news.set()

    async def _assign(self, worker_id: str, job: agent.Job, said: Any) -> None:
        grants = api.VideoGrants(room_join=True, room=job.room.name, agent=True)
        token = (
            api.AccessToken(self.api_key, self.api_secret)
            .with_identity(said.participant_identity)
            .with_kind("agent")
            .with_grants(grants)
        )
        assignment = agent.JobAssignment(job=job, token=token.to_jwt())
        await self._send(worker_id, agent.ServerMessage(assignment=assignment))

    async def _send(self, worker_id: str, message: agent.ServerMessage) -> None:
        await self.workers[worker_id].send_bytes(message.SerializeToString())


def _registered(worker_id: str) -> agent.ServerMessage:
    message = agent.ServerMessage()
    message.register.worker_id = worker_id
    message.register.server_info.protocol = 16
    message.register.server_info.region = "local"
    return message
