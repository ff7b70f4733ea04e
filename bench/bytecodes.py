"""Own bytecodes of a turn, which are the same at every run: the one figure CI can compare.

Two kinds of turns, and one token of an answer that a voice speaks, of which a turn has many.

``python -m bench.bytecodes`` prints them and fails above a ceiling. A count more per turn, or a
layer more around the frame path, exceeds it; ``tests/livekit/test_bench_ceiling.py`` shows that.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from bench.builds import Probe, now, probe

GOALS = {"text": 1_000, "audio": 3_500}
CEILINGS = {"text": 1_000, "audio": 3_600, "token": 50}
"""What CI holds: a little above what was measured when it was last lowered. On CPython 3.11: other
versions have other bytecodes, and are printed only."""
PYTHON = (3, 11)
TURNS = 10


def own(session: Probe, kind: str, hub: str) -> float:
    """Bytecodes of our own functions in a turn of a job, or for a token."""
    if kind == "token":
        return float(session.ask("tokens", number=100, on=True, hub=hub)["own"])
    found: float = session.ask("bytecodes", kind=kind, turns=TURNS, on=True, hub=hub)["own"]
    return found


def main() -> int:
    """Print each kind of turn; 1 if one is above its ceiling."""
    above = 0
    with ExitStack() as stack:
        worker = stack.enter_context(probe(now(), "worker"))
        session = stack.enter_context(probe(now(), "turn", "runguard"))
        hub = worker.ask("address")
        for kind, ceiling in CEILINGS.items():
            found = own(session, kind, hub)
            held = found <= ceiling
            above += not held
            verdict = "" if held else f"  ABOVE{_most(session, kind, hub)}"
            what = "token to a voice" if kind == "token" else f"{kind} turn"
            print(f"own bytecodes, {what}: {found:,.0f} of {ceiling:,}{verdict}")
    if sys.version_info[:2] != PYTHON:
        print(f"the ceilings are for Python {'.'.join(map(str, PYTHON))}: nothing compared")
        return 0
    return 1 if above else 0


def _most(session: Probe, kind: str, hub: str) -> str:
    if kind == "token":
        return ""
    top = session.ask("bytecodes", kind=kind, turns=TURNS, on=True, hub=hub)["top"]
    return f" (most in {', '.join(f'{n} {count:.0f}' for n, count in list(top.items())[:5])})"


if __name__ == "__main__":
    sys.exit(main())
