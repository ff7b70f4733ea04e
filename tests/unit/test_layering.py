"""The architecture is in the imports and the names, and both are checked (``tools/house.py``).

Every rule has mutants: small trees that break it and nothing else. A rule that finds nothing in its
mutant fails here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runguard_otel.core.signatures import SIGNATURES, GuardName
from runguard_otel.cost.priced_recorder import WINDOWS
from runguard_otel.notify import messages
from runguard_otel.notify.incidents import STOPPED
from runguard_otel.telemetry.catalogue import SPANS, zero
from tools import house
from tools.compatibility_doc import ACTS
from tools.house import ROOT, RULES, Tree

pytestmark = pytest.mark.unit

Rule = Callable[[Tree], list[str]]
LIVEKIT = "runguard_otel/adapters/livekit"


@pytest.fixture(scope="module")
def ours() -> Tree:
    return Tree(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Rule, ours: Tree) -> None:
    assert len(ours.modules) > 100, "the tree is read at all"
    assert rule(ours) == []


MUTANTS: dict[str, tuple[Rule, dict[str, str]]] = {
    "core imports a library": (house.layers, {"runguard_otel/core/a.py": "import redis"}),
    "core imports a library in a function": (
        house.layers,
        {"runguard_otel/core/a.py": "def f():\n    import redis"},
    ),
    "core imports settings for its types": (
        house.layers,
        {
            "runguard_otel/core/a.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from runguard_otel.settings import Settings"
        },
    ),
    "errors need livekit when they load": (
        house.layers,
        {"runguard_otel/errors.py": "from livekit import rtc"},
    ),
    "claims import telemetry": (
        house.layers,
        {"runguard_otel/claims/a.py": "from runguard_otel.telemetry.spans import Spans"},
    ),
    "an adapter imports cost in a function": (
        house.layers,
        {f"{LIVEKIT}/usage/a.py": "def f():\n    from runguard_otel.cost import use_meter"},
    ),
    "an alert imports a guard": (
        house.catalogue_only,
        {"alerts/a.py": "from runguard_otel.core.guards.echo import Echo"},
    ),
    "a board imports the hub, which lies beside the catalogue": (
        house.catalogue_only,
        {"dashboards/a.py": "from runguard_otel.telemetry import hub"},
    ),
    "two modules import each other": (
        house.circles,
        {
            "runguard_otel/core/a.py": "from runguard_otel.core.b import B",
            "runguard_otel/core/b.py": "from runguard_otel.core.a import A",
        },
    ),
    "a circle of three through a function and a type": (
        house.circles,
        {
            "runguard_otel/core/a.py": "from runguard_otel.core import b",
            "runguard_otel/core/b.py": "def f():\n    from runguard_otel.core import c",
            "runguard_otel/core/c.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from runguard_otel.core import a",
        },
    ),
    "a relative circle": (
        house.circles,
        {"alerts/a.py": "from .b import B", "alerts/b.py": "from . import a"},
    ),
    "a guard reads what LiveKit keeps to itself": (
        house.private_names,
        {f"{LIVEKIT}/misfire/a.py": "def f(activity):\n    return activity._session"},
    ),
    "a guard asks for it by name": (
        house.private_names,
        {f"{LIVEKIT}/misfire/a.py": "def f(x):\n    return getattr(x, '_opts', None)"},
    ),
    "a guard writes it": (
        house.private_names,
        {f"{LIVEKIT}/misfire/a.py": "def f(x):\n    x._audio_transcript = ''"},
    ),
    **{
        f"a row outside of hooks, {how}": (house.rows_in_hooks, {f"{LIVEKIT}/{file}.py": text})
        for how, file, text in (
            ("by name", "usage/metrics", "from runguard_otel.adapters.patching import Patch"),
            ("by another name", "services", "from runguard_otel.adapters.hooks import Hooks as H"),
            ("by a star", "services", "from runguard_otel.adapters.hooks import *"),
            ("by the module", "usage/a", "from runguard_otel.adapters import patching as p"),
            ("by its path", "usage/a", "import runguard_otel.adapters.hooks"),
            ("in a function", "a", "def f():\n    from runguard_otel.adapters import hooks"),
            ("by relative import", "usage/a", "from ...patching import Patch"),
            ("by a relative module", "usage/a", "from ... import patching"),
            (
                "with hooks that are passed",
                "misfire/rows",
                "def f(hooks):\n    return [hooks.flat(object, 'a', (), f, f, why='w')]",
            ),
            ("of another row", "usage/a", "def f(row):\n    return row._replace(wrapper=f)"),
        )
    },
    "a fact that does not say where it was read": (
        house.facts_are_dated,
        {f"{LIVEKIT}/facts/a.py": "def f(x):\n    'Whether; since 1.3 it says so.'"},
    ),
    "a wing imports a wing": (
        house.wings_apart,
        {
            f"{LIVEKIT}/misfire/a.py": f"from {house.HOST}.usage import metrics",
            f"{LIVEKIT}/usage/metrics.py": "",
        },
    ),
    "what all share imports a wing": (
        house.wings_apart,
        {
            f"{LIVEKIT}/facts/a.py": f"def _f():\n    from {house.HOST}.usage import metrics",
            f"{LIVEKIT}/usage/metrics.py": "",
        },
    ),
    "a folder in disguise": (
        house.prefixes,
        {f"runguard_otel/cost/price_{n}.py": "" for n in ("a", "b", "c")},
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_house_that_breaks_a_rule_is_found_and_only_that_rule(name: str, tmp_path: Path) -> None:
    rule, files = MUTANTS[name]
    for file, text in files.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        for folder in [f for f in path.parents if f != tmp_path and f.is_relative_to(tmp_path)]:
            (folder / "__init__.py").touch()
    found = {each.__name__ for each in RULES if each(Tree(tmp_path))}
    assert found == {rule.__name__}


def test_every_rule_has_a_mutant() -> None:
    assert {rule for rule, _ in MUTANTS.values()} == set(RULES)


def test_facts_may_read_what_a_guard_may_not(tmp_path: Path) -> None:
    for room in ("facts", "misfire"):
        path = tmp_path / LIVEKIT / room / "a.py"
        path.parent.mkdir(parents=True)
        path.write_text("def _f(activity):\n    return activity._session\n")
    (found,) = house.private_names(Tree(tmp_path))
    assert found.startswith(f"{house.HOST}.misfire.a:2")


def test_types_of_rows_and_what_a_gate_answers_are_free_for_all(tmp_path: Path) -> None:
    path = tmp_path / LIVEKIT / "misfire" / "gate.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from runguard_otel.adapters.hooks import Answer, Refuse, Replace\n"
        "if TYPE_CHECKING:\n    from runguard_otel.adapters.patching import Patch\n"
        "def f(trip, when):\n    return trip._replace(reason='r'), when.before(1)\n"
    )
    assert house.rows_in_hooks(Tree(tmp_path)) == []


def test_every_fact_is_asked_of_the_installed_release(ours: Tree) -> None:
    """One test over the matrix per question: fails for a fact that ``test_facts*`` never uses."""
    asked = set[str]()
    for path in sorted((ROOT / "tests").glob("livekit*/test_facts*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        asked |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert [q.name for _, q in house.questions(ours) if q.name not in asked] == []


def test_every_table_by_guard_knows_every_guard() -> None:
    """Fails for a guard that was added and forgotten in one of them."""
    tables: dict[str, set[str]] = {
        "catalogue.zero: trips": {row["guard"] for row in zero.POSSIBLE["runguard.trips"]},
        "catalogue.zero: costs": {row["guard"] for row in zero.POSSIBLE["runguard.cost.wasted"]},
        "cost.priced_recorder.WINDOWS": {str(guard) for guard in WINDOWS},
        "notify.incidents.STOPPED": {str(guard) for guard in STOPPED},
        "notify.messages._WHAT": {str(guard) for guard in messages._WHAT},
        "tools.compatibility_doc.ACTS": set(ACTS),
    }
    guards = {str(guard) for guard in GuardName}
    assert {name: sorted(guards - known) for name, known in tables.items() if guards - known} == {}
    classes = {signature.partition(":")[0] for signature in SIGNATURES}
    assert {f"runguard.{name}" for name in classes} <= set(SPANS)


def test_the_map_names_every_folder() -> None:
    """In the list of ``CONTRIBUTING.md``; those of the adapter in its picture as well."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed, picture = text.split("```")[1], text.split("```mermaid")[1].split("```")[0]
    rooms = {p.parent.name for p in (ROOT / LIVEKIT).glob("*/__init__.py")}
    assert rooms == {*house.WINGS, "facts"}, "tools/house.py names the wings"
    tops = {p.parent.name for p in (ROOT / house.PACKAGE).glob("*/__init__.py")}
    assert [n for n in sorted(rooms | tops) if f" {n}/" not in listed] == []
    assert [n for n in sorted(rooms) if n not in picture] == []


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
