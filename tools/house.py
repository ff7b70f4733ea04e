"""The architecture, measured: which module imports which, and what stands in the wrong room.

``python -m tools.house`` prints the picture, ``--against REV`` beside that of an older commit, and
``--mermaid`` draws it. ``tests/unit/test_layering.py`` holds the rules; each is a function from a
:class:`Tree` to the places that break it.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = "runguard_otel"
SOURCES: Final = (PACKAGE, "alerts", "dashboards")
HOST: Final = f"{PACKAGE}.adapters.livekit"
WINGS: Final = (
    "reconnect", "misfire", "dispatch", "subscription", "overrun", "usage", "process",
)  # fmt: skip

LEAVES: Final = frozenset({"settings", "errors", "core", "pages", "policies"})
LAYERS: Final = {
    "core": frozenset({"core", "errors"}),
    "errors": frozenset({"core"}),
    "pages": frozenset({"pages"}),
    "settings_types": frozenset({"core"}),
    "settings": frozenset({"core", "errors", "settings_types"}),
    "policies": frozenset({"core", "settings"}),
    "claims": LEAVES | {"claims"},
    "telemetry": LEAVES | {"telemetry"},
    "cost": LEAVES | {"cost"},
    "notify": LEAVES | {"notify"},
    "journal": LEAVES | {"journal", "cost"},
    "adapters": LEAVES | {"adapters"},
}
"""Layer: the parts of the package that it may import. What is not named may import all."""
STANDARD_LIBRARY_ONLY: Final = ("core", "errors", "pages")


_FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_SHAPES: Final = ("before", "after", "gate", "around", "flat")
"""The methods of ``Hooks`` that make rows."""


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Args:
        name: The module as it is written, with the imported name if that is a module, too.
        typing_only: Whether only type checkers see it.
        deferred: Whether it stands in a function, so that loading the module does not run it.
    """

    name: str
    typing_only: bool
    deferred: bool


