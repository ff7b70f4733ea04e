"""Rooms that are joined again and again."""

from __future__ import annotations

from dashboards.boards.parts import (
    each,
    guard_open,
    how_to_read,
    lines,
    number,
    outcomes,
    trips_of,
)
from dashboards.model import Board, Row
from dashboards.queries import increase, rate

__all__ = ["BOARD"]

BOARD = Board(
    "runguard-reconnects",
    "Runguard / Reconnects",
    "The application's own reconnects, the guard on them, and the outages the SDK handles itself.",
    (
        Row(
            4,
            (
                number(
                    "Loops",
                    "Reconnect loops found in the range shown.",
                    increase("runguard.trips", guard="room_reconnect"),
                    width=6,
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Reconnects",
                    "Times the application joined a room again in the range shown.",
                    increase("runguard.signatures", signature="room_reconnect"),
                    width=6,
                    decimals=0,
                ),
                number(
                    "Refused",
                    "Reconnects that were refused before any traffic left the process.",
                    increase("runguard.signatures", signature="room_reconnect", outcome="refused"),
                    width=6,
                    decimals=0,
                ),
                number(
                    "Outages the SDK lost",
                    "Outages from which the SDK did not come back by itself.",
                    increase("runguard.room.reconnect_episodes", episode="lost"),
                    width=6,
                    warn=1,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                outcomes(
                    "room_reconnect",
                    "Reconnects by outcome",
                    "Reconnects of the application per second: allowed, refused or only observed.",
                ),
                trips_of("room_reconnect"),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Connects",
                    "Calls of Room.connect per second, first ones included, by how they ended.",
                    each(rate, "runguard.room.connects", "connect", exemplar=True),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Why rooms were left",
                    "Disconnects per second by LiveKit's reason; the reason names the culprit.",
                    each(rate, "runguard.room.disconnects", "reason", exemplar=True),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Outages the SDK handled",
                    "Outages per second: recovered by the SDK or lost; never counted as a loop.",
                    each(rate, "runguard.room.reconnect_episodes", "episode"),
                    unit="eps",
                    width=8,
                ),
            ),
        ),
        Row(6, (guard_open("room_reconnect", 24),)),
        how_to_read(
            "A *reconnect* is the application calling `Room.connect` again for a room it had. The "
            "third within a minute is a loop. `duplicate_identity` under **Why rooms were left** "
            "means two processes join as one participant and throw each other out; `join_failure` "
            "a bad token or a server that refuses. Outages of the SDK's own are normal network "
            "life and do not count."
        ),
    ),
)
