"""What a scripted realtime model hears and says."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, fields
from typing import Any

from livekit import rtc
from livekit.agents import llm, utils

__all__ = ["Heard", "Response", "known"]


@dataclass(frozen=True)
class Heard:
    """What the model makes of one voice.

    Args:
        text: The transcript; blank when there was none to make; ``None``: none is reported.
        confidence: 0 to 1, or ``None`` when the model reports none.
        call: Name of a tool to call instead of answering.
    """

    text: str | None
    confidence: float | None = None
    call: str = ""


class Response:
    """One answer: the unit that is billed, by its seconds of audio."""

    def __init__(self, name: str, *, asked: bool) -> None:
        self.name = name
        self.asked = asked
        self.cancelled = False
        self.seconds = 0.0
        self.messages: utils.aio.Chan[Any] = utils.aio.Chan()
        self.calls: utils.aio.Chan[Any] = utils.aio.Chan()
        self.text: utils.aio.Chan[str] = utils.aio.Chan()
        self.audio: utils.aio.Chan[rtc.AudioFrame] = utils.aio.Chan()
        self.pump: asyncio.Task[None] | None = None

    @property
    def unread(self) -> int:
        """Parts that were sent and never taken."""
        return sum(c.qsize() for c in (self.messages, self.calls, self.text, self.audio))

    @property
    def running(self) -> bool:
        """Whether the model is still speaking."""
        return self.pump is not None and not self.pump.done()

    def event(self) -> llm.GenerationCreatedEvent:
        """What the host is told when the answer begins."""
        return llm.GenerationCreatedEvent(
            message_stream=self.messages, function_stream=self.calls, user_initiated=self.asked
        )

    def call(self, tool: str) -> None:
        """Call a tool, without arguments."""
        made = llm.FunctionCall(call_id=f"call-{self.name}", name=tool, arguments="{}")
        self.calls.send_nowait(made)

    def say(self, text: str) -> None:
        """Begin to speak; the audio comes later."""
        modalities: asyncio.Future[Any] = asyncio.Future()
        modalities.set_result(["audio", "text"])
        parts = {
            "message_id": self.name,
            "text_stream": self.text,
            "audio_stream": self.audio,
            "modalities": modalities,
        }
        self.messages.send_nowait(llm.MessageGeneration(**known(llm.MessageGeneration, **parts)))
        self.text.send_nowait(text)

    def close(self) -> None:
        """Nothing more will come."""
        for channel in (self.messages, self.calls, self.text, self.audio):
            if not channel.closed:
                channel.close()


def known(kind: Any, **wanted: Any) -> dict[str, Any]:
    """What this release's event or capabilities have; older ones have fewer fields."""
    names = {f.name for f in fields(kind)} & set(inspect.signature(kind).parameters)
    return {name: value for name, value in wanted.items() if name in names}
