"""VAD misfires: a guest at a noisy table, on speakerphone, with the agent's voice coming back.

Real: ``AgentSession``, the Silero voice detector, the recogniser, the audio. Scripted: the language
model and the voice, which count what they would bill.
"""

from __future__ import annotations

from typing import Final

from runguard_otel.demo.clips import Cue, Soundtrack
from runguard_otel.demo.storms.restaurant import Restaurant
from runguard_otel.demo.watch import guards_on
from runguard_otel.demo.wire import Report

__all__ = ["CUES", "GUEST", "SECONDS", "play"]

CUES: Final = (
    Cue(0.6, "guest_book", 'guest: "I would like to book a table for two"'),
    Cue(4.9, "echo_booked", "the agent's own voice, back through the speaker"),
    Cue(10.6, "echo_again", "the agent's own voice, back through the speaker"),
    Cue(14.8, "chatter_salt", 'next table: "Pass me the salt, would you"'),
    Cue(18.4, "office_babble", "five people talking at once"),
    Cue(21.8, "chatter_thursday", 'next table: "No, we should move the meeting"'),
    Cue(26.2, "chatter_coming", 'next table: "Yes dear, I am coming"'),
    Cue(29.4, "chatter_yeah", 'next table: "Yeah"'),
    Cue(31.4, "chatter_thursday", 'next table: "No, we should move the meeting"'),
    Cue(35.8, "guest_reserve", 'guest: "Can I reserve a table for four tonight"'),
)
SECONDS: Final = 42.0
GUEST: Final = ("i would like to book a table for two", "can i reserve a table for four tonight")


async def play(report: Report, guards: bool) -> None:
    """Let the session hear the soundtrack once, in real time."""
    if guards:
        guards_on(report)
    track = Soundtrack(CUES, SECONDS)
    agent = Restaurant(report)
    await agent.open()
    report.ready()
    await agent.hear(track)
    await agent.settle(GUEST)
    report.served(agent.understood(GUEST), of=len(GUEST))
    report.done(agent.used())
    await agent.close()
