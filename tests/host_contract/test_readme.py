"""The code of README and first pages does what they say, in the order in which it is read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.host_contract

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/quickstart.md", "docs/guards-alone.md")

TYPED = """
import ast, asyncio, inspect, json, sys

async def typed():
    names = {}
    for block in json.load(sys.stdin):
        code = compile(block, "a page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.isawaitable(running):
            await running
    print(json.dumps({name: names[name] for name in ("asks", "new")}))

asyncio.run(typed())
"""


def test_every_snippet_of_the_first_pages_runs(tmp_path: Path) -> None:
    texts = [(ROOT / page).read_text("utf-8") for page in PAGES]
    found = [
        block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    blocks = [textwrap.dedent(block) for block in found]
    assert len(blocks) >= 4
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))}
    ran = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", TYPED],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"asks": True, "new": True}
