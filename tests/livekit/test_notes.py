"""What we note on streams of the host leaves them as quick as they were."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from livekit.agents.llm import LLMStream
from livekit.agents.stt import RecognizeStream
from livekit.agents.tts import SynthesizeStream

import runguard_otel
from runguard_otel.adapters.notes import forget, note, noted
from runguard_otel.testing.calls import call
from runguard_otel.testing.models import final

pytestmark = pytest.mark.livekit

KINDS = LLMStream, RecognizeStream, SynthesizeStream


class Wraps:
    """Answers for another object whatever it is asked."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Plain:
    pass


def test_what_wraps_another_has_notes_of_its_own() -> None:
    inner = Plain()
    outer = Wraps(inner)
    note(inner, "_note", 1)
    assert (noted(inner, "_note"), noted(outer, "_note")) == (1, None)
    note(outer, "_note", 2)
    forget(inner, "_note")
    forget(inner, "_note")
    assert (noted(inner, "_note"), noted(outer, "_note")) == (None, 2)


def looked_into(stream: object) -> bool:
    """Whether somebody asked for its ``__dict__``, which then is what it refers to."""
    return any(type(one) is dict and "_conn_options" in one for one in gc.get_referents(stream))


@pytest.mark.skipif(
    not (3, 11) <= sys.version_info < (3, 13), reason="what is looked into is slow in 3.11 and 3.12"
)
async def test_no_stream_of_a_turn_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if anything of ours, in any hook of a turn, asks a stream for its ``__dict__``."""
    streams: list[Any] = []
    for kind in KINDS:

        def kept(stream: Any, *args: Any, original: Any = kind.__init__, **kwargs: Any) -> None:
            original(stream, *args, **kwargs)
            streams.append(stream)

        monkeypatch.setattr(kind, "__init__", kept)
    runguard_otel.instrument(claims_url="memory://", metrics_port=0)
    try:
        async with call(voice=True) as c:
            await c.hear(final("I would like a table for two"))
            await c.quiet()
        for kind in KINDS:
            assert any(isinstance(stream, kind) for stream in streams), kind
        assert [type(stream).__name__ for stream in streams if looked_into(stream)] == []
        vars(streams[0])
        assert looked_into(streams[0])
    finally:
        runguard_otel.uninstrument()
