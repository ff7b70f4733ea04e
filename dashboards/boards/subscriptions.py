"""Tracks that flap and the STT streams they open."""

from __future__ import annotations

from dashboards.boards.parts import guard_open, how_to_read, lines, number, trips_of
from dashboards.model import Board, Row, Target
from dashboards.queries import increase, legend, now, rate, ratio

__all__ = ["BOARD"]

_MODEL = legend("provider", "model")
_SUBSCRIBED = "runguard.track.subscriptions"
_PER_JOB = ratio(now("runguard.stt.streams"), now("runguard.jobs"))

BOARD = Board(
    "runguard-subscriptions",
    "Runguard / Subscriptions",
    "Track subscriptions, the STT streams they open, and how many of them were shared instead.",
    (
        Row(
            4,
            (
                number(
                    "Cascades",
                    "Subscription cascades found in the range shown.",
                    increase("runguard.trips", guard="track_subscribe"),
                    width=6,
                    bad=1,
                    decimals=0,
                ),
                number(
                    "STT streams per job",
                    "Open STT streams per running job at this moment; 1 is healthy.",
                    _PER_JOB,
                    width=6,
                    warn=1.2,
                    bad=1.5,
                    decimals=2,
                ),
                number(
                    "Streams shared",
                    "Subscriptions that got the stream that was open already.",
                    increase(_SUBSCRIBED, subscription="reused"),
                    width=6,
                    decimals=0,
                ),
                number(
                    "Streams opened",
                    "Subscriptions for which a stream was opened.",
                    increase(_SUBSCRIBED, subscription="opened"),
                    width=6,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Subscriptions by outcome",
                    "Subscriptions per second: opened a stream, shared one, or only observed.",
                    Target(
                        rate(_SUBSCRIBED, "subscription"), legend("subscription"), exemplar=True
                    ),
                    unit="eps",
                ),
                trips_of("track_subscribe"),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Open STT streams against jobs",
                    "Open streams by model, and running jobs; streams that leave jobs behind leak.",
                    Target(
                        now("runguard.stt.streams", "provider model"), legend("provider", "model")
                    ),
                    Target(now("runguard.jobs"), "jobs"),
                    width=8,
                    decimals=0,
                ),
                lines(
                    "STT streams per job",
                    "Open streams per running job over time; the alert is at 1.5 for 5 minutes.",
                    Target(_PER_JOB, "streams per job"),
                    width=8,
                    decimals=2,
                ),
                lines(
                    "Audio into STT",
                    "Seconds of audio per second that providers receive; each is billed.",
                    Target(
                        rate("runguard.stt.audio", "provider model"), legend("provider", "model")
                    ),
                    width=8,
                ),
            ),
        ),
        Row(
            6,
            (
                lines(
                    "Subscriptions by source",
                    "Subscriptions per second by the track's source.",
                    Target(rate(_SUBSCRIBED, "source"), legend("source")),
                    unit="eps",
                ),
                guard_open("track_subscribe"),
            ),
        ),
        how_to_read(
            "Code that opens an STT stream for every `track_subscribed` pays for as many streams "
            "as a flapping network makes. With the guard in enforce mode the next subscription of "
            "the same participant and source shares the open stream (**shared**). **STT streams "
            "per job** well above 1 while jobs stay level is a leak: streams that nobody closes."
        ),
    ),
)
