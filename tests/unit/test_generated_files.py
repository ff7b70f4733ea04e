from __future__ import annotations

import pytest

from tools.generate import stale

pytestmark = pytest.mark.unit


def test_committed_generated_files_are_what_their_generators_say() -> None:
    assert stale() == [], "run `make generate` and commit the result"
