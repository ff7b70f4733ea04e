"""Whether what would be uploaded is whole: built, installed in a bare environment, and looked at.

Builds sdist and wheel, builds the wheel once more from the sdist, installs it without LiveKit and
asks for what must work there; then with it (``distributions/runguard-otel``), with the versions
that an index gives today, asks it for its version, its hooks and its exports, runs the tests that
docs/testing.md shows, and lists the licence of everything that came with it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import tomllib

ROOT: Final = Path(__file__).resolve().parents[1]
WHOLE: Final = ROOT / "distributions" / "runguard-otel"
UV: Final = Path(sys.executable).with_name("uv")
STRONG_COPYLEFT: Final = re.compile(
    r"\b(?<!L)A?GPL|AFFERO|(?<!LESSER )GENERAL PUBLIC", re.IGNORECASE
)
"""What a package under Apache-2.0 may not pull into its users' programs unasked."""
MUST_SHIP: Final = (
    "runguard_otel/py.typed",
    "runguard_otel/_shipped/alerts/generated/alerts.yml",
    "runguard_otel/_shipped/alerts/runbooks/RunguardReconnectLoop.md",
    "runguard_otel/_shipped/docker-compose.yml",
)

_LICENCES: Final = """
import json
from importlib import metadata
found = {}
for one in metadata.distributions():
    said = one.metadata
    classes = [c for c in said.get_all("Classifier") or () if c.startswith("License ::")]
    classes = [c.rpartition(" :: ")[2] for c in classes]
    words = said.get("License-Expression") or "; ".join(classes) or said.get("License") or ""
    found[said["Name"]] = [one.version, words.strip().split("\\n")[0][:60]]
print(json.dumps(found))
"""
_PUBLIC: Final = """
import runguard_otel
for name in runguard_otel.__all__:
    getattr(runguard_otel, name)
print(len(runguard_otel.__all__), "public names")
"""


_LEAN: Final = """
import asyncio, importlib.util
try:
    found = importlib.util.find_spec("livekit.agents")
except ModuleNotFoundError:
    found = None
assert found is None, "livekit-agents came along"
from runguard_otel import *
import runguard_otel.watch
guard = RoomReconnectGuard("a")
try:
    for _ in range(9): guard.check()
except LoopDetectedError as error:
    print(error)
else:
    raise SystemExit("nothing was refused")
assert VADMisfireGuard().on_stt_result("a table for two", 0.9)
assert TrackSubscriptionGuard().on_subscribe("PA_1")
async def claim():
    async with JobDispatchGuard("a", "worker-1"): pass
asyncio.run(claim())
"""


