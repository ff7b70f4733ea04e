"""A worker process whose jobs reconnect in a loop; ``main`` takes a port as its argument.

It serves ``/metrics`` on that port (0: it pushes OTLP, if the environment says so). Each line on
its standard input, ``ROOMS RECONNECTS``, makes one storm: a job process per room, real guards in
them. It answers each with a line: the unix time of the first room's third reconnect.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.connection import Connection

from opentelemetry.sdk.trace import TracerProvider

from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject, Trip
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build

AGENT = "reservations"


def run_job(address: str, room: int, reconnects: int, third: Connection) -> None:
    """One call: joins its room, then again and again."""
    telemetry = build(Settings.load(), tracer_provider=TracerProvider(), agent_name=lambda: AGENT)
    telemetry.use_hub(address)
    telemetry.job_started()
    policy, subject = ReconnectPolicy(), Subject(room=f"Room-Of-{room}")
    mode = Settings.load().mode_of(GuardName.ROOM_RECONNECT)
    action = "refuse_connect" if mode is Mode.ENFORCE else "none"
    opened: list[Trip] = []
    for number in range(reconnects + 1):
        decision = policy.on_connect(subject, mode, action)
        if decision.signature:
            outcome = Outcome.of(decision.verdict, mode)
            telemetry.recorder.event(decision.signature, outcome, subject)
        if decision.trip is not None:
            opened.append(decision.trip)
            telemetry.recorder.guard_opened(*_loop(decision.trip))
            telemetry.recorder.trip(decision.trip)
        if number == 3:
            third.send(time.time())
        time.sleep(0.01)
    for trip in opened:
        telemetry.recorder.guard_closed(*_loop(trip))
    telemetry.job_ended("", "clean")
    telemetry.flush(2.0)


def _loop(trip: Trip) -> tuple[str, str, str]:
    return trip.guard, trip.signature, trip.mode


def main() -> None:
    """Serve storms until standard input ends."""
    telemetry = build(Settings.load(metrics_port=int(sys.argv[1])))
    telemetry.start_worker(AGENT)
    assert telemetry.hub_address is not None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kit.storm_worker"])
    print("ready", flush=True)
    for line in sys.stdin:
        rooms, reconnects = (int(word) for word in line.split())
        receive, send = context.Pipe(duplex=False)
        jobs = [
            context.Process(target=run_job, args=(telemetry.hub_address, n, reconnects, send))
            for n in range(rooms)
        ]
        for job in jobs:
            job.start()
        print(receive.recv(), flush=True)
        for job in jobs:
            job.join()
    telemetry.shutdown()
