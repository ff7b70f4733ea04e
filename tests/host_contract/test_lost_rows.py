"""Take any one target of ours from the host: the warning says exactly what is lost with it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator

import pytest

import runguard_otel
from runguard_otel.adapters import livekit as adapter
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.core.ports import UsagePort
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.host_contract


class Unpriced:
    """A ``UsagePort`` that nobody calls: the rows alone are looked at."""


def table() -> list[Patch]:
    port: UsagePort = Unpriced()  # type: ignore[assignment]
    return adapter.patches(Services(Settings.load(), MemoryRecorder(), usage=port))


ROWS = {f"{row.name} of {row.guard}": row for row in table()}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    runguard_otel.uninstrument()
    yield
    runguard_otel.uninstrument()


def warnings(caplog: pytest.LogCaptureFixture) -> dict[str, tuple[set[str], str]]:
    """Guard -> what the host lacks, and what is said to be lost."""
    runguard_otel.instrument()
    found: dict[str, tuple[set[str], str]] = {}
    for record in caplog.records:
        if record.levelno == logging.WARNING and "is degraded" in record.getMessage():
            guard, names, lost = record.args  # type: ignore[misc]
            found[str(guard)] = (set(str(names).split(", ")), str(lost))
    return found


def gone(row: Patch) -> bool:
    return inspect.getattr_static(row.owner, row.attribute, None) is None


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row.attribute != "__init__"]
)
def test_a_renamed_method_is_named_with_its_guard_and_what_it_was_for(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = ROWS[name]
    for kind in row.owner.__mro__:
        if row.attribute in vars(kind):
            monkeypatch.delattr(kind, row.attribute)
    now = table()
    if not any((r.name, r.guard) == (row.name, row.guard) for r in now):
        pytest.skip("such rows are looked for: another method or class takes its place")
    expected: dict[str, set[str]] = {}
    for other in now:
        if gone(other):
            expected.setdefault(str(other.guard), set()).add(other.name)
    found = warnings(caplog)
    assert {guard: names for guard, (names, _) in found.items()} == expected
    assert row.why.rstrip(".") in found[str(row.guard)][1]


BY_NAME = ("telemetry", "job_processes", "vad_misfire")
NAMED = [
    row for row in ROWS.values() if row.guard in BY_NAME and row.owner.__name__ != "WatchServer"
]
"""The rows of wings that name their classes instead of importing them. ``WatchServer`` is for old
releases only: where it is not to be found, nothing is lost."""


@pytest.mark.parametrize("owner", sorted({row.owner.__name__ for row in NAMED}))
def test_a_renamed_class_costs_its_own_rows_and_no_other(
    owner: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if rows are collected per module: one class would take ProcPool.__init__ with it."""
    (kind,) = {row.owner for row in NAMED if row.owner.__name__ == owner}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "livekit" and vars(module).get(owner) is kind:
            monkeypatch.delattr(module, owner)
    rows = {(row.guard, row.attribute): row.why for row in NAMED if row.owner is kind}
    lacking = [row for row in PatchSet(table()).missing if (row.guard, row.attribute) in rows]
    assert len(lacking) == len(rows)
    found = warnings(caplog)
    for guard in BY_NAME:
        names, lost = found.get(guard, (set(), ""))
        assert names == {row.name for row in lacking if row.guard == guard}
        assert all(row.why.rstrip(".") in lost for row in lacking if row.guard == guard)
