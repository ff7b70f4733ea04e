"""``python -m bench [--soak] [NAME ...]``: run the measurements and print goal, measured, ratio."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path

from bench.harness import Result, quiet_host, report

QUICK = (
    "core",
    "hooks",
    "turn",
    "jobs",
    "collector",
    "hub",
    "claims",
    "overrun",
    "journal",
    "watch",
    "oncall",
)
LONG = ("hub_exactness", "day")
NAMED = ("callers", "peers", "instructions")
"""Only when named: they need a LiveKit server, an environment with other people's packages, or the
Debian package ``valgrind``."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join((*QUICK, *LONG, *NAMED))}")
    parser.add_argument("--soak", action="store_true", help="the long versions")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"))
    args = parser.parse_args()
    quiet_host()
    # else what a measurement has started would outlive it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[Result] = []
    failed = False
    for name in args.names or (QUICK + (LONG if args.soak else ())):
        print(f"measuring {name} ...", flush=True)
        try:
            results += importlib.import_module(f"bench.{name}").run(args.soak)
        except Exception as error:  # noqa: BLE001 - the other measurements are worth having
            failed = True
            load = os.getloadavg()[0]
            print(f"{name} could not be measured (load {load:.1f}): {error!r}", flush=True)
    report(results, args.json)
    if failed and args.names:
        sys.exit(1)


if __name__ == "__main__":
    main()
