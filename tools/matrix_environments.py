"""One environment per supported livekit-agents, from ``requirements/matrix/agents-*.txt``.

Kept in ``.cache/matrix`` and made anew when its lock file changes. The newest release has none: it
is the one of ``.venv``, locked in ``requirements/dev.txt``, hashes included. The older ones name
every package with its version, and nothing else is installed: the same versions next year, in a
thirtieth of the lines that their hashes would take.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["CACHE", "ROOT", "InstallFailed", "environment", "newest", "prepared", "releases"]

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = ROOT / "requirements" / "matrix"
CACHE: Final = ROOT / ".cache" / "matrix"
UV: Final = Path(sys.executable).with_name("uv")

ADVICE: Final = """\
What is locked in {lock} cannot be installed.
Without network, or with a registry that is down, try again later. If a release has vanished:
  of livekit-agents itself: rename agents-{version}.in and .txt to the newest release of that minor,
                            change the version in the .in, then `make lock`, `make test-matrix`
  of anything else:         delete {lock}, then `make lock`, `make test-matrix`
and commit what has changed. uv says:
{said}"""


class InstallFailed(Exception):
    """An environment could not be made; the text says what to do."""


def newest() -> str:
    """The release of ``.venv``."""
    for line in (ROOT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == "livekit-agents":
            return version.strip()
    raise LookupError("requirements/dev.in pins no livekit-agents")


def releases() -> list[str]:
    """Every supported release, oldest first."""
    locked = [path.stem.removeprefix("agents-") for path in LOCKS.glob("agents-*.txt")]
    return sorted([*locked, newest()], key=lambda v: [int(part) for part in v.split(".")])


def environment(version: str) -> Path:
    """The Python that has ``version``; its environment is made when missing or outdated.

    Raises:
        InstallFailed: If it cannot be made.
    """
    if version == newest():
        return Path(sys.executable)
    return prepared(
        LOCKS / f"agents-{version}.txt", CACHE / version, ADVICE.replace("{version}", version)
    )


def prepared(lock: Path, where: Path, advice: str = "{lock} cannot be installed. {said}") -> Path:
    """The Python of an environment that has what a lock file names; made when missing or outdated.

    Args:
        lock: Every package with its version.
        where: The environment's folder.
        advice: What to say if it cannot be made, with ``{lock}`` and ``{said}``.

    Raises:
        InstallFailed: If it cannot be made.
    """
    stamp, wanted = where / ".lock", hashlib.sha256(lock.read_bytes()).hexdigest()
    python = where / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(where, ignore_errors=True)
    into = ("--quiet", "--python", str(python))
    for command in (
        ("venv", "--quiet", "--python", sys.executable, str(where)),
        ("pip", "install", *into, "--no-deps", "-r", str(lock)),
        ("pip", "install", *into, "--no-deps", "--no-build-isolation", "-e", str(ROOT)),
    ):
        done = subprocess.run(
            [str(UV), *command], check=False, cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            said = done.stderr.strip()
            raise InstallFailed(advice.format(lock=lock.relative_to(ROOT), said=said))
    # As pip does it and uv does not; what is no Python in there does not compile, which is right.
    compiled = (str(python), "-m", "compileall", "-q", "-j", "0", str(where / "lib"))
    subprocess.run(compiled, check=False, capture_output=True)
    stamp.write_text(wanted)
    return python
