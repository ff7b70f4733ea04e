"""``python -m tests.kit.turn_streams``: the streams of a turn, and which of them were looked into.

In a process of its own: CPython shares the names of attributes among all objects of a class, 30 of
them at most, and whatever other tests put on a stream is among them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from typing import Any

from livekit.agents.llm import LLMStream
from livekit.agents.stt import RecognizeStream
from livekit.agents.tts import SynthesizeStream

import runguard_otel
from runguard_otel.testing.calls import call
from runguard_otel.testing.models import final

KINDS = LLMStream, RecognizeStream, SynthesizeStream


def looked_into(stream: object) -> bool:
    """Whether somebody asked for its ``__dict__``, which then is what it refers to."""
    return any(type(one) is dict and "_conn_options" in one for one in gc.get_referents(stream))


def keep(kind: Any, streams: list[Any]) -> None:
    """Remember the streams of a kind that are made from now on."""
    original = kind.__init__

    def __init__(stream: Any, *args: Any, **kwargs: Any) -> None:
        original(stream, *args, **kwargs)
        streams.append(stream)

    kind.__init__ = __init__


async def main() -> None:
    """Print which kinds of streams were made, and the names of those that were looked into."""
    streams: list[Any] = []
    for kind in KINDS:
        keep(kind, streams)
    runguard_otel.instrument(claims_url="memory://", metrics_port=0)
    async with call(voice=True) as c:
        await c.hear(final("I would like a table for two"))
        await c.quiet()
    made = [kind.__name__ for kind in KINDS if any(isinstance(s, kind) for s in streams)]
    found = [type(stream).__name__ for stream in streams if looked_into(stream)]
    vars(streams[0])
    print(json.dumps({"made": made, "looked into": found, "control": looked_into(streams[0])}))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
