"""The hub: what an event costs the job, how many the worker sustains, and whether it is in the way.

The worker counts in the SDK with exemplars, exactly as in production; the writers are processes of
their own, so that the worker's process and its CPU time are the hub's alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import statistics
import threading
import time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from bench.harness import Result
from runguard_otel.settings import Settings
from runguard_otel.telemetry import wire
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.client import HubSink
from runguard_otel.telemetry.hub import CHUNK
from runguard_otel.telemetry.ledger import Account, Ledger

WRITERS = 3
LABELS = [
    {"signature": s, "outcome": "allowed", "agent": "support"}
    for s in ("room_reconnect", "vad_misfire:echo", "job_claim:renewed", "track_subscribe")
]


def run(soak: bool) -> list[Result]:
    events = 1_000_000 if soak else 200_000
    cost = statistics.median(_cost_in_the_job(20_000) for _ in range(5))
    rate, held, grown, exact = _worker(events)
    return [
        Result("hub: CPU per event in the job", cost, 15, "us", note="with a span, paced"),
        Result(
            "hub: events per CPU second of the worker",
            rate,
            30_000,
            "/s",
            at_least=True,
            note=f"{events} events from {WRITERS} processes, each with a span; counted {exact}",
        ),
        Result(
            "hub: longest stretch without letting the GIL go",
            _longest_stretch(),
            5,
            "ms",
            note="CPU of counting one full read, the worst of 2000; what a loop can wait for us",
        ),
        Result(
            "hub: worker's event loop, lateness added",
            held[0],
            5,
            "ms",
            note=f"99th percentile of a 2 ms timer, {held[1]:.1f} ms with the same writer writing "
            "to another worker",
        ),
        Result("hub: memory grown by those events", grown, 2, "MiB", note="after the first tenth"),
    ]


def _cost_in_the_job(events: int) -> float:
    """CPU microseconds of this thread per event, with the hub's thread in another process."""
    parent, child = multiprocessing.get_context("spawn").Pipe()
    hub = multiprocessing.get_context("spawn").Process(target=_hub_process, args=(child,))
    hub.start()
    sink = HubSink(parent.recv())
    sink.start()
    span = TracerProvider().get_tracer("bench").start_span("turn")
    context = set_span_in_context(span)
    spent = 0.0
    for first in range(0, events, 100):
        begin = time.thread_time()
        for n in range(first, first + 100):
            sink.add("runguard.signatures", 1, LABELS[n % 4], context)
        spent += time.thread_time() - begin
        sink.flush(5)  # events do not come faster than the worker reads, except in a bench
    sink.close()
    parent.send("stop")
    hub.join()
    return spent / events * 1e6


def _hub_process(pipe: Any) -> None:
    telemetry = _telemetry()
    pipe.send(telemetry.hub_address)
    pipe.recv()
    telemetry.shutdown()


def _telemetry() -> Telemetry:
    telemetry = build(Settings.load(metrics_port=9464), agent_name=lambda: "support")
    telemetry.start_worker("support")
    return telemetry


def _write(address: str, events: int) -> None:
    sink = HubSink(address)
    sink.start()
    span = TracerProvider().get_tracer("bench").start_span("turn")
    context = set_span_in_context(span)
    for n in range(events):
        sink.add("runguard.signatures", 1, LABELS[n % 4], context)
        if n % 100 == 99:
            sink.flush(30)  # nothing may be dropped: this measures counting, not dropping
    sink.end("clean")
    sink.flush(30)
    os._exit(0)


def _longest_stretch() -> float:
    """Milliseconds of CPU for one read's worth of records, all of different traces."""
    telemetry = build(Settings.load(metrics_port=9464))
    telemetry.start_worker("support", listen=False)
    ledger, account = Ledger(telemetry.sink), Account()
    series = [wire.encode_series("runguard.signatures", labels) for labels in LABELS]
    records = [wire.encode_count(1, os.urandom(24) + b"\x01", series[n % 4]) for n in range(1000)]
    read = b"".join(records)[:CHUNK]
    worst = 0.0
    for _ in range(2000):
        begin = time.thread_time()
        ledger.read(account, read)
        worst = max(worst, time.thread_time() - begin)
        account.rest = b""
    telemetry.shutdown()
    return worst * 1000


def _worker(events: int) -> tuple[float, tuple[float, float], float, str]:
    """Events per CPU second, lateness of the loop added and without (ms), MiB grown, the count."""
    telemetry = _telemetry()
    address = telemetry.hub_address
    assert address is not None
    few, many = events // 10, events // WRITERS
    _storm(address, few, writers=1)
    before = _rss_mib()
    begin = time.process_time()
    _storm(address, many, writers=WRITERS)
    spent = time.process_time() - begin
    grown = _rss_mib() - before
    with_hub, without = _lateness(address, many)
    counted = _counted(telemetry)
    telemetry.shutdown()
    wanted = few + many * (WRITERS + 1)
    exact = "exactly" if counted == wanted else f"{counted:.0f} OF {wanted}"
    assert counted == wanted, exact
    return events / spent, (max(0.0, with_hub - without), without), grown, exact


def _lateness(address: str, events: int) -> tuple[float, float]:
    """99th percentile of a timer's lateness (ms), this process counting and another one counting.

    One writer: more writers than cores would make any process late.
    """
    parent, child = multiprocessing.get_context("spawn").Pipe()
    other = multiprocessing.get_context("spawn").Process(target=_hub_process, args=(child,))
    other.start()
    found = []
    for target in (address, parent.recv()):
        late: list[float] = []
        stop = threading.Event()
        loop = threading.Thread(target=_run_loop, args=(late, stop))
        loop.start()
        _storm(target, events, writers=1)
        stop.set()
        loop.join()
        found.append(statistics.quantiles(late, n=100)[-1])
    parent.send("stop")
    other.join()
    return found[0], found[1]


def _run_loop(late: list[float], stop: threading.Event) -> None:
    asyncio.run(_watch_loop(late, stop))


async def _watch_loop(late: list[float], stop: threading.Event) -> None:
    """An idle event loop that wakes every 2 ms and notes how late it was."""
    while not stop.is_set():
        begin = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - begin - 0.002) * 1000)


def _storm(address: str, events: int, writers: int) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_write, args=(address, events)) for _ in range(writers)]
    for writer in started:
        writer.start()
    for writer in started:
        writer.join()
    time.sleep(0.2)  # the last of it is in the socket, not yet in the counter


def _rss_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def _counted(telemetry: Telemetry) -> float:
    import urllib.request

    assert telemetry.metrics_url is not None
    with urllib.request.urlopen(telemetry.metrics_url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    name = "runguard_signatures_total{"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
