"""The ceiling of own bytecodes, which CI compares, is one that a change for the worse exceeds."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from livekit import agents

from bench.builds import ROOT, Build, now, probe
from bench.bytecodes import CEILINGS, PYTHON, own
from tools.matrix_environments import newest

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="the ceilings are for Python 3.11"),
    pytest.mark.skipif(agents.__version__ != newest(), reason="the ceilings are the newest's"),
]


def measured(build: Build) -> dict[str, float]:
    with ExitStack() as stack:
        hub = stack.enter_context(probe(build, "worker")).ask("address")
        session = stack.enter_context(probe(build, "turn", "runguard"))
        return {kind: own(session, kind, hub) for kind in CEILINGS}


def test_a_turn_is_below_the_ceiling_and_says_the_same_again() -> None:
    first, second = measured(now()), measured(now())
    assert first["text"] == pytest.approx(second["text"], rel=0.01)
    assert first["audio"] == pytest.approx(second["audio"], rel=0.02)  # as frames fall together
    for kind, ceiling in CEILINGS.items():
        assert first[kind] <= ceiling


def test_a_layer_more_around_the_frame_path_is_above_it(tmp_path: Path) -> None:
    """The mutant: ``push_frame`` in the usual shape again, as it was."""
    rows, text = copied(tmp_path, "runguard_otel/adapters/livekit/usage/hooks.py")
    flat = text[text.index("        hooks.flat(") : text.rindex("    ]")]
    usual = '        hooks.after(stream, "push_frame", streams.heard, why="As it was."),\n'
    rows.write_text(text.replace(flat, usual), encoding="utf-8")
    assert measured(Build("mutant", tmp_path))["audio"] > CEILINGS["audio"]


def test_a_session_looked_for_with_each_token_is_above_it(tmp_path: Path) -> None:
    """The mutant: whose words they are is asked again and again, as it was."""
    hook, text = copied(tmp_path, "runguard_otel/adapters/livekit/misfire/sessions.py")
    known = "read(stream, _SAYS)"
    assert known in text
    hook.write_text(text.replace(known, "None"), encoding="utf-8")
    assert measured(Build("mutant", tmp_path))["token"] > CEILINGS["token"]


def copied(folder: Path, file: str) -> tuple[Path, str]:
    """The package in ``folder``, and one file of it with its text."""
    package = folder / "runguard_otel"
    shutil.copytree(ROOT / "runguard_otel", package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / file, (folder / file).read_text(encoding="utf-8")
