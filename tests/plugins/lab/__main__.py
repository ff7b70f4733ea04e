"""Runs every plugin that is installed and prints what was found, one product a line.

``--check`` fails where the data files say otherwise; ``--write`` has them say what was found. What
is no measurement (notes; what a number means where its value does not say it) is written by hand,
into the same files.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from itertools import repeat
from multiprocessing import get_context
from typing import Any

from tests.plugins.lab.probe import quiet
from tests.plugins.lab.products import installed
from tests.plugins.lab.tables import TABLES, Table, measured

IDENTITY = ("plugin", "product", "release")
AT_A_TIME = 4
RACES = {"closed_normally"}
"""Shown, and not compared: whether a plugin reads the closing or writes first is a race."""


def look(kind: str, wanted: list[str]) -> list[dict[str, Any]]:
    """What each installed product does: a few at a time, for most of it is waiting.

    Each process runs one product at a time, and what a product leaves behind stays in there.
    """
    table, found = TABLES[kind], []
    products = [product for product, _, _ in installed(*wanted, of=table.products)]
    with ProcessPoolExecutor(AT_A_TIME, get_context("spawn"), quiet) as pool:
        for product, row in zip(
            products, pool.map(measured, repeat(kind), [p.key for p in products]), strict=True
        ):
            found.append(row)
            cells = (f"{name}: {row[name]}" for name in table.columns if name in row)
            print(f"{product.key} {row['release']}: {'; '.join(cells)}", flush=True)
    return found


def differences(found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """Where the file says otherwise, or nothing."""
    known = {tuple(row[name] for name in IDENTITY): row.get("found", {}) for row in rows}
    said = []
    for row in found:
        key = tuple(row[name] for name in IDENTITY)
        believed = known.get(key)
        if believed is None:
            said.append(f"{' '.join(key)}: no row")
            continue
        said += [
            f"{' '.join(key)}: {name}: {row.get(name)!r}, not {believed.get(name)!r}"
            for name in sorted((set(row) | set(believed)) - {*IDENTITY, *RACES})
            if row.get(name) != believed.get(name)
        ]
    return said


def write(found: list[dict[str, Any]], table: Table, data: dict[str, Any]) -> None:
    """Put what was found into the data; a new product gets a row to be completed by hand."""
    today = datetime.now(timezone.utc).date().isoformat()
    known = data[table.key]
    for new in found:
        identity = {name: new.pop(name) for name in IDENTITY}
        rows = [r for r in known if all(r[n] == identity[n] for n in IDENTITY)]
        row = rows[0] if rows else identity
        if not rows:
            known.append(row)
            if table.key == "recognisers":
                row |= {"meaning": new.get("final", "none"), "run": True}
        row |= {"date": today, "found": new}
    known.sort(key=lambda row: tuple(row[name] for name in IDENTITY))
    table.file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Look; 1 if a file differs."""
    parser = argparse.ArgumentParser(prog="tests.plugins.lab", description=__doc__)
    parser.add_argument("wanted", nargs="*", help="parts of products' names")
    parser.add_argument(
        "--of", nargs="+", choices=list(TABLES), default=["stt"], help="what to run"
    )
    parser.add_argument("--check", action="store_true", help="fail where a data file differs")
    parser.add_argument("--write", action="store_true", help="write what was found into it")
    asked = parser.parse_args()
    failed = False
    for kind in asked.of:
        table = TABLES[kind]
        found = look(kind, asked.wanted)
        print(f"{kind}: {len(found)} products of {len({r['plugin'] for r in found})} plugins run")
        data = json.loads(table.file.read_text(encoding="utf-8"))
        if asked.write:
            write(found, table, data)
        elif asked.check:
            differing = differences(found, data[table.key])
            failed |= bool(differing)
            print("\n".join(differing) or f"{table.file.name} says the same")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
