"""``runguard-otel doctor agent.py``: is ``instrument()`` called where every way to run reaches it?

The file is read, never run. The newer ways to run an agent (``python -m livekit.agents start``,
``lk agent dev``, ``lk agent console``) import it as a module: what stands under
``if __name__ == "__main__"`` does not exist for them, and no code of ours runs that could say so.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from runguard_otel.cli.agent_file import parsed

__all__ = ["Place", "empty_scrape", "place_of"]

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_OPTION = "prometheus_multiproc_dir"
_AT_THE_TOP = "move it to the top of the module, outside functions and `if __name__`"


class Place(NamedTuple):
    """Where an agent's file calls ``instrument()``.

    Args:
        state: ``ok``, ``note`` or ``degraded``.
        detail: What was found.
        advice: What to do, or ``""``.
    """

    state: str
    detail: str
    advice: str = ""


def place_of(agent: Path) -> Place:
    """Where the file calls ``instrument()``: the best place, if there are several.

    Args:
        agent: A Python file.

    Raises:
        OSError, SyntaxError, ValueError: As :func:`~runguard_otel.cli.agent_file.parsed`.
    """
    tree = parsed(agent)
    names, found = _names(tree), dict[str, int]()
    for kind, call in _calls(tree.body, "module"):
        if ast.unparse(call.func) in names:
            found.setdefault(kind, call.lineno)
    if "module" in found:
        return Place("ok", f"instrument() on line {found['module']}, for every way to run it")
    if "main" in found:
        return Place(
            "degraded",
            f"instrument() on line {found['main']} is under `if __name__`: `python {agent.name} "
            "start` is guarded, `python -m livekit.agents start` and `lk agent` are not",
            _AT_THE_TOP,
        )
    if "function" in found:
        return Place(
            "degraded",
            f"instrument() on line {found['function']} is in a function: if jobs call it, nothing "
            "is claimed before they do, and their counts do not reach the worker",
            _AT_THE_TOP,
        )
    return Place(
        "note",
        "no call of instrument(): guarded only under `opentelemetry-instrument`, or if a module "
        "that it imports makes the call",
    )


def empty_scrape(agent: Path) -> Place | None:
    """Whether LiveKit's own ``/metrics`` will be empty, as its option for many processes makes it.

    ``prometheus_client`` decides when it is imported how values are kept; the option is read when
    the server runs. So the folder is collected and nothing writes to it (livekit-agents 1.8.9,
    ``findings/metrics-of-a-folder-nobody-writes.sh``).

    Args:
        agent: A Python file.

    Raises:
        OSError, SyntaxError, ValueError: As :func:`~runguard_otel.cli.agent_file.parsed`.
    """
    if os.environ.get(_FOLDER):
        return None
    tree = parsed(agent)
    imported = min((n.lineno for n in ast.walk(tree) if _imports_livekit(n)), default=0)
    if any(_names_folder(node) and node.lineno < imported for node in ast.walk(tree)):
        return None  # the file sets it itself, in time
    for value in _folders(tree):
        if isinstance(value, ast.Constant) and not value.value:
            continue
        if any(map(_names_folder, ast.walk(value))):
            continue  # taken from the variable, which is not set
        return Place(
            "note",
            f"prometheus_multiproc_dir on line {value.lineno}: LiveKit's own /metrics "
            "(prometheus_port) will answer with nothing, because the option is read too late",
            f"set the environment variable {_FOLDER} to that folder before Python starts",
        )
    return None


def _folders(tree: ast.Module) -> Iterator[ast.expr]:
    """What the option is given: as an argument, in a dict, or as an item of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == _OPTION:
            yield node.value
        elif isinstance(node, ast.Dict):
            named = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in named if _is(key, _OPTION))
        elif isinstance(node, ast.Assign):
            targets = (t for t in node.targets if isinstance(t, ast.Subscript))
            yield from (node.value for t in targets if _is(t.slice, _OPTION))


def _imports_livekit(node: ast.AST) -> TypeGuard[ast.Import | ast.ImportFrom]:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == "livekit"
    return isinstance(node, ast.Import) and any(
        name.name.partition(".")[0] == "livekit" for name in node.names
    )


def _names_folder(node: ast.AST) -> TypeGuard[ast.Constant]:
    return _is(node, _FOLDER)


def _is(node: ast.AST | None, text: str) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and node.value == text


def _names(tree: ast.Module) -> set[str]:
    """What ``instrument`` is called in this file, after all its imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            mine = [a.asname or a.name for a in node.names if a.name == "runguard_otel"]
            names |= {f"{name}.instrument" for name in mine}
        elif isinstance(node, ast.ImportFrom) and node.module == "runguard_otel":
            names |= {a.asname or a.name for a in node.names if a.name == "instrument"}
    return names


def _calls(body: list[ast.stmt], kind: str) -> Iterator[tuple[str, ast.Call]]:
    """Each call in the file, with ``module``, ``main`` or ``function`` for where it stands."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _calls(statement.body, "function")
        elif isinstance(statement, ast.If) and _asks_for_main(statement.test):
            yield from _calls(statement.body, "main" if kind == "module" else kind)
            yield from _calls(statement.orelse, kind)
        elif blocks := [b for b in ast.iter_child_nodes(statement) if isinstance(b, ast.stmt)]:
            yield from _calls(blocks, kind)
        else:
            yield from ((kind, n) for n in ast.walk(statement) if isinstance(n, ast.Call))


def _asks_for_main(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))
