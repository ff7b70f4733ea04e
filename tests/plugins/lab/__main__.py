"""Runs every plugin that is installed and prints what was found, one product a line.

``--check`` fails where the product believes otherwise; ``--write`` has it believe what was found.
What is no measurement (notes; what a number means where its value does not say it) is written by
hand, into the same file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import datetime, timezone
from typing import Any

from runguard_otel.adapters.livekit.facts.recognisers import DATA
from tests.plugins.lab.probe import facts, quiet
from tests.plugins.lab.products import installed

COLUMNS = ("final", "interim", "batch", "blank", "noise", "usage", "closed", "flush")
IDENTITY = ("plugin", "product", "release")
RACES = {"closed_normally"}
"""Shown, and not compared: whether a plugin reads the closing or writes first is a race."""


async def look(wanted: list[str]) -> list[dict[str, Any]]:
    """What each installed product does."""
    found = []
    for product, module, release in installed(*wanted):
        found.append(await facts(product, module, release))
        cells = (f"{name}: {found[-1][name]}" for name in COLUMNS if name in found[-1])
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


def write(found: list[dict[str, Any]], data: dict[str, Any]) -> None:
    """Put what was found into the file; a new product gets a row to be completed by hand."""
    today = datetime.now(timezone.utc).date().isoformat()
    for measured in found:
        identity = {name: measured.pop(name) for name in IDENTITY}
        rows = [r for r in data["recognisers"] if all(r[n] == identity[n] for n in IDENTITY)]
        row = rows[0] if rows else {**identity, "meaning": measured.get("final", "none")}
        if not rows:
            data["recognisers"].append(row)
        row |= {"run": True, "date": today, "found": measured}
    data["recognisers"].sort(key=lambda row: tuple(row[name] for name in IDENTITY))
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Look; 1 if the file differs."""
    parser = argparse.ArgumentParser(prog="tests.plugins.lab", description=__doc__)
    parser.add_argument("wanted", nargs="*", help="parts of products' names")
    parser.add_argument("--check", action="store_true", help="fail where the data file differs")
    parser.add_argument("--write", action="store_true", help="write what was found into it")
    asked = parser.parse_args()
    quiet()
    found = asyncio.run(look(asked.wanted))
    data = json.loads(DATA.read_text(encoding="utf-8"))
    if asked.write:
        write(found, data)
        return 0
    differing = differences(found, data["recognisers"])
    print(f"{len(found)} products of {len({row['plugin'] for row in found})} plugins run")
    if asked.check:
        print("\n".join(differing) or f"{DATA.name} says the same")
    return 1 if asked.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
