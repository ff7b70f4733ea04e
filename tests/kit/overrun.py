"""A stage for the guard of overruns: real rooms and sessions, its clock, and the job that runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from livekit import rtc
from livekit.agents import stt

from runguard_otel.adapters.livekit.facts import job as job_facts
from runguard_otel.adapters.livekit.overrun.guard import OverrunGuard
from runguard_otel.adapters.livekit.overrun.hooks import rows
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.core.ports import Lifecycle
from runguard_otel.core.verdict import Clock, Mode
from runguard_otel.settings import Settings
from runguard_otel.testing.ffi import StageServer
from tests.kit.recorder import MemoryRecorder

retries_for_ever = pytest.mark.skipif(
    "_conn_options.timeout" not in inspect.getsource(stt.RecognizeStream._main_task),
    reason="before 1.8 an attempt that lived does not restart the budget of retries",
)


class Ended:
    """A ``Lifecycle`` that remembers whether the process was to be ended."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def end_process(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def flush(self, timeout: float = 2.0) -> bool:
        return True

    def begin_period(self, kind: str, attributes: Mapping[str, str]) -> None:
        """There is no worker."""


class Stage:
    """The guard over a stage, its clock, and the job that runs."""

    def __init__(
        self, server: StageServer, mode: Mode, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.server = server
        self.now = 1000.0
        self.recorder = MemoryRecorder()
        self.lifecycle = Ended()
        lifecycle: Lifecycle = self.lifecycle  # type: ignore[assignment]
        self.services = Services(
            Settings.load(session_overrun_mode=mode, **settings),
            self.recorder,
            lifecycle=lifecycle,
        )
        self.guard = OverrunGuard(self.services, clock or (lambda: self.now))
        table = rows(self.services, self.guard)
        if job_facts.session_type() is not None:  # 0.12 has none
            from runguard_otel.adapters.livekit.misfire import hooks as speech

            table += speech.patches(self.services, lambda: self.now)
        self.patches = PatchSet(table)
        self.patches.install()
        self.asked: list[str] = []
        self.job = SimpleNamespace(
            job=SimpleNamespace(id="AJ_1", agent_name="support"),
            is_fake_job=lambda: False,
            shutdown=lambda reason="": self.asked.append(reason),
        )

    def wait(self, seconds: float) -> None:
        """Time passes, and the watch looks."""
        self.now += seconds
        self.guard.watchdog.step()

    @property
    def tripped(self) -> list[str]:
        """The signatures that have tripped, in order."""
        return [trip.signature for trip in self.recorder.trips]

    def alone(self) -> float:
        """How many jobs are alone, as the metric says."""
        return self.recorder.count("runguard.jobs.alone")


@contextmanager
def on_stage(
    mode: Mode = Mode.OBSERVE, clock: Clock | None = None, **settings: Any
) -> Iterator[Stage]:
    """A stage with the guard in ``mode``, by its own clock or that of a loop."""
    with StageServer() as server:
        made = Stage(server, mode, clock, **settings)
        try:
            with mock.patch.object(job_facts, "current_job", lambda: made.job):
                yield made
        finally:
            made.services.close()
            made.patches.undo()


async def connected(stage: Stage, name: str = "lobby") -> rtc.Room:
    """The job's connection to a room."""
    room = rtc.Room()
    await room.connect("ws://stage", stage.server.token(name, "agent"))
    await stage.server.settle()
    return room


async def come(stage: Stage, identity: str = "caller", name: str = "lobby") -> None:
    """A caller enters."""
    stage.server.join(name, identity)
    await stage.server.settle()


async def go(stage: Stage, identity: str = "caller", name: str = "lobby") -> None:
    """A caller leaves."""
    stage.server.leave(name, identity)
    await stage.server.settle()
