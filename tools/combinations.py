"""Other tools for telemetry beside runguard: each in an environment of its own, against loopback.

``requirements/combinations/NAME-VERSION.txt`` names what is in it, ``tools/combination_probe.py``
runs there, and the table of ``docs/opentelemetry.md`` says what was found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.matrix_environments import ROOT, InstallFailed, prepared

PAGE: Final = ROOT / "docs" / "opentelemetry.md"
LOCKS: Final = ROOT / "requirements" / "combinations"
BEGIN, END = "<!-- table: make test-combinations -->", "<!-- end of table -->"
ROWS: Final = {
    "livekit": ("LiveKit's own set-up, by OTLP", "livekit-agents", True),
    "langfuse": ("Langfuse, told to take every span", "langfuse", False),
    "langfuse-filter": ("Langfuse with its own filter", "langfuse", False),
    "logfire": ("Logfire", "logfire", True),
    "sentry-sdk": ("Sentry, OTLP integration and logs", "sentry-sdk", True),
    "ddtrace": ("Datadog, `ddtrace.auto` as OpenTelemetry's provider", "ddtrace", True),
}
"""What the probe plays: its title, whose environment it is played in, whether it takes logs."""


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    title, _, takes_logs = ROWS[name]
    whole = found["trip_spans"] == 1 and found["event_spans"] == found["events"]
    spans = "yes" if whole else "**no**: "
    if not whole:
        missing = found["events"] - found["event_spans"]
        spans += (
            f"{found['trip_spans']} of 1 trip, {missing:g} of {found['events']:g} events missing"
        )
    metrics = "yes" if found["trips_counted"] == [1] else f"**no**: {found['trips_counted']}"
    logs = "yes" if found["trip_logs"] == 1 else f"**no**: {found['trip_logs']}"
    conflicts = list(found["complaints"])
    if found["spans_again"]:
        conflicts.append(
            f"sends each span to `OTEL_EXPORTER_OTLP_ENDPOINT` as well, where that is set "
            f"({found['spans_again']} trip)"
        )
    if not found["providers_kept"]:
        conflicts.append("a global provider was replaced")
    if found["hooks_missing"]:
        conflicts.append(f"hooks missing: {', '.join(found['hooks_missing'])}")
    cells = (
        title, found["version"], spans, metrics,
        logs if takes_logs else "takes none", "; ".join(conflicts) or "none",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def good(name: str, found: dict[str, Any]) -> bool:
    """Whether nothing is lost or doubled by us."""
    whole = found["trip_spans"] == 1 and found["event_spans"] == found["events"]
    logs = found["trip_logs"] == (1 if ROWS[name][2] else 0)
    kept = found["providers_kept"] and not found["hooks_missing"]
    return (whole or name == "langfuse-filter") and found["trips_counted"] == [1] and logs and kept


def main() -> int:
    """Play all, write the table; 1 if something was lost, doubled or could not be installed."""
    lines = [
        "| tool | version | spans once | metrics once | log record once | conflicts |",
        "|---|---|---|---|---|---|",
    ]
    failed = 0
    for name, (_, package, _) in ROWS.items():
        python = Path(sys.executable)
        locks = list(LOCKS.glob(f"{package}-*.txt"))
        if locks:
            try:
                python = prepared(locks[0], ROOT / ".cache" / "combinations" / locks[0].stem)
            except InstallFailed as failure:
                print(failure, file=sys.stderr)
                return 1
        done = subprocess.run(
            [str(python), "-m", "tools.combination_probe", name],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            print(f"{name}:\n{done.stderr[-3000:]}", file=sys.stderr)
            return 1
        found = json.loads(done.stdout.strip().splitlines()[-1])
        lines.append(row(name, found))
        print(lines[-1], flush=True)
        failed |= not good(name, found)
    text = PAGE.read_text(encoding="utf-8")
    table = "\n".join((BEGIN, "", *lines, "", END))
    PAGE.write_text(
        re.sub(f"{BEGIN}.*?{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
