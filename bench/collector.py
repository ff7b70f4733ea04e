"""A dead, hung, slow or flapping collector must not be felt in a call: turns, interleaved.

Every block is a fresh ``AgentSession`` in a process that exports over OTLP/HTTP to an endpoint that
answers, refuses the connection, takes it and never answers, answers late, or fails every other
time; or that exports nothing. Each turn comes with a signature event, so that spans and counts do
wait for the exporters, which run twenty times as often as they do by default. So the median is
compared with exporting nothing, and the slowest turns (those that meet an export) with a healthy
collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from livekit.agents import Agent, AgentSession

import runguard_otel
from bench.harness import Result
from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.testing.models import ScriptedLLM

TURNS = 60
GOAL = 1.15
_FAST = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_METRIC_EXPORT_INTERVAL": "250",
    "OTEL_BSP_SCHEDULE_DELAY": "250",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
}


def run(soak: bool) -> list[Result]:
    rounds = 24 if soak else 8
    with ExitStack() as stack:
        endpoints = {
            "none": "",
            "alive": stack.enter_context(_answering()),
            "dead": stack.enter_context(_refusing()),
            "hung": stack.enter_context(_hung()),
            "slow": stack.enter_context(_answering(delay=1.0)),
            "back again": stack.enter_context(_answering(every=2)),
        }
        turns: dict[str, list[list[float]]] = {name: [] for name in endpoints}
        _block("")
        for n in range(rounds):
            names = list(endpoints)
            for name in names[n % len(names) :] + names[: n % len(names)]:
                turns[name].append(_block(endpoints[name]))
    return _results(turns)


def _results(turns: dict[str, list[list[float]]]) -> list[Result]:
    found = {name: [ms for block in blocks for ms in block] for name, blocks in turns.items()}
    medians = {name: [statistics.median(b) for b in blocks] for name, blocks in turns.items()}
    base, worst = statistics.median(found["none"]), {n: _p99(b) for n, b in turns.items()}
    halves = [_p99(turns["alive"][i::2]) for i in (0, 1)]
    noise = f"blocks without {min(medians['none']):.2f}..{max(medians['none']):.2f}"
    noise_99 = f"halves of alive {min(halves):.1f}, {max(halves):.1f}; without {worst['none']:.1f}"
    results = []
    for name in (n for n in found if n != "none"):
        middle = statistics.median(found[name])
        note = f"no exporter {base:.2f} -> {middle:.2f} ms, {len(found[name])} turns; {noise}"
        results.append(Result(f"collector {name}: median", middle / base, GOAL, "x", note=note))
        if name != "alive":
            ratio = worst[name] / worst["alive"]
            goal = max(GOAL, max(halves) / min(halves))  # what two halves of one thing differ by
            note = f"alive {worst['alive']:.1f} -> {worst[name]:.1f} ms; {noise_99}"
            results.append(Result(f"collector {name}: p99", ratio, goal, "x", note=note))
    return results


def _p99(blocks: list[list[float]]) -> float:
    """The median of the blocks' p99: what other processes do to single blocks is not meant."""
    return statistics.median(statistics.quantiles(block, n=100)[98] for block in blocks)


def _block(endpoint: str) -> list[float]:
    wanted = {**_FAST, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        guard = runguard_otel.instrument(claims_url="memory://", metrics_port=0)
        assert guard.active, "nothing is measured where nothing is patched"
        gc.collect()
        return asyncio.run(_turns(guard))
    finally:
        runguard_otel.uninstrument()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _turns(guard: Any) -> list[float]:
    recorder = guard._services.recorder
    session: AgentSession[Any] = AgentSession(llm=ScriptedLLM())
    await session.start(Agent(instructions="bench"))
    subject, samples = Subject(room="bench"), []
    for turn in range(TURNS + 2):
        start = time.perf_counter()
        recorder.event("room_reconnect", Outcome.ALLOWED, subject)
        await session.run(user_input=f"question {turn}")
        samples.append((time.perf_counter() - start) * 1e3)
        await asyncio.sleep(0.005)  # room for the exporters' threads, as in a call
    await session.aclose()
    return samples[2:]  # the first ones load the exporters, with and without a collector


@contextlib.contextmanager
def _answering(delay: float = 0.0, every: int = 1) -> Iterator[str]:
    """Answers after ``delay`` seconds, and only every so many requests with success."""
    count = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(delay)
            self.send_response(503 if next(count) % every else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def _refusing() -> Iterator[str]:
    with socket.socket() as taken:  # bound and never listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def _hung() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"  # the kernel accepts, nobody reads