class Module:
    """One source file.

    Args:
        path: The file.
        name: Its dotted name.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.is_package = path.name == "__init__.py"
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @property
    def layer(self) -> str:
        """The part of the package it belongs to."""
        return (*self.name.split("."), "")[1]

    @cached_property
    def typing_only(self) -> set[int]:
        """The ``id`` of every node that only type checkers see."""
        return {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for statement in node.body
            for inner in ast.walk(statement)
        }

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Calls of functions or classes with one of these names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                yield node


class Tree:
    """A checkout's sources.

    Args:
        root: The checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        files = [p for top in SOURCES for p in sorted((root / top).rglob("*.py"))]
        found = (Module(p, self._name(p)) for p in files if "tests" not in p.parts)
        self.modules = {module.name: module for module in found}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self, module: Module) -> Iterator[Import]:
        """Every import of a module, in functions and under ``TYPE_CHECKING`` as well."""
        hidden = module.typing_only
        deferred = {
            id(inner)
            for node in ast.walk(module.tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for inner in ast.walk(node)
        }
        for node in ast.walk(module.tree):
            where = (id(node) in hidden, id(node) in deferred)
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, *where) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(module, node)
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield Import(inner if inner in self.modules else base, *where)

    def _base(self, module: Module, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        up = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
        up = up[: len(up) - node.level + 1]
        return ".".join([*up, *([node.module] if node.module else [])])

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """Module: the modules of this tree that it imports."""
        return {
            name: {i.name for i in self.imports(module)} & (self.modules.keys() - {name})
            for name, module in self.modules.items()
        }

    def of_host(self) -> Iterator[Module]:
        """The modules of the adapter."""
        return (m for n, m in self.modules.items() if n.startswith(HOST))


def layers(tree: Tree) -> list[str]:
    """Each layer imports only what stands below it, core and errors only the standard library."""
    broken = []
    for module in tree.modules.values():
        allowed = LAYERS.get(module.layer)
        if allowed is None or not module.name.startswith(f"{PACKAGE}."):
            continue
        for found in tree.imports(module):
            top, _, rest = found.name.partition(".")
            if top == PACKAGE:
                wrong = (rest.partition(".")[0] or "__init__") not in allowed
            else:
                # An error may be a LiveKit error as well, where there is a LiveKit.
                deferred = found.typing_only or (found.deferred and module.layer == "errors")
                outside = module.layer in STANDARD_LIBRARY_ONLY and not deferred
                wrong = outside and top not in sys.stdlib_module_names
            if wrong:
                broken.append(f"{module.name} imports {found.name}")
    return broken


def catalogue_only(tree: Tree) -> list[str]:
    """Dashboards and alerts know only the catalogue."""
    allowed = f"{PACKAGE}.telemetry.catalogue"
    return [
        f"{module.name} imports {found.name}"
        for module in tree.modules.values()
        if not module.name.startswith(PACKAGE)
        for found in tree.imports(module)
        if found.name.startswith(PACKAGE) and not found.name.startswith(allowed)
    ]


def circles(tree: Tree) -> list[str]:
    """No circle of modules, however the import is written."""
    order, low, on, stack = dict[str, int](), dict[str, int](), set[str](), list[str]()
    found: list[str] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        on.add(name)
        for other in sorted(tree.arrows[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in on:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            circle = [stack.pop()]
            while circle[-1] != name:
                circle.append(stack.pop())
            on.difference_update(circle)
            if len(circle) > 1:
                found.append(" - ".join(sorted(circle)))

    for name in sorted(tree.arrows):
        if name not in order:
            visit(name)
    return found


def private_names(tree: Tree) -> list[str]:
    """What LiveKit keeps to itself is read in ``facts`` only."""
    return [
        f"{module.name}:{line} reads {name}"
        for module in tree.of_host()
        if not module.name.startswith(f"{HOST}.facts")
        for name, line in _private_reads(module)
    ]


def _private_reads(module: Module) -> Iterator[tuple[str, int]]:
    # Not of the host: dunders, marks of our own, and what Python documents in spite of its look.
    own = re.compile(r"_(?!_|runguard|replace$|asdict$|make$|fields$|getframe$)")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and own.match(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            name = node.args[1]
            asks = getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr", "delattr")
            if asks and isinstance(name, ast.Constant) and own.match(str(name.value)):
                yield str(name.value), node.lineno


def rows_in_hooks(tree: Tree) -> list[str]:
    """Where we stand in the host is said in files named ``hooks``, and nowhere else."""
    return [
        f"{module.name}:{line} {how}"
        for module in tree.of_host()
        if not module.path.stem.startswith("hooks")
        for how, line in _row_making(module)
    ]


def _row_making(module: Module) -> Iterator[tuple[str, int]]:
    """All that a row can be made with: the classes by any name, a table that is passed, a copy."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in module.typing_only:
            yield from ((f"imports {name}", node.lineno) for name in _makers(node))
        elif isinstance(node, ast.Import) and id(node) not in module.typing_only:
            for alias in node.names:
                if alias.name in (f"{PACKAGE}.adapters.hooks", f"{PACKAGE}.adapters.patching"):
                    yield f"imports {alias.name}", node.lineno
        elif isinstance(node, ast.Call):
            asked = {keyword.arg for keyword in node.keywords}
            method = getattr(node.func, "attr", "")
            if method in _SHAPES and "why" in asked:
                yield f"makes a row by .{method}()", node.lineno
            elif method == "_replace" and asked & {"wrapper", "owner", "attribute", "shape"}:
                yield "makes a row of another", node.lineno


def _makers(node: ast.ImportFrom) -> list[str]:
    """What an import brings that makes rows; a relative one is read by its last part."""
    source, names = node.module or "", {alias.name for alias in node.names}
    if source.endswith(("hooks", "patching")):
        return sorted(names & {"Hooks", "Patch", "*"})
    if source.endswith("adapters") or (node.level and not source):
        return sorted(names & {"hooks", "patching"})
    return []


def facts_are_dated(tree: Tree) -> list[str]:
    """Each question of ``facts`` says in which releases it was read."""
    dated = re.compile(r"\d+\.\d+(\.\d+)? to \d+\.\d+|\(0\.12\)|Read in 0\.12\.")
    return [
        f"{module.name}:{question.lineno} {question.name} names no releases"
        for module, question in questions(tree)
        if not dated.search(ast.get_docstring(question) or "")
    ]


def questions(tree: Tree) -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The public functions of ``facts``: what the adapter asks about LiveKit."""
    for module in tree.of_host():
        for node in module.tree.body if module.name.startswith(f"{HOST}.facts") else ():
            if isinstance(node, _FUNCTION) and not node.name.startswith("_"):
                yield module, node


def wings_apart(tree: Tree) -> list[str]:
    """No wing imports another one, and what all share imports no wing."""
    broken = []
    for name, others in tree.arrows.items():
        mine = _wing(name)
        if not name.startswith(f"{HOST}."):
            continue
        for other in sorted(others):
            theirs = _wing(other)
            if theirs and theirs != mine:
                broken.append(f"{name} imports {other}")
    return broken


def _wing(name: str) -> str:
    part = name.removeprefix(f"{HOST}.").partition(".")[0] if name.startswith(f"{HOST}.") else ""
    return part if part in WINGS else ""


def prefixes(tree: Tree) -> list[str]:
    """Three siblings that share a prefix are a folder that was not made."""
    groups: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for module in tree.modules.values():
        groups[module.path.parent, module.path.stem.split("_")[0]].append(module.path.stem)
    return [
        f"{folder.relative_to(tree.root)}/{prefix}_*: {', '.join(sorted(names))}"
        for (folder, prefix), names in groups.items()
        if prefix and len(names) > 2
    ]


RULES: Final = (
    layers,
    catalogue_only,
    circles,
    private_names,
    rows_in_hooks,
    facts_are_dated,
    wings_apart,
    prefixes,
)


def figures(root: Path) -> dict[str, int]:
    """What is counted of one checkout."""
    tree = Tree(root)
    host = [m for n, m in tree.modules.items() if n.startswith(f"{PACKAGE}.adapters")]
    lines = [len(m.text.splitlines()) for n, m in tree.modules.items() if n.startswith(PACKAGE)]
    facts = f"{HOST}.facts"
    private = [r for m in host if not m.name.startswith(facts) for r in _private_reads(m)]
    return {
        "modules": len(tree.modules),
        "import arrows": sum(map(len, tree.arrows.values())),
        "circles": len(circles(tree)),
        "private names of the host outside facts": len({name for name, _ in private}),
        "places that read them": len(private),
        "hand-written shields": sum(1 for m in host for _ in m.calls("shield")),
        "lines of the package": sum(lines),
        "tracked lines": _tracked(root),
    }


def _tracked(root: Path) -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False
    ).stdout.split(b"\0")
    names = [root / name.decode() for name in listed if name]
    files = names or [p for p in root.rglob("*") if p.is_file()]
    return sum(p.read_bytes().count(b"\n") for p in files if p.is_file())


def by_commits(revisions: list[str]) -> list[tuple[str, int, int]]:
    """Subject, and lines of the package added and taken away, of each commit; moves count nothing.

    What one piece of work did to the size, where others grew the same package meanwhile.
    """
    found = []
    for revision in revisions:
        command = ["git", "show", "--numstat", "-M", "--format=%s", revision]
        shown = subprocess.run(
            [*command, "--", f"{PACKAGE}/*.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        subject, *rows = [line for line in shown.stdout.split("\n") if line] or [revision]
        counts = [row.split("\t")[:2] for row in rows]
        found.append((subject, sum(int(a) for a, _ in counts), sum(int(d) for _, d in counts)))
    return found


def folders(tree: Tree) -> dict[str, tuple[int, int, int]]:
    """Folder: its modules, arrows within it, and arrows that leave it."""
    count: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    leaving: Counter[str] = Counter()
    home = {n: str(m.path.parent.relative_to(tree.root)) for n, m in tree.modules.items()}
    for name, others in tree.arrows.items():
        count[home[name]] += 1
        for other in others:
            (inside if home[other] == home[name] else leaving)[home[name]] += 1
    return {f: (count[f], inside[f], leaving[f]) for f in sorted(count)}


def mermaid(tree: Tree) -> str:
    """The rooms of the package and the arrows between them, as a Mermaid flowchart."""
    rooms: Counter[tuple[str, str]] = Counter()
    for name, others in tree.arrows.items():
        for other in others:
            if name.startswith(f"{PACKAGE}.") and other.startswith(f"{PACKAGE}."):
                here, there = _room(name), _room(other)
                if here != there:
                    rooms[here, there] += 1
    lines = [f"  {a} --> {b}" for (a, b), _ in sorted(rooms.items())]
    return "\n".join(["flowchart TD", *lines])


def _room(name: str) -> str:
    parts = name.split(".")
    if name.startswith(f"{HOST}."):
        return f"livekit/{parts[3]}" if parts[3] in (*WINGS, "facts") else "livekit"
    return parts[1]


def _at(revision: str) -> dict[str, int]:
    """The figures of an older commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
        return figures(Path(folder))


def main() -> int:
    """Print the figures; exit status 1 if a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="REV", help="also print those of an older commit")
    parser.add_argument("--mermaid", action="store_true", help="draw rooms and arrows")
    parser.add_argument("--commits", metavar="REV", nargs="+", help="lines that these changed")
    options = parser.parse_args()
    if options.commits:
        changes = by_commits(options.commits)
        for subject, added, gone in changes:
            print(f"{added:>7} {-gone:>7} {added - gone:>7}  {subject}")
        print(f"lines of the package: {sum(a - g for _, a, g in changes):+d}")
        return 0
    tree = Tree(ROOT)
    if options.mermaid:
        print(mermaid(tree))
        return 0
    print(f"{'folder':<44} modules  arrows inside  leaving")
    for folder, (count, inside, leaving) in folders(tree).items():
        print(f"{folder:<44} {count:>7} {inside:>14} {leaving:>8}")
    now, before = figures(ROOT), _at(options.against) if options.against else {}
    print(f"\n{'':<44} {f'{options.against:>10.9}' if before else '':>10} {'now':>10}")
    for name, value in now.items():
        print(f"{name:<44} {before.get(name, ''):>10} {value:>10}")
    broken = [f"{rule.__name__}: {place}" for rule in RULES for place in rule(tree)]
    print("\n".join(["", f"rules broken: {len(broken)}", *broken]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
