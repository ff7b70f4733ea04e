"""The environments of the host-version matrix are pinned to the last package, and name no index."""

from __future__ import annotations

import re

import pytest

from tools.matrix_environments import LOCKS, newest, releases

pytestmark = pytest.mark.unit

LOCKED = releases()[:-1]


def test_the_range_is_0_12_and_every_minor_of_1_x_up_to_the_newest() -> None:
    minors = [tuple(map(int, version.split(".")[:2])) for version in releases()]
    last = int(newest().split(".")[1])
    assert minors == [(0, 12), *((1, minor) for minor in range(last + 1))]


@pytest.mark.parametrize("version", LOCKED)
def test_a_lock_file_holds_its_release_and_one_version_of_every_package(version: str) -> None:
    wanted = (LOCKS / f"agents-{version}.in").read_text(encoding="utf-8").splitlines()
    assert f"livekit-agents=={version}" in wanted
    lines = (LOCKS / f"agents-{version}.txt").read_text(encoding="utf-8").splitlines()
    assert f"livekit-agents=={version}" in [line.partition(" ;")[0] for line in lines]
    pinned = re.compile(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^=\s;]+( ; .+)?", re.IGNORECASE)
    assert [line for line in lines if not pinned.fullmatch(line)] == []
    # Installed with --no-deps: whatever the wanted packages need stands in the file as well.
    names = {re.split(r"[\[=]", line)[0] for line in lines}
    assert {"livekit", "livekit-protocol", "pydantic-core", "pluggy"} <= names


def test_what_ci_installs_first_is_hashed() -> None:
    for name in ("bootstrap", "dev"):
        text = (LOCKS.parent / f"{name}.txt").read_text(encoding="utf-8")
        packages = re.split(r"\n(?=\S)", text.strip())
        assert [p for p in packages if "--hash=sha256:" not in p] == []
        assert "://" not in text
