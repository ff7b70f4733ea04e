"""Real job processes, a real worker: what they kept is in its files, also what they kept last."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest

from runguard_otel.core.verdict import Outcome, Subject
from runguard_otel.journal.build import journal_of
from runguard_otel.journal.reading import find
from runguard_otel.journal.replay import replay
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from tests.kit.journals import random_call

pytestmark = pytest.mark.chain

LINES = 300


def run_job(address: str, folder: str, number: int) -> None:
    """One job: a random call, on its own clock; then SIGKILL right after the last line."""
    settings = Settings.load(journal=folder, session_overrun_session_seconds=900)
    telemetry = build(settings)
    telemetry.use_hub(address)
    job = f"AJ_{number}"
    telemetry.job_started(job)
    kept = journal_of(settings, telemetry, lambda: job, lambda: "support")

    class Here:
        now, subject = 1000.0, Subject(room="Room-Of-Ada", participant="Ada", job_id=job)
        policies, settings = kept.policies, kept.policies.settings

        def clock(self) -> float:
            return self.now

    random_call(Here(), random.Random(number))  # type: ignore[arg-type]  # all it needs of a desk
    for n in range(LINES):
        kept.recorder.event(
            "vad_misfire:echo", Outcome.SUPPRESSED, Here.subject, attributes={"runguard.reason": n}
        )
    os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_that_was_kept_is_lost_when_its_process_is_killed(tmp_path: Path) -> None:
    """Fails if the tape is not read once more at the end of its job (``last=True``)."""
    settings = Settings.load(journal=str(tmp_path))
    worker = build(settings)
    kept = journal_of(settings, worker, lambda: "", lambda: "support")
    worker.start_worker("support")
    assert worker.hub_address is not None
    jobs = 6
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=run_job, args=(worker.hub_address, str(tmp_path), n))
        for n in range(jobs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    worker.stop_worker()
    kept.close()
    histories = find([tmp_path])
    assert sorted(history.job for history in histories) == [f"AJ_{n}" for n in range(jobs)]
    for history in histories:
        rows = list(history.rows())
        events = [row for row in rows if row["e"] == "event"]
        assert [row.get("reason", 0) for row in events[-LINES:]] == list(range(LINES))
        assert rows[-1]["e"] == "end" and rows[-1]["outcome"] == "killed"
        assert replay(history).same
        text = b"".join(part.read_bytes() for part in history.parts).decode()
        assert "Ada" not in text, "no names"
        assert json.loads(text.partition("\n")[0])["schema"] == 1
