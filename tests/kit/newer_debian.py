"""Programs that Debian has in a newer release than this one, unpacked beside the system.

apt fetches them with a state directory of its own, so the system's package lists and packages stay
as they are; nothing is installed and nothing of theirs runs but the program.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.kit.process import NotInstalled

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class NotReachable(NotInstalled):
    """Debian's mirror did not answer."""


def program(package: str, path: str, suite: str = "trixie") -> Path:
    """A program of a package of ``suite``, fetched on first use.

    Args:
        package: The Debian package.
        path: Where the program is in it, without the leading slash.
        suite: The release.

    Raises:
        NotReachable: If the mirror does not answer.
        NotInstalled: If it cannot be had for another reason; says why.
    """
    found = CACHE / suite / package / path
    if found.exists():
        return found
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotInstalled(f"{package} of Debian {suite} needs apt-get and dpkg-deb")
    state = CACHE / suite / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": "20",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",  # by default apt shrugs at a dead mirror
    }
    apt = ["apt-get", "-q", *(word for k, v in options.items() for word in ("-o", f"{k}={v}"))]
    try:
        _run([*apt, "update"], state)
    except NotInstalled as error:
        raise NotReachable(str(error)) from error
    _run([*apt, "download", package], state)
    (deb,) = state.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "-x", str(deb), str(CACHE / suite / package)], state)
    deb.unlink()
    return found


def _mirror() -> str:
    """The mirror this machine itself is set up with (the one that is not for security updates)."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    for uri in done.stdout.split():
        if "security" not in uri:
            return uri
    raise NotInstalled("apt knows no mirror: run apt-get update once")


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NotInstalled(f"{command[0]} {command[-1]} failed: {' '.join(last)}")
