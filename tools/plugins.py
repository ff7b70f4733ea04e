"""Run ``tests/plugins`` with released speech plugins, in environments of their own.

``requirements/plugins/NAME-VERSION.txt`` names what is in one; ``tests/plugins/test_NAME.py`` runs.
With ``recognisers`` and ``models`` the laboratory prints what each of them does, and fails where it
does otherwise than ``facts/recognisers.json`` or ``facts/billing.json`` says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.matrix_environments import ROOT, InstallFailed, prepared

LABORATORY = {"recognisers": ("stt",), "models": ("llm", "realtime", "tts")}
"""What the laboratory runs in which environment."""


def main() -> int:
    """Run them all; 1 if one failed or could not be installed."""
    failed = 0
    for lock in sorted((ROOT / "requirements" / "plugins").glob("*.txt")):
        name, _, version = lock.stem.partition("-")
        print(f"livekit-plugins-{name} {version}", flush=True)
        try:
            python = prepared(lock, ROOT / ".cache" / "plugins" / lock.stem)
        except InstallFailed as failure:
            print(failure, file=sys.stderr)
            failed = 1
            continue
        commands = [["pytest", "-q", f"tests/plugins/test_{name}.py"]]
        if name in LABORATORY:
            commands.insert(0, ["tests.plugins.lab", "--check", "--of", *LABORATORY[name]])
        for command in commands:
            done = subprocess.run([str(python), "-m", *command], cwd=ROOT, check=False)
            failed |= done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
