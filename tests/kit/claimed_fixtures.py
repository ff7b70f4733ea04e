"""Fixtures over claimed_jobs; a plugin of the modules that use them, as 0.12 cannot import it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from runguard_otel.claims.registries.memory import MemoryStore
from tests.kit.claimed_jobs import QUICK, Context, Process, job, run_job


@pytest.fixture
def livekit_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://livekit.test")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def process(store: MemoryStore) -> Iterator[Process]:
    with Process(store, **QUICK) as made:
        yield made


@pytest.fixture
async def rival(store: MemoryStore) -> AsyncIterator[Context]:
    """A job of another worker that holds room-a."""
    with Process(store, **QUICK) as other:
        context = Context(job("AJ_rival"))
        assert await run_job(context)
        other.patches.undo()  # its process is not this one
        yield context
