"""A reader that goes away (``| head``) is not an error of ours: never 1, and no complaint."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runguard_otel.cli import UNREAD

pytestmark = pytest.mark.unit

RUN = "from runguard_otel.cli import main; main()"


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("cost", "estimate"),
        ("cost", "prices", "--json"),
        ("export", "alerts", "--list"),
    ],
)
def test_a_closed_pipe_has_an_exit_code_of_its_own(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *words],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (UNREAD, b"")


def test_an_error_still_ends_with_its_own_code() -> None:
    words = ("cost", "prices", "--component", "foo")
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
