"""Run the LiveKit suites on every supported livekit-agents and write ``docs/compatibility.md``.

One environment per lock file ``requirements/matrix/agents-1.*.txt``, kept in ``.cache/matrix`` and
made anew when its lock file changes. The release of ``.venv`` is probed too; ``make test`` runs the
suites on it. The table is written only when no test failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.compatibility_doc import DOC, render, states  # noqa: E402 - after the path is set

LOCKS = ROOT / "requirements" / "matrix"
CACHE = ROOT / ".cache" / "matrix"
UV = Path(sys.executable).with_name("uv")
SUITES = ("tests/livekit", "tests/host_contract")
MINUTES = 10
OURS = ("LIVEKIT_", "RUNGUARD_", "OTEL_", "VIRTUAL_ENV")


@dataclass
class Result:
    """What one host version gave."""

    version: str
    seconds: float = 0.0
    passed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    probe: dict[str, Any] = field(default_factory=dict)


def environment(lock: Path) -> Path:
    """The Python of the environment for ``lock``; built when it is missing or outdated."""
    where = CACHE / lock.stem.removeprefix("agents-")
    stamp, wanted = where / ".lock", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = where / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(where, ignore_errors=True)
    into = ("--quiet", "--python", str(python))
    for command in (
        ("venv", "--quiet", "--python", sys.executable, str(where)),
        ("pip", "install", *into, "--require-hashes", "-r", str(lock)),
        ("pip", "install", *into, "--no-deps", "--no-build-isolation", "-e", str(ROOT)),
    ):
        subprocess.run([str(UV), *command], check=True, cwd=ROOT)
    stamp.write_text(wanted)
    return python


def probe(python: Path | str) -> dict[str, Any]:
    """See ``tools/matrix_probe.py``."""
    out = subprocess.run(
        [str(python), "tools/matrix_probe.py"],
        cwd=ROOT,
        env=_clean(),
        capture_output=True,
        text=True,
        check=True,
        timeout=MINUTES * 60,
    )
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return found


def run(lock: Path) -> Result:
    """Suites and probe of one version."""
    result = Result(lock.stem.removeprefix("agents-"))
    python, started = environment(lock), time.monotonic()
    report, log = CACHE / f"{result.version}.xml", CACHE / f"{result.version}.log"
    units = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tests/unit").glob("test_*guard*.py"))
    report.unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as out:
        subprocess.run(
            [str(python), "-m", "pytest", "-q", f"--junitxml={report}", *SUITES, *units],
            cwd=ROOT,
            env=_clean(),
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=MINUTES * 60,
            check=False,
        )
    _read(report, result)
    result.probe = probe(python)
    if result.probe["version"] != result.version:
        result.failed.append(f"the environment holds {result.probe['version']}")
    result.seconds = time.monotonic() - started
    return result


def main() -> int:
    """Run, print a summary, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help="only these; then no table is written")
    parser.add_argument("--jobs", type=int, default=4, help="versions at a time")
    options = parser.parse_args()
    locks = sorted(LOCKS.glob("agents-1.*.txt"), key=_order)
    if options.versions:
        locks = [lock for lock in locks if lock.stem.removeprefix("agents-") in options.versions]
    for lock in locks:  # one after the other: uv is parallel itself
        environment(lock)
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(run, locks))
    print(f"{'livekit-agents':<16}{'passed':>8}{'skipped':>9}{'failed':>8}{'seconds':>9}  guards")
    for result in results:
        skipped = sum(result.skipped.values())
        found = ", ".join(f"{g} {s}" for g, (s, _) in states(result.probe).items())
        print(
            f"{result.version:<16}{result.passed:>8}{skipped:>9}{len(result.failed):>8}"
            f"{result.seconds:>9.0f}  {found}"
        )
        for name in result.failed:
            print(f"  failed: {name} (see {(CACHE / result.version).relative_to(ROOT)}.log)")
    if any(result.failed or not result.passed for result in results):
        return 1
    if not options.versions:
        tested = [(r.probe, r.skipped) for r in results]
        DOC.write_text(render([*tested, (probe(sys.executable), {})]), encoding="utf-8")
        print(f"written: {DOC.relative_to(ROOT)}")
    return 0


def _read(report: Path, result: Result) -> None:
    if not report.exists():
        result.failed.append("pytest did not finish")
        return
    for case in ET.parse(report).getroot().iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif skipped is not None:
            reason = (skipped.get("message") or "").removeprefix("Skipped: ")
            if reason == "collection skipped":  # a whole module; the text says why
                reason = (skipped.text or reason).rpartition("Skipped: ")[2].rstrip("')")
            result.skipped[reason] = result.skipped.get(reason, 0) + 1
        else:
            result.passed += 1


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(OURS)}


def _order(lock: Path) -> list[int]:
    return [int(part) for part in lock.stem.removeprefix("agents-").split(".")]


if __name__ == "__main__":
    sys.exit(main())
