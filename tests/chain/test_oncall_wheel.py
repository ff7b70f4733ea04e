"""What is installed from a wheel can export everything, without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.chain

ROOT = Path(__file__).resolve().parents[2]
RUN = "from runguard_otel.cli.export.commands import app; app()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def export(installed: Path, *words: str) -> list[Path]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words, "--json"],
        cwd=installed.parent, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Path(p) for p in json.loads(done.stdout)["written"]]


def test_the_wheel_is_what_runs_here(installed: Path) -> None:
    code = "import runguard_otel._shipped as s; print(s.ROOT)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=installed.parent, env=environment,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == installed / "runguard_otel" / "_shipped"


def test_dashboards_are_the_committed_ones(installed: Path, tmp_path: Path) -> None:
    written = export(installed, "dashboards", str(tmp_path))
    assert len(written) == len(list((ROOT / "dashboards" / "generated").glob("*.json")))
    for path in written:
        assert path.read_bytes() == (ROOT / "dashboards" / "generated" / path.name).read_bytes()


def test_alerts_are_the_committed_ones_and_can_be_tuned(installed: Path, tmp_path: Path) -> None:
    export(installed, "alerts", str(tmp_path))
    for name in ("alerts.yml", "recording.yml"):
        assert (tmp_path / name).read_text() == (ROOT / "alerts/generated" / name).read_text()
    export(installed, "alerts", str(tmp_path), "--set", "misfire_trips=9", "--force")
    assert ">= 9\n" in (tmp_path / "recording.yml").read_text()


def test_compose_has_all_it_mounts_and_no_secret(installed: Path, tmp_path: Path) -> None:
    written = {str(p.relative_to(tmp_path)) for p in export(installed, "compose", str(tmp_path))}
    assert {"docker-compose.yml", "deploy/otelcol.yaml", "alerts/generated/alerts.yml"} <= written
    secrets = {p for p in written if "secrets" in p}
    assert secrets == {"deploy/secrets/README.md", "deploy/secrets/.gitignore"}
