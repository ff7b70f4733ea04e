"""``python -m bench [--soak] [NAME ...]``: run the measurements and print goal, measured, ratio."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from bench.harness import Result, quiet_host, report

QUICK = ("core", "turn", "collector", "hub", "claims")
LONG = ("hub_exactness",)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join((*QUICK, *LONG))}")
    parser.add_argument("--soak", action="store_true", help="the long versions")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"))
    args = parser.parse_args()
    quiet_host()
    results: list[Result] = []
    for name in args.names or (QUICK + (LONG if args.soak else ())):
        print(f"measuring {name} ...", flush=True)
        results += importlib.import_module(f"bench.{name}").run(args.soak)
    report(results, args.json)


if __name__ == "__main__":
    main()
