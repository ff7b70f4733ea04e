"""Zero-code follows what the program imports: rooms alone, agents alone, or one after the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.host_contract

BEGIN = """
import sys
from runguard_otel.zero_code import RunGuardInstrumentor
RunGuardInstrumentor().instrument()
def hooked():
    from runguard_otel import instrumentor
    guard = instrumentor._active
    names = [r.name for r in guard.patches if r.state == "installed"] if guard else []
    return " ".join([str(len(names) > 20), str("Room.connect" in names)])
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


def test_rooms_alone_are_guarded_and_no_framework_is_imported() -> None:
    """Fails without the hook on ``livekit.rtc``, and if that imports all of livekit-agents."""
    said = run("from livekit import rtc\nprint(hooked(), 'livekit.agents' in sys.modules)")
    assert said == "False True False"


@pytest.mark.parametrize(
    "imports",
    ["import livekit.agents", "from livekit import rtc\nfrom livekit import agents"],
    ids=["agents", "rooms-then-agents"],
)
def test_agents_are_guarded_whole(imports: str) -> None:
    """Fails if the import of rooms by the framework is taken for a program without it."""
    pytest.importorskip("livekit.agents.voice", reason="0.12 has fewer rows")
    assert run(f"{imports}\nprint(hooked())") == "True True"


def test_a_program_without_livekit_pays_nothing() -> None:
    said = run("print(hooked(), [m for m in sys.modules if m.startswith('livekit')])")
    assert said == "False False []"


def test_without_livekit_agents_rooms_are_guarded() -> None:
    """What ``runguard-otel-core`` beside ``livekit`` is."""
    said = run(
        "import importlib.abc\n"
        "class Lacking(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if (name + '.').startswith('livekit.agents.'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "import runguard_otel\n"
        "runguard_otel.instrument(claims_url='memory://', metrics_port=0)\n"
        "print(hooked())"
    )
    assert said == "False True"


def test_the_handle_says_what_it_is() -> None:
    said = run(
        "import runguard_otel\n"
        "print(runguard_otel.instrument(claims_url='memory://', metrics_port=0,"
        " vad_misfire_mode='off'))"
    )
    assert said.startswith("<RunGuard: mode enforce (vad_misfire off, session_overrun observe); ")
    assert " hooks; claims in memory; no metrics leave this process>" in said
    assert (
        run(
            "import os; os.environ['RUNGUARD_DISABLED'] = 'true'\n"
            "import runguard_otel; print(runguard_otel.instrument())"
        )
        == "<RunGuard: nothing is patched>"
    )


def test_agents_that_cannot_be_imported_are_told_of_in_one_line_and_rooms_are_guarded() -> None:
    """Something that they need is not there. Mutant: six warnings about names of a release."""
    command = (
        "import importlib.abc, logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "class Lacking(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'psutil':\n"
        "            raise ModuleNotFoundError('No module named psutil', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "import runguard_otel\n"
        "print(runguard_otel.instrument())\n"
    )
    said = run(command).splitlines()
    assert len(said) == 2, said
    assert "cannot be imported (ModuleNotFoundError: No module named psutil)" in said[0]
    assert "only rooms are guarded" in said[0]
    assert "4 of 4 hooks" in said[1]
