"""Noise in a call of 0.12, again and again."""

from __future__ import annotations

from runguard_otel.testing.listening import final
from tests.kit.v0_call import VoiceCall, until

GENUINE = "a table for two please"


SPEECH = "Your table for two is booked for eight on Friday, see you then."


ECHO = "table for two is booked"


SUPPRESSED = ("empty_transcript", "suppressed")


async def storm(call: VoiceCall, times: int = 5) -> None:
    for _ in range(times):
        await call.hear(final("", 0.0))
        await call.quiet()


async def say(call: VoiceCall, text: str = SPEECH) -> None:
    """The agent says ``text``; returns while it speaks."""
    await call.agent.say(text)
    await until(lambda: call.speaking, "the agent speaks")
