"""What we note on streams of the host leaves them as quick as they were."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from runguard_otel.adapters.notes import forget, note, noted
from tests.kit.servers import ROOT

pytestmark = pytest.mark.livekit


class Wraps:
    """Answers for another object whatever it is asked."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Plain:
    pass


def test_what_wraps_another_has_notes_of_its_own() -> None:
    inner = Plain()
    outer = Wraps(inner)
    note(inner, "_note", 1)
    assert (noted(inner, "_note"), noted(outer, "_note")) == (1, None)
    note(outer, "_note", 2)
    forget(inner, "_note")
    forget(inner, "_note")
    assert (noted(inner, "_note"), noted(outer, "_note")) == (None, 2)


@pytest.mark.skipif(
    not (3, 11) <= sys.version_info < (3, 13), reason="what is looked into is slow in 3.11 and 3.12"
)
def test_no_stream_of_a_turn_is_looked_into() -> None:
    """Fails if anything of ours, in any hook of a turn, asks a stream for its ``__dict__``."""
    command = [sys.executable, "-m", "tests.kit.turn_streams"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == {
        "made": ["LLMStream", "RecognizeStream", "SynthesizeStream"],
        "looked into": [],
        "control": True,
    }
