"""What the forkserver imports for every job process: all that we need, and nothing but imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runguard_otel import instrumentor
from runguard_otel.adapters.livekit.facts.job import preload

pytestmark = pytest.mark.livekit


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_of_ours_is_left_to_import_in_a_job_process() -> None:
    """Fails if ``load`` forgets a module that ``instrument()`` needs."""
    left = run(
        "import sys, runguard_otel.preload\n"
        "before = set(sys.modules)\n"
        "import runguard_otel\n"
        "assert runguard_otel.instrument().active\n"
        "print(sorted(m for m in set(sys.modules) - before if m.startswith('runguard_otel')))"
    )
    assert left == "[]"


@pytest.mark.parametrize("journal", ["", "/nowhere/kept"])
def test_a_job_has_imported_what_its_settings_need_and_not_more(journal: str) -> None:
    """When a session starts, pydantic touches every module: each is a page of the job's own."""
    left = run(
        "import os, sys\n"
        f"os.environ['RUNGUARD_JOURNAL'] = {journal!r}\n"
        "import runguard_otel.preload\n"
        "before = set(sys.modules)\n"
        "import runguard_otel\n"
        "assert runguard_otel.instrument().active\n"
        "ours = {m[14:] for m in sys.modules if m.startswith('runguard_otel.')}\n"
        "left = sorted(ours - {m[14:] for m in before})\n"
        "rare = ('journal.taped', 'journal.book', 'telemetry.hub.tape', 'telemetry.hub.reader',"
        " 'telemetry.hub.aggregator', 'core.guards.presence', 'claims.redact',"
        " 'claims.registries.unavailable', 'notify', 'watch.service')\n"
        "print(left, *(m for m in rare if m in ours))"
    )
    kept = " journal.taped journal.book telemetry.hub.tape telemetry.hub.reader" if journal else ""
    assert left == f"[]{kept}"


AGENT = """
import multiprocessing, sys
before = set(sys.modules)
import runguard_otel
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.settings import Settings
assert runguard_otel.instrument().active
open_registry("", Settings.load())
LEFT = sorted(set(sys.modules) - before)

def job():
    print("left:", LEFT)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["livekit.agents.cli", "runguard_otel.preload"])
    process = context.Process(target=job)
    process.start()
    process.join()
"""


def test_a_job_that_claims_its_room_imports_nothing_of_anybodys(tmp_path: Path) -> None:
    """Fails if ``load`` forgets the driver of claims, or a job looks for what reloads workers.

    The agent's module runs in a job's process before that knows its parent.
    """
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT, encoding="utf-8")
    done = subprocess.run([sys.executable, agent], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "left: []"


def test_what_is_the_same_in_every_job_is_read_once() -> None:
    """A third of ``instrument()`` was the price book, and a tenth our version."""
    read = run(
        "import runguard_otel.preload\n"
        "from runguard_otel.cost import pricefile\n"
        "from runguard_otel.telemetry import providers\n"
        "print([f.cache_info().currsize for f in (pricefile.built_in, providers.version)])"
    )
    assert read == "[1, 1]"


def test_the_first_span_of_a_job_finds_all_it_needs_and_nothing_was_started_for_it() -> None:
    """On the loop of a call that would be what it waits for, at its very beginning."""
    left = run(
        "import os, sys, threading\n"
        "os.environ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "import runguard_otel.preload\n"
        "from runguard_otel.telemetry import export\n"
        "from runguard_otel.core.verdict import Outcome, Subject\n"
        "from runguard_otel.settings import Settings\n"
        "from runguard_otel.telemetry.build import build\n"
        "telemetry = build(Settings.load())\n"
        "telemetry.use_hub('/nowhere')\n"
        "assert threading.active_count() == 1\n"
        "before = set(sys.modules)\n"
        "export.resource = None  # the first span does not ask who exports\n"
        "telemetry.recorder.event('job_claim:acquired', Outcome.ALLOWED, Subject(job_id='AJ_1'))\n"
        "assert telemetry.tracers.own() is not None\n"
        "print(sorted(m for m in set(sys.modules) - before if m.startswith('runguard_otel')))"
    )
    assert left == "[]"


def test_preloading_opens_starts_and_patches_nothing() -> None:
    code = (
        "import os, sys, threading, livekit.agents, livekit.agents.ipc.job_proc_lazy_main\n"
        "from livekit import rtc\n"
        "state = lambda: (threading.active_count(), len(os.listdir('/proc/self/fd')),"
        " rtc.Room.connect, os.listdir('/proc/self/task').__len__())\n"
        "before = state()\n"
        "import runguard_otel.preload\n"
        "from opentelemetry import metrics, trace\n"
        "print(before == state(), type(trace.get_tracer_provider()).__name__,"
        " 'grpc' in sys.modules)"
    )
    assert run(code) == "True ProxyTracerProvider False"


def test_a_package_that_cannot_be_imported_leaves_the_forkserver_alone() -> None:
    """Multiprocessing catches only ``ImportError``: any other one would end the forkserver."""
    code = (
        "import sys, runguard_otel.instrumentor as i\n"
        "def load(): raise RuntimeError('broken')\n"
        "i.load = load\n"
        "import runguard_otel.preload\n"
        "print('up')"
    )
    assert run(code) == "up"


def test_a_server_that_cannot_preload_is_left_as_it_is() -> None:
    class Server:
        pass

    server = Server()
    preload(server, "runguard_otel.preload")
    assert vars(server) == {}
    server._preload_modules = ["mine"]  # type: ignore[attr-defined]
    for _ in range(2):
        preload(server, "runguard_otel.preload")
    assert server._preload_modules == ["mine", "runguard_otel.preload"]  # type: ignore[attr-defined]
    assert callable(instrumentor.load)
