"""Tracks that flap and the STT streams they open."""

from __future__ import annotations

from dashboards.boards.parts import each, guard_open, how_to_read, lines, number, trips_of
from dashboards.model import Board, Row, Target
from dashboards.queries import increase, legend, now, owner, rate, ratio

__all__ = ["BOARD"]

_SUBSCRIBED = "runguard.track.subscriptions"
_STREAMS, _JOBS = "runguard.stt.streams", "runguard.jobs"
_OWNER = owner(_STREAMS, _JOBS)

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
                    ratio(now(_STREAMS), now(_JOBS)),
                    width=6,
                    zero=False,
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
                    each(rate, _SUBSCRIBED, "subscription", exemplar=True),
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
                    each(now, _STREAMS, "provider model"),
                    each(now, _JOBS, words="jobs"),
                    width=8,
                    decimals=0,
                ),
                lines(
                    "STT streams per job",
                    "Open streams per running job over time; the alert is at 1.5 for 5 minutes.",
                    Target(
                        ratio(now(_STREAMS, _OWNER), now(_JOBS, _OWNER)),
                        legend(*_OWNER.split()),
                    ),
                    width=8,
                    decimals=2,
                ),
                lines(
                    "Audio into STT",
                    "Seconds of audio per second that providers receive; each is billed.",
                    each(rate, "runguard.stt.audio", "provider model"),
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
                    each(rate, _SUBSCRIBED, "source"),
                    unit="eps",
                ),
                guard_open("track_subscribe"),
            ),
        ),
        how_to_read(
            "Code that opens an STT stream for every `track_subscribed` pays for as many streams "
            "as a flapping network makes. With the guard in enforce mode the next subscription of "
            "the same participant and source shares the open stream (**shared**). **STT streams "
            "per job** well above 1 while jobs stay level is a leak: streams that are never closed."
        ),
    ),
)
