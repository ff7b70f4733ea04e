"""Rewrite every generated file, or with ``--check`` say which are stale (exit status 1).

A generator is a module with ``generated() -> dict[Path, str]``: the files it owns and what they
must hold. Committed output keeps a change of a generator visible in review.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATORS = (
    "tools.settings_doc",
    "tools.settings_types",
    "tools.telemetry_doc",
    "tools.prices_json",
    "tools.recognisers_doc",
    "tools.models_doc",
    "alerts.build",
    "dashboards.build",
)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    sys.path.insert(0, str(ROOT))
    out: dict[Path, str] = {}
    for name in GENERATORS:
        out.update(importlib.import_module(name).generated())
    return out


def stale() -> list[Path]:
    """The files that are not what their generator says."""
    return [
        path
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, report stale files")
    check = parser.parse_args().check
    old = stale()
    for path in old:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
