"""The architecture is in the imports, and the imports are checked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "runguard_otel"
LEAVES = {"settings", "errors", "core"}

# layer -> the parts of this package it may import
ALLOWED: dict[str, set[str]] = {
    "core": {"core", "errors"},
    "errors": {"core"},
    "settings": {"core", "errors"},
    "claims": {"claims"} | LEAVES,
    "telemetry": {"telemetry"} | LEAVES,
    "cost": {"cost"} | LEAVES,
    "adapters": {"adapters"} | LEAVES,
}
ANYTHING = {"instrumentor", "cli", "demo", "preview", "zero_code", "__init__"}
MAX_LINES = 300


def modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        yield path, layer


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether it is imported when the module loads at run time."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in tree.body
        elif isinstance(node, ast.ImportFrom):
            # alerts/ is imported under two names, at the top and inside a wheel.
            assert node.level == 0 or not path.is_relative_to(PACKAGE), f"{path}: relative import"
            yield f"{node.module}", node in tree.body


@pytest.mark.parametrize(
    ("path", "layer"), [pytest.param(p, n, id=str(p.relative_to(PACKAGE))) for p, n in modules()]
)
def test_a_module_imports_only_what_its_layer_may(path: Path, layer: str) -> None:
    if layer in ANYTHING:
        return
    for name, _ in imports(path):
        top, _, rest = name.partition(".")
        if top == "runguard_otel":
            part = rest.partition(".")[0] or "__init__"
            assert part in ALLOWED[layer], f"{layer} must not import {name}"
        elif layer in {"core", "errors"}:
            assert top in sys.stdlib_module_names, f"{layer} is standard library only, not {name}"


@pytest.mark.parametrize(
    "folder",
    [
        "runguard_otel",
        "dashboards",
        "alerts",
        "bench",
        "deploy",
        "docs",
        "examples",
        "tests",
        "tools",
    ],
)
def test_a_module_is_short_enough_to_read_at_once(folder: str) -> None:
    lengths = {p: len(p.read_text().splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MAX_LINES} == {}


@pytest.mark.parametrize("folder", ["dashboards", "alerts"])
def test_dashboards_and_alerts_know_only_the_catalogue(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for name, _ in imports(path):
            if name.startswith("runguard_otel"):
                assert name == "runguard_otel.telemetry.catalogue", f"{path.name} imports {name}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, runguard_otel, runguard_otel.core.loop, runguard_otel.errors\n"
        "heavy = {'livekit', 'opentelemetry', 'redis', 'pydantic', 'wrapt', 'rich', 'typer',"
        " 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_the_four_guards_load_without_livekit_and_opentelemetry() -> None:
    code = (
        "import sys\n"
        "from runguard_otel import RoomReconnectGuard, VADMisfireGuard, TrackSubscriptionGuard\n"
        "from runguard_otel import JobDispatchGuard, LoopDetector, LoopDetectedError\n"
        "print(sorted({'livekit', 'opentelemetry'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
