"""Runs every plugin that is installed and prints what was found, one product a line.

``--check`` fails where the data files say otherwise; ``--write`` has them say what was found. What
is no measurement (notes; what a number means where its value does not say it) is written by hand,
into the same files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runguard_otel.adapters.livekit.facts import billing, recognisers
from tests.plugins.lab.bill import billed
from tests.plugins.lab.live import REALTIME, lived
from tests.plugins.lab.models import LANGUAGE_MODELS, VOICES
from tests.plugins.lab.probe import facts, quiet
from tests.plugins.lab.products import RECOGNISERS, Product, installed

IDENTITY = ("plugin", "product", "release")
RACES = {"closed_normally"}
"""Shown, and not compared: whether a plugin reads the closing or writes first is a race."""


class Table(NamedTuple):
    """One kind of model.

    Args:
        file: The data file.
        key: Its list in there.
        products: What is run.
        measure: How.
        columns: What is printed.
    """

    file: Path
    key: str
    products: tuple[Product, ...]
    measure: Any
    columns: tuple[str, ...]


HEARD = ("final", "interim", "batch", "blank", "noise", "usage", "closed", "flush")
BILL = ("provider", "model", "reply", "bill", "interrupted", "interrupted_bill", "unheard")
TABLES = {
    "stt": Table(recognisers.DATA, "recognisers", RECOGNISERS, facts, HEARD),
    "llm": Table(billing.DATA, "llm", LANGUAGE_MODELS, partial(billed, "llm"), BILL),
    "realtime": Table(billing.DATA, "realtime", REALTIME, lived, (*BILL, "hung_up")),
    "tts": Table(billing.DATA, "tts", VOICES, partial(billed, "tts"), BILL),
}


async def look(table: Table, wanted: list[str]) -> list[dict[str, Any]]:
    """What each installed product does."""
    found = []
    for product, module, release in installed(*wanted, of=table.products):
        found.append(await table.measure(product, module, release))
        cells = (f"{name}: {found[-1][name]}" for name in table.columns if name in found[-1])
        print(f"{product.key} {release}: {'; '.join(cells)}", flush=True)
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
    for measured in found:
        identity = {name: measured.pop(name) for name in IDENTITY}
        rows = [r for r in known if all(r[n] == identity[n] for n in IDENTITY)]
        row = rows[0] if rows else identity
        if not rows:
            known.append(row)
            if table.key == "recognisers":
                row |= {"meaning": measured.get("final", "none"), "run": True}
        row |= {"date": today, "found": measured}
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
    quiet()
    failed = False
    for kind in asked.of:
        table = TABLES[kind]
        found = asyncio.run(look(table, asked.wanted))
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
