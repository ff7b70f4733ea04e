"""Which code a probe runs: the working tree, or the build that ratios are given to."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASELINE = "1f0ba09"
"""The last build before counts went into shared memory; `git archive` takes it from the history."""


@dataclass(frozen=True)
class Build:
    """Code to measure.

    Args:
        name: For the table.
        folder: Where ``runguard_otel`` is.
        python: The interpreter, with what it needs installed.
        variables: What its processes have in their environment besides ours.
    """

    name: str
    folder: Path
    python: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """For its processes: this build's package, and the probes of the working tree."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))}
        return {**clean, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}", **self.variables}


def now() -> Build:
    """The working tree."""
    return Build("now", ROOT)


def before() -> Build | None:
    """The baseline, or ``None`` where the history does not reach back to it."""
    folder = ROOT / ".cache" / "bench" / BASELINE
    if not (folder / "runguard_otel").exists():
        archive = ["git", "-C", str(ROOT), "archive", BASELINE, "runguard_otel"]
        made = subprocess.run(archive, capture_output=True)
        if made.returncode:
            print(f"left out: no commit {BASELINE} in this clone to compare with")
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(made.stdout)) as files:
            files.extractall(folder, filter="data")
    return Build(f"before ({BASELINE})", folder)


_CPU_OF_A_PROCESS = 2
"""CPUCLOCK_SCHED of linux/posix-timers.h, which makes a clock of a process id."""


class Probe:
    """A program of ``bench.probes`` in a process of its own, and the pipe to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.hear()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> float:
        """Milliseconds of user and system CPU so far, which the process itself is not asked for."""
        return time.clock_gettime(~self.pid << 3 | _CPU_OF_A_PROCESS) * 1e3

    def say(self, name: str, /, **arguments: Any) -> None:
        """Ask without waiting; :meth:`hear` has the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a probe ended: {self._process.args!r}")
        return json.loads(line)

    def ask(self, name: str, /, **arguments: Any) -> Any:
        self.say(name, **arguments)
        return self.hear()


@contextmanager
def probe(build: Build, program: str, *words: str, under: tuple[str, ...] = ()) -> Iterator[Probe]:
    """Run ``bench/probes/<program>.py`` with a build, and under another program if one is given.

    By its path, not with ``-m``: that would put the working tree ahead of the build.
    """
    pipe = subprocess.PIPE
    path = ROOT / "bench" / "probes" / f"{program}.py"
    command = [*under, build.python, str(path), *words]
    environment = {**build.environment(), "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(
        command, env=environment, cwd="/", stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield Probe(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
