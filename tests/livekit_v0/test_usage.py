"""What a call on 0.12 used reaches the bill, with provider, model and turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runguard_otel.core.ports import Usage
from runguard_otel.testing.listening import final
from tests.kit.v0_call import Guarded, voice_call
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


class Bill:
    """A ``UsagePort`` that remembers."""

    def __init__(self) -> None:
        self.usages: list[Usage] = []
        self.calls: list[str] = []

    def used(self, usage: Usage) -> None:
        self.usages.append(usage)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


@contextmanager
def billed() -> Iterator[Bill]:
    bill: Any = Bill()
    with Guarded(usage=bill):
        yield bill


async def test_llm_tts_and_the_connection_are_billed() -> None:
    with billed() as bill:
        async with voice_call() as call:
            await call.hear(final("a table for two please"))
            await call.quiet()
    found = {u.component: u for u in bill.usages}
    assert (found["llm"].provider, found["llm"].model) == ("scripted", "scripted-llm")
    assert found["llm"].quantities["input_tokens"] == 7
    assert found["llm"].quantities["output_tokens"] == 2
    assert found["tts"].quantities["characters"] == len("Of course.")
    assert found["llm"].turn == found["tts"].turn != ""
    assert bill.calls.count("connection_opened") == bill.calls.count("connection_closed") == 1
    assert bill.calls.count("stream_opened") == 1
