"""Every test module declares exactly one category, or collection fails."""

from __future__ import annotations

import os

# LiveKit's own telemetry must never leave the machine, and its native logs must not fill ours.
os.environ.setdefault("LIVEKIT_EVALS_VERBOSE", "0")

import hypothesis
import pytest

from runguard_otel.testing import plugin

# How long one example takes says how busy the machine is, and nothing about the example.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

pytest_plugins = [
    "tests.kit.fixtures",
    "tests.kit.lease_holders",
    "tests.kit.recording",
    "tests.kit.stage_room",
    "tests.kit.telemetry",
]

CATEGORIES = {"unit", "contract", "livekit", "host_contract", "chain"}


def pytest_configure(config: pytest.Config) -> None:
    # An environment that was made before the package had its entry point has the code all the same.
    if not config.pluginmanager.has_plugin("runguard"):
        config.pluginmanager.register(plugin, "runguard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        found = CATEGORIES & {mark.name for mark in item.iter_markers()}
        if len(found) != 1:
            raise pytest.UsageError(
                f"{item.nodeid}: declare exactly one category, as in "
                f"`pytestmark = pytest.mark.unit` (one of {sorted(CATEGORIES)}), found {found}"
            )
