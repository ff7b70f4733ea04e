"""Job processes for the hub: real, short-lived, a third of them killed after their last event.

Every guard acts in them, so that every outcome can happen; their worker must be set to the same.
They are forked from a fork server that has imported this module, as LiveKit's are.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from opentelemetry.sdk.trace import TracerProvider

from runguard_otel.core.signatures import SIGNATURES
from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.catalogue.zero import possible_outcomes

AGENT = "support"
_CHOICES = [(s, o) for s in SIGNATURES for o in possible_outcomes(s) if o != "observed"]


@dataclass(frozen=True)
class Job:
    """What one process does.

    Args:
        number: Its number; also the seed of what it emits, and part of its room's name.
        events: How many signature events it emits.
        seconds: How long it lives.
        killed: Whether it SIGKILLs itself right after its last event, without a goodbye.
    """

    number: int
    events: int
    seconds: float
    killed: bool


def plan(jobs: int, events: int, seconds: tuple[float, float], seed: int = 7) -> list[Job]:
    """``jobs`` jobs with ``events`` each, every third one killed."""
    rng = random.Random(seed)
    return [Job(n, events, rng.uniform(*seconds), n % 3 == 0) for n in range(jobs)]


def emitted(job: Job) -> list[tuple[str, str]]:
    """The signature events of a job, in order."""
    rng = random.Random(job.number)
    return [rng.choice(_CHOICES) for _ in range(job.events)]


def run_job(address: str, job: Job) -> None:
    """The process."""
    telemetry = build(
        Settings.load(session_overrun_mode="enforce"),
        tracer_provider=TracerProvider(),
        agent_name=lambda: AGENT,
    )
    telemetry.use_hub(address)
    telemetry.job_started()
    recorder = telemetry.recorder
    recorder.guard_opened("room_reconnect")
    subject = Subject(room=f"Room-Of-{job.number}", participant=f"caller-{job.number}")
    for signature, outcome in emitted(job):
        time.sleep(job.seconds / job.events)
        recorder.event(signature, Outcome(outcome), subject)
    if job.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    telemetry.job_ended("", "clean")
    telemetry.flush(2.0)
    os._exit(0)


def run_jobs(address: str, jobs: list[Job], parallel: int) -> None:
    """Run all jobs, at most ``parallel`` at a time, and wait for them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kit.hub_jobs"])
    running: list[BaseProcess] = []
    for job in jobs:
        while len(running) >= parallel:
            running[0].join(0.02)
            running = [p for p in running if p.is_alive()]
        process: BaseProcess = context.Process(target=run_job, args=(address, job), daemon=True)
        process.start()
        running.append(process)
    for process in running:
        process.join()
