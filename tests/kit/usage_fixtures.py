"""The fixture over usage_desk; a plugin of the modules that use it, as 0.12 cannot import it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.usage_desk import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.patches.undo()
