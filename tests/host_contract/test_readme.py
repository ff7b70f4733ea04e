"""The README's code does what it says, in the order in which a reader would type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.host_contract

README = Path(__file__).parents[2] / "README.md"

TYPED = """
import ast, asyncio, inspect, json, sys

async def typed():
    names = {}
    for block in json.load(sys.stdin):
        code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.isawaitable(running):
            await running
    print(json.dumps({name: names[name] for name in ("asks", "new")}))

asyncio.run(typed())
"""


def test_every_snippet_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))}
    ran = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", TYPED],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "TMPDIR": str(tmp_path), "PYTHONPATH": str(README.parent)},
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"asks": True, "new": True}
