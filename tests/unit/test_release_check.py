"""What ``make release-check`` would refuse; building and installing is for the release itself."""

from __future__ import annotations

import pytest

from tools.release_check import MUST_SHIP, copyleft, wheel_faults

pytestmark = pytest.mark.unit

SOURCES = {"runguard_otel/__init__.py", "runguard_otel/py.typed"}
WHOLE = {*SOURCES, *MUST_SHIP, "runguard_otel-0.1.0.dist-info/METADATA"}


def test_a_whole_wheel_has_no_fault() -> None:
    assert list(wheel_faults(WHOLE, SOURCES)) == []


@pytest.mark.parametrize("lost", ["runguard_otel/__init__.py", MUST_SHIP[1]])
def test_what_is_missing_is_named(lost: str) -> None:
    assert list(wheel_faults(WHOLE - {lost}, SOURCES)) == [f"{lost} is missing"]


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ("tests/__init__.py", "would be installed beside the package"),
        ("runguard_otel/forgotten.py", "is in no commit"),
        ("runguard_otel/_shipped/deploy/secrets/key", "may be a secret"),
    ],
)
def test_what_does_not_belong_there_is_named(extra: str, fault: str) -> None:
    assert list(wheel_faults(WHOLE | {extra}, SOURCES)) == [f"{extra} {fault}"]


@pytest.mark.parametrize(
    ("words", "reaches"),
    [
        ("MIT", False),
        ("Apache-2.0 AND LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("Mozilla Public License 2.0 (MPL 2.0)", False),
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0-only", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
    ],
)
def test_a_licence_that_reaches_importing_programs_is_found(words: str, reaches: bool) -> None:
    assert bool(copyleft({"a-package": ("1.0", words)})) is reaches
