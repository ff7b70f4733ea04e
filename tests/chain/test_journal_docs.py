"""What docs/journal.md says to type works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runguard_otel.journal.recorder import TapedRecorder
from tests.kit.journals import Desk
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.chain

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"
SECONDS = 60


def trips(folder: Path, number: int) -> None:
    """A call that trips once, in a file whose last line is torn."""
    desk = Desk(f"AJ_{number}")
    policy = desk.policies.misfire(desk.subject)
    recorder = TapedRecorder(MemoryRecorder(), desk.book, lambda name: f"h-{len(name)}", desk.clock)
    for _ in range(6):
        desk.wait(1)
        decision = policy.on_final("", None, now=desk.now)
        if decision.trip is not None:
            recorder.trip(decision.trip)
    history = desk.history(folder, f"20260101T00000{number}Z-AJ_{number}")
    with history.parts[0].open("ab") as file:
        file.write(b'{"t":1010.0,"e":"tri')


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs Debian's jq")
def test_the_line_for_jq_tells_the_trips_of_all_calls(tmp_path: Path) -> None:
    """Fails if jq stops at a torn line, or a word of the line is none of the schema any more."""
    (line,) = re.findall(r"^jq .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    folder = tmp_path / "journal"
    folder.mkdir()
    for number in (1, 2):
        trips(folder, number)
    told = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    assert (told.returncode, told.stderr) == (0, "")
    row = "vad_misfire:empty_transcript\t5\t5\tsuppress"
    assert told.stdout.splitlines() == [f"AJ_1\t{row}", f"AJ_2\t{row}"]
