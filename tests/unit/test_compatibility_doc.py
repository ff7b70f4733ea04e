"""docs/compatibility.md is complete, and a page that says something else is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from runguard_otel.core.signatures import GuardName
from tools import private_names
from tools.compatibility_doc import ACTS, DOC, PATHS, SKIPS, Found, differences, render
from tools.matrix_environments import releases

pytestmark = pytest.mark.unit

TEXT = DOC.read_text(encoding="utf-8")


def tables() -> list[list[list[str]]]:
    """Head and rows of each, without the rule between."""
    found: list[list[list[str]]] = [[]]
    for line in TEXT.splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in line.split("|")[1:-1]])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if table]


def test_every_supported_release_has_a_row_and_every_guard_a_column() -> None:
    head, *rows = tables()[0]
    assert [name.strip("`") for name in head[1:]] == list(ACTS)
    assert set(ACTS) == {str(guard) for guard in GuardName}
    assert [row[0] for row in rows] == releases()
    for row in rows:
        assert {cell.partition(":")[0] for cell in row[1:]} <= {"full", "observe only", "absent"}


def test_every_misfire_has_figures_for_every_release() -> None:
    head, *rows = tables()[1]
    assert head[2:] == releases()
    assert {row[0] for row in rows} == set(PATHS.values())
    assert all(len(row) == len(head) and all(row) for row in rows)


def probe(version: str, asked: int = 0, missing: str = "") -> dict[str, Any]:
    names = [(guard, act) for guard, acts in ACTS.items() for act in acts[:1]]
    patches = [
        {"guard": guard, "name": name, "state": "missing" if name == missing else "installed"}
        for guard, name in names
    ]
    row = {"path": "echoes", "mode": "vad", "before": ["x"] * 3, "after": ["x"] * asked}
    return {"version": version, "patches": patches, "misfires": [row], "defects": []}


PAGE = render([Found(probe("1.0.23"), {"no metrics": 3}), Found(probe("1.8.9"), {"old": 1})])


def test_a_page_that_says_what_was_found_has_no_differences() -> None:
    """How many tests a reason costs is no part of it."""
    now = [Found(probe("1.0.23"), {"no metrics": 4}), Found(probe("1.8.9"), {}, complete=False)]
    assert differences(now, PAGE) == []


@pytest.mark.parametrize(
    ("old", "said"),
    [
        (Found(probe("1.0.23", asked=1), {"no metrics": 3}), "| 3 -> 1 |"),
        (Found(probe("1.0.23", missing="Room.connect"), {"no metrics": 3}), "no `Room.connect`"),
        (Found(probe("1.0.24"), {"no metrics": 3}), "| 1.0.24 | full"),
        (Found(probe("1.0.23"), {}), "- 1.0.23 skips: no metrics"),
        (Found(probe("1.0.23"), {"no metrics": 3, "new": 1}), "+ 1.0.23 skips: new"),
    ],
    ids=["figure", "hook", "release", "reason gone", "new reason"],
)
def test_a_page_that_says_something_else_is_noticed(old: Found, said: str) -> None:
    now = [old, Found(probe("1.8.9"), {}, complete=False)]
    assert [line for line in differences(now, PAGE) if said in line]


def test_the_page_ends_with_what_is_skipped_where_and_why() -> None:
    assert PAGE.partition(f"## {SKIPS}\n")[2].split("\n") == [
        "",
        "- no metrics: 1.0.23",
        "- old: 1.8.9",
        "",
    ]
    assert f"## {SKIPS}\n" in TEXT


def test_private_names_are_those_that_facts_read_and_hooks_patch() -> None:
    found = private_names.names()
    assert "dispatch.hooks" in found["_JobProc"]
    assert "facts.job" in found["_job_ctx"]
    assert "_on_stt_event" in found
    assert not [name for name in found if name.startswith("_runguard") or name == "_"]


def test_a_name_that_the_installed_release_has_not_is_told_from_one_it_has() -> None:
    assert private_names.present({"_job_ctx": 1, "_no_such_name_anywhere": 1}) == ["_job_ctx"]


def test_every_private_name_has_a_row_with_a_mark_or_none_for_every_release() -> None:
    head, *rows = tables()[2]
    assert head[2:] == releases()
    assert [row[0].strip("`") for row in rows] == list(private_names.names())
    of_plugins = {"`_stt_options`"}  # kept by recognisers that come in packages of their own
    gone = {row[0] for row in rows if not any(row[2:])}
    assert gone <= of_plugins, "no release has it: who reads it?"
