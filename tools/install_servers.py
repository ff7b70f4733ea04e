"""Install the real servers the tests run against: what ``make servers`` runs.

As root on Debian or Ubuntu it installs what is missing, without starting any service. Otherwise it
prints what is missing, which suites are left out for it and how to get it; with ``CI`` set that is
a failure, because a suite that was left out there would pass unseen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NPM = ROOT / ".cache" / "npm"
SBIN = "/usr/local/sbin:/usr/sbin"


@dataclass(frozen=True)
class Need:
    """One program, the Debian package that has it and the tests that use it."""

    program: str
    package: str
    used_by: str
    places: str = ""

    def there(self) -> bool:
        """Whether it can be started."""
        return bool(shutil.which(self.program) or shutil.which(self.program, path=self.search))

    @property
    def search(self) -> str:
        """Where to look besides PATH."""
        folders = [str(p) for p in Path("/").glob(self.places)] if self.places else []
        return ":".join([*folders, SBIN])


NEEDS = (
    Need("redis-server", "redis-server", "claims on Redis, end-to-end dispatch"),
    Need("redis-benchmark", "redis-tools", "`make bench`: claims"),
    Need("initdb", "postgresql", "claims on PostgreSQL", "usr/lib/postgresql/*/bin"),
    Need("pgbouncer", "pgbouncer", "claims on PostgreSQL behind a pooler"),
    Need("faketime", "faketime", "claims under a moved wall clock"),
    Need("npm", "npm", "claims on DynamoDB (dynalite)"),
    Need("prometheus", "prometheus", "metrics, alerts, dashboards"),
    Need("promtool", "prometheus", "alert rules"),
    Need("prometheus-alertmanager", "prometheus-alertmanager", "alert delivery"),
    Need("amtool", "prometheus-alertmanager", "alert routes"),
    Need("victoria-metrics", "victoria-metrics", "dashboards end to end"),
    Need("chromium", "chromium", "the preview page in a browser"),
)


def apt(packages: list[str]) -> None:
    """Install Debian packages. RUNLEVEL=1 keeps their services from being started."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    if subprocess.run(install, env=env).returncode:  # perhaps only the lists are old
        subprocess.run(["apt-get", "update", "-qq"], env=env, check=True)
        subprocess.run(install, env=env, check=True)


def npm() -> None:
    """Install what ``tools/npm/package-lock.json`` says, hashes checked, no install scripts."""
    lock = ROOT / "tools" / "npm" / "package-lock.json"
    copy = NPM / lock.name
    if (NPM / "node_modules").exists() and copy.exists() and copy.read_text() == lock.read_text():
        return
    NPM.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", lock.name):
        shutil.copyfile(lock.with_name(name), NPM / name)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "ci", *quiet], cwd=NPM, check=True)


def main() -> int:
    """Install or report; 1 if something is missing and CI is set."""
    missing = [need for need in NEEDS if not need.there()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        apt(sorted({need.package for need in missing}))
        missing = [need for need in NEEDS if not need.there()]
    if not any(need.program == "npm" for need in missing):
        npm()
    for need in missing:
        print(f"missing {need.program}: left out: {need.used_by}")
    if missing:
        packages = " ".join(sorted({need.package for need in missing}))
        print(f"to get them: sudo apt-get install --no-install-recommends {packages}")
    return 1 if missing and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
