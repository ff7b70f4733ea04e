"""Which suites a livekit-agents release has to pass, and running them in its environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tools.matrix_environments import CACHE, ROOT, InstallFailed, environment

__all__ = ["Result", "examine", "suites"]

GUARDS: Final = (
    "tests/livekit/test_facts_*.py",
    "tests/livekit/test_speech_paths*.py",
    "tests/livekit/test_speech_table*.py",
    "tests/livekit/test_dispatch_*.py",
    "tests/livekit/test_room_*.py",
    "tests/livekit/test_tracks_*.py",
    "tests/host_contract",
)
"""What says whether each guard works on a release, and whether the host is safe from us."""

ALL: Final = ("tests/livekit", "tests/host_contract")

OF_0_12: Final = (
    "tests/livekit_v0",
    "tests/livekit/test_facts_*.py",
    "tests/livekit/test_room_*.py",
    "tests/livekit/test_tracks_*.py",
    "tests/host_contract/test_patching*.py",
)
"""0.12 has no sessions: its own suites, and those that need no more than rooms and streams."""

NOT_OF_0_12: Final = frozenset(
    {"test_facts_turn.py", "test_room_jobs.py", "test_tracks_sessions.py"}
)
"""They need ``AgentServer`` or ``AgentSession``."""

SECONDS: Final = 3600
"""A release that takes longer hangs: the slowest takes two minutes, eight on a slow machine."""

OURS: Final = ("LIVEKIT_", "RUNGUARD_", "OTEL_", "VIRTUAL_ENV")


@dataclass
class Result:
    """What one release gave."""

    version: str
    complete: bool
    """Whether all its suites ran, not just those that say whether the guards work."""
    seconds: float = 0.0
    passed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    probe: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether everything ran and nothing failed."""
        return bool(self.passed and self.probe and not self.failed)


def suites(version: str, complete: bool) -> list[str]:
    """The paths that pytest gets. A pattern that fits nothing stays, and pytest refuses it.

    Args:
        version: The release.
        complete: All of its suites; always so for 0.12, which has few.
    """
    old = version.startswith("0.")
    patterns = OF_0_12 if old else ALL if complete else GUARDS
    paths = [(sorted(ROOT.glob(pattern)) or [ROOT / pattern]) for pattern in patterns]
    unfit = NOT_OF_0_12 if old else frozenset()
    return [str(path) for found in paths for path in found if path.name not in unfit]


def examine(version: str, *, complete: bool, seconds: float = SECONDS) -> Result:
    """Run the suites and the probe on one release. Whatever goes wrong is in the result.

    Args:
        version: The release.
        complete: See :func:`suites`.
        seconds: When to give up, for the suites and for the probe.
    """
    result, started = Result(version, complete), time.monotonic()
    try:
        python = environment(version)
    except InstallFailed as failure:
        result.failed.append(str(failure))
        return result
    report, log = CACHE / f"{version}.xml", CACHE / f"{version}.log"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-v", f"--junitxml={report}"]
    ended = _run([*command, *suites(version, complete)], log, seconds)
    if ended is None:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if "::" in line), "no test")
        result.failed.append(f"hung, ended after {seconds:g} s in {last.strip()} (see {log.name})")
    elif ended not in (0, 1) or not report.exists():  # a crash, a wrong path, nothing collected
        result.failed.append(f"pytest ended with status {ended} (see {log.name})")
    else:
        read(report, result)
    _probe(python, result, seconds)
    result.seconds = time.monotonic() - started
    return result


def read(report: Path, result: Result) -> None:
    """Add what pytest's XML report says."""
    for case in ET.parse(report).getroot().iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif skipped is not None:
            reason = (skipped.get("message") or "").removeprefix("Skipped: ")
            if reason == "collection skipped":  # a whole module; the text says why
                reason = (skipped.text or reason).rpartition("Skipped: ")[2].removesuffix(")")[:-1]
            result.skipped[reason] = result.skipped.get(reason, 0) + 1
        else:
            result.passed += 1


def _probe(python: Path, result: Result, seconds: float) -> None:
    """See ``tools/matrix_probe.py``."""
    log = CACHE / f"{result.version}.probe.log"
    found = CACHE / f"{result.version}.probe.json"
    found.unlink(missing_ok=True)
    ended = _run([str(python), "tools/matrix_probe.py", str(found)], log, seconds)
    if ended != 0 or not found.exists():
        why = f"hangs: ended after {seconds:g} s" if ended is None else "failed"
        result.failed.append(f"the probe {why} (see {log.name})")
        return
    result.probe = json.loads(found.read_text(encoding="utf-8"))
    if result.probe["version"] != result.version:
        result.failed.append(f"the environment holds {result.probe['version']}")


def _run(command: list[str], log: Path, seconds: float) -> int | None:
    """Its exit status; ``None`` if it had to be killed, with all processes it started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    with log.open("w", encoding="utf-8") as out:
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return None
        except BaseException:  # Ctrl-C: nothing of ours stays behind
            os.killpg(running.pid, signal.SIGKILL)
            raise
