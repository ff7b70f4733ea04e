"""The five storms, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runguard_otel.core.signatures import GuardName

__all__ = ["PHASES", "STORMS", "Storm"]


@dataclass(frozen=True)
class Storm:
    """One storm.

    Args:
        name: Its module in ``storms/``, and what ``--only`` takes.
        title: For people.
        guard: The guard it is meant to trip.
        story: What happens, in one sentence.
        measure: What the chart shows over time: ``cost`` or a field of ``Used``.
        seconds: How long a run takes on an idle machine, its start included.
        served: What the user must still get, as a noun; empty where that cannot be counted.
    """

    name: str
    title: str
    guard: GuardName
    story: str
    measure: str
    seconds: int
    served: str = ""


STORMS: Final = (
    Storm(
        "reconnect",
        "Room reconnects",
        GuardName.ROOM_RECONNECT,
        "The network drops the agent every half second, and the agent joins again each time.",
        "connections",
        15,
    ),
    Storm(
        "misfire",
        "VAD misfires",
        GuardName.VAD_MISFIRE,
        "A guest at a noisy table on speakerphone: echo, neighbours and babble between two "
        "bookings.",
        "llm_calls",
        60,
        "bookings understood",
    ),
    Storm(
        "dispatch",
        "Duplicate jobs",
        GuardName.JOB_DISPATCH,
        "The same room is dispatched twice, to two real workers, and both are glad to help.",
        "cost",
        30,
        "guests understood",
    ),
    Storm(
        "tracks",
        "Track subscriptions",
        GuardName.TRACK_SUBSCRIBE,
        "A phone publishes its microphone eight times; a transcriber opens a stream per track.",
        "stt_seconds",
        30,
        "sentences transcribed",
    ),
    Storm(
        "overrun",
        "Overruns",
        GuardName.SESSION_OVERRUN,
        "The caller hangs up and the agent stays, with an STT that reconnects for ever; a minute "
        "passes in a second.",
        "cost",
        20,
    ),
)

PHASES: Final = (("dispatch", "reconnect", "overrun"), ("misfire", "tracks"))
"""What runs side by side. Starting workers is hard work for a small machine; hearing is not, but
it must not be disturbed."""
