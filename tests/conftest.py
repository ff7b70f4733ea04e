"""Every test module declares exactly one category, or collection fails."""

from __future__ import annotations

import os

# LiveKit's own telemetry must never leave the machine, and its native logs must not fill ours.
os.environ.setdefault("LIVEKIT_EVALS_VERBOSE", "0")

import pytest

pytest_plugins = [
    "tests.kit.fixtures",
    "tests.kit.keeping",
    "tests.kit.recording",
    "tests.kit.stage_room",
    "tests.kit.telemetry",
]

CATEGORIES = {"unit", "contract", "livekit", "host_contract", "chain"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        found = CATEGORIES & {mark.name for mark in item.iter_markers()}
        if len(found) != 1:
            raise pytest.UsageError(
                f"{item.nodeid}: declare exactly one category, as in "
                f"`pytestmark = pytest.mark.unit` (one of {sorted(CATEGORIES)}), found {found}"
            )