class NotReady(Exception):
    """The release would be broken; the text says how."""


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotReady(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def tracked(folder: str) -> set[str]:
    """The files that git knows below a folder of the checkout."""
    return set(run("git", "ls-files", folder, cwd=ROOT).splitlines())


def build(source: Path, kind: str, into: Path) -> Path:
    """Build ``sdist`` or ``wheel`` from a source tree; its file."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into, cwd=source)
    (made,) = into.iterdir()
    return made


def wheel_faults(names: Iterable[str], sources: set[str]) -> Iterator[str]:
    """What is wrong with the list of files in a wheel.

    Args:
        names: Every path in it.
        sources: Every tracked path of the package.
    """
    inside = {name for name in names if not name.endswith("/")}
    own = {name for name in inside if not name.split("/")[0].endswith(".dist-info")}
    yield from (f"{name} is missing" for name in sorted((sources | set(MUST_SHIP)) - own))
    for name in sorted(own):
        if not name.startswith("runguard_otel/"):
            yield f"{name} would be installed beside the package"
        elif name not in sources and not name.startswith("runguard_otel/_shipped/"):
            yield f"{name} is in no commit"
        elif "/secrets/" in name and Path(name).name not in {"README.md", ".gitignore"}:
            yield f"{name} may be a secret"


def examples_of_the_page(into: Path) -> list[Path]:
    """Write each block of Python in docs/testing.md to a file that pytest runs; the files."""
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    made = []
    for n, block in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL), 1):
        made.append(into / f"test_page_{n}.py")
        made[-1].write_text(block, encoding="utf-8")
    return made


def copyleft(licences: dict[str, tuple[str, str]]) -> list[str]:
    """The packages whose licence reaches the program that imports them."""
    return [
        f"{n} {v}: {words}" for n, (v, words) in licences.items() if STRONG_COPYLEFT.search(words)
    ]


def lean(folder: Path, wheel: Path) -> None:
    """Without livekit-agents: what is promised to work there.

    Args:
        folder: Where to work.
        wheel: Of ``runguard-otel-core``.

    Raises:
        NotReady: If something does not, or a dependency brings livekit-agents after all.
    """
    print("installing runguard-otel-core alone ...", flush=True)
    python = folder / "lean" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "lean", cwd=folder)
    run(UV, "pip", "install", "--quiet", "--python", python, wheel, cwd=folder)
    run(python, "-c", _LEAN, cwd=folder)
    command = python.with_name("runguard-otel")
    run(command, "doctor", cwd=folder)
    run(command, "export", "alerts", folder / "lean-alerts", cwd=folder)
    run(command, "cost", "estimate", "--loop", "reconnect", "--json", cwd=folder)
    for what in ("watch", "preview", "claims", "demo"):
        run(command, what, "--help", cwd=folder)
    print("  no livekit-agents; guards, doctor, export, cost, watch and preview work")


def check(folder: Path) -> None:
    """Go through all of it, saying what is done.

    Raises:
        NotReady: At the first thing that would be broken.
    """
    print("building sdist and wheel ...", flush=True)
    sdist = build(ROOT, "sdist", folder / "sdist")
    wheel = build(ROOT, "wheel", folder / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    faults = list(wheel_faults(names, tracked("runguard_otel")))
    if faults:
        raise NotReady(f"{wheel.name}:\n  " + "\n  ".join(faults))
    print(f"  {wheel.name}: {len(names)} files, {wheel.stat().st_size / 1024:.0f} KiB")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    with zipfile.ZipFile(build(source, "wheel", folder / "again")) as archive:
        differs = set(names) ^ set(archive.namelist())
    if differs:
        raise NotReady(f"the wheel built from {sdist.name} differs: {', '.join(sorted(differs))}")
    print(f"  {sdist.name}: the same wheel comes out of it")

    whole = build(WHOLE, "wheel", folder / "whole")
    pinned = tomllib.loads((WHOLE / "pyproject.toml").read_text("utf-8"))["project"]
    if (
        f"=={pinned['version']}" not in pinned["dependencies"][0]
        or pinned["version"] not in wheel.name
    ):
        raise NotReady("the two distributions have different versions")
    with zipfile.ZipFile(whole) as archive:
        if stray := [name for name in archive.namelist() if ".dist-info/" not in name]:
            raise NotReady(f"{whole.name} has code of its own: {', '.join(stray)}")
    lean(folder, wheel)

    print("installing both into a bare environment ...", flush=True)
    python = folder / "bare" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "bare", cwd=folder)
    run(UV, "pip", "install", "--quiet", "--python", python, wheel, whole, cwd=folder)
    command = python.with_name("runguard-otel")
    print(f"  {run(python, '-c', _PUBLIC, cwd=folder).strip()}")
    print(f"  {run(command, '--version', cwd=folder).strip()}")
    run(command, "doctor", cwd=folder)
    for what in ("dashboards", "alerts", "compose"):
        run(command, "export", what, folder / what, cwd=folder)
    print("  doctor is content; dashboards, alerts and compose are exported")

    licences = json.loads(run(python, "-c", _LICENCES, cwd=folder))
    run(UV, "pip", "install", "--quiet", "--python", python, "pytest", "pytest-asyncio", cwd=folder)
    pages = examples_of_the_page(folder)
    said = run(python, "-m", "pytest", "-q", *pages, cwd=folder).strip().splitlines()[-1]
    print(f"  docs/testing.md, as a user pastes it: {said}")

    print("licences of what is installed with it:")
    for name, (version, words) in sorted(licences.items(), key=lambda row: row[0].lower()):
        print(f"  {name} {version}: {words or 'not stated'}")
    if found := copyleft(licences):
        raise NotReady("these licences reach our users' programs:\n  " + "\n  ".join(found))


def main() -> int:
    """Check; 1 if something is wrong."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        try:
            check(Path(folder))
        except NotReady as why:
            print(f"not ready: {why}", file=sys.stderr)
            return 1
    print("ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
