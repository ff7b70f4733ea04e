"""What each alert on loops and claims must and must not do over time, and all cases together."""

from __future__ import annotations

from collections.abc import Iterator

from .cases_state import state_cases
from .story import ONE_AT_10, OWNER, RECONNECT, TRIP, Case, event, series

__all__ = ["CASES"]


def _trip(alert: str, guard: str, signature: str, action: str) -> Case:
    fires = {"agent": "reservations", "guard": guard, "signature": signature}
    return event(alert, "runguard.trips", fires, {"mode": "enforce", "action": action})


def _claim(kind: str) -> dict[str, str]:
    return {"agent": "reservations", "signature": f"job_claim:{kind}"}


def _cases() -> Iterator[Case]:
    yield _trip("RunguardReconnectLoop", "room_reconnect", "room_reconnect", "refuse_connect")
    yield _trip("RunguardMisfireStorm", "vad_misfire", "vad_misfire:echo", "mute_while_speaking")
    yield _trip("RunguardSubscriptionCascade", "track_subscribe", "track_subscribe", "reuse_stream")
    yield Case(
        "RunguardReconnectLoop",
        "a series that is born at 1 and disappears: a process that lived for two minutes",
        {series("runguard.trips", **TRIP): "_x40 1x7 stale"},
        silent=(9.75,),
        firing=(10.5, 14),
        quiet=(28,),
        labels=RECONNECT,
    )
    yield Case(
        "RunguardReconnectLoop",
        "a counter that was reset: the reset is no event, the event after it is",
        {series("runguard.trips", **TRIP): "7x40 0x20 1x100"},
        silent=(9, 10.5, 13, 15),
        firing=(15.75, 20),
        quiet=(32,),
        labels=RECONNECT,
    )
    other = {"cluster": "eu", "service_name": "night-desk"}
    yield Case(
        "RunguardReconnectLoop",
        "a scrape that adds neither a service nor a cluster",
        {series("runguard.trips", "", {}, **TRIP): ONE_AT_10},
        silent=(10,),
        firing=(11,),
        quiet=(26.5,),
        labels=RECONNECT,
        owners=({},),
    )
    yield Case(
        "RunguardReconnectLoop",
        "two services storm at once: two alerts",
        {
            series("runguard.trips", **TRIP): ONE_AT_10,
            series("runguard.trips", "", other, **TRIP): ONE_AT_10,
        },
        silent=(10,),
        firing=(11,),
        quiet=(26.5,),
        labels=RECONNECT,
        owners=(OWNER, other),
    )
    yield Case(
        "RunguardReconnectLoop",
        "twenty rooms on two workers with both actions: one alert",
        {
            series("runguard.trips", **{**TRIP, "action": action}, instance=f"w{n}"): "0x40 5x120"
            for n in (1, 2)
            for action in ("refuse_connect", "shutdown_job")
        },
        silent=(10,),
        firing=(14.5,),
        quiet=(26.5,),
        labels=RECONNECT,
        value="20",
    )
    refused = _claim("refused")
    duplicate = {"guard": "job_dispatch", **refused}
    stopped = {"mode": "enforce", "action": "refuse_job"}
    yield Case(
        "RunguardDuplicateDispatch",
        "two duplicates are a race, three in five minutes are a pattern",
        {series("runguard.trips", **duplicate, **stopped): "0x20 2x23 3x80"},
        silent=(5, 6, 10.5),
        firing=(),
        quiet=(20,),
    )
    yield Case(
        "RunguardDuplicateDispatch",
        "four duplicates in a minute",
        {series("runguard.trips", **duplicate, **stopped): "0x40 1 2 3 4x120"},
        silent=(10,),
        firing=(14,),
        quiet=(27,),
        labels=refused,
        value="4",
    )
    yield Case(
        "RunguardDuplicateWork",
        "one duplicate that nobody refuses",
        {series("runguard.trips", **duplicate, mode="observe", action="none"): ONE_AT_10},
        silent=(5, 10),
        firing=(10.5, 24),
        quiet=(26.5,),
        labels=refused,
    )
    yield event("RunguardClaimLost", "runguard.signatures", _claim("lost"), {"outcome": "allowed"})
    guards = {"agent": "reservations", "guard": "vad_misfire"}
    echo = {**guards, "signature": "vad_misfire:echo"}
    yield Case(
        "RunguardStormNotStopped",
        "a guard that only observes stays open",
        {
            series("runguard.trips", **echo, mode="observe", action="none"): ONE_AT_10,
            series("runguard.guards.open", **guards): "0x40 1x60 0x80",
        },
        silent=(10, 14),
        firing=(16, 25),
        quiet=(38,),
        labels=echo,
    )
    yield Case(
        "RunguardStormNotStopped",
        "in enforce mode it trips every minute for half an hour",
        {
            series("runguard.trips", **echo, mode="enforce", action="suppress"): (
                "0x40 " + " ".join(f"{n}x3" for n in range(1, 31)) + " 30x120"
            )
        },
        silent=(12, 20),
        firing=(30, 40),
        quiet=(60,),
        labels=echo,
        value="5",
    )
    yield Case(
        "RunguardStormNotStopped",
        "every four minutes another room has a storm, and it is stopped",
        {
            series("runguard.trips", **echo, mode="enforce", action="suppress"): (
                "0x40 " + " ".join(f"{n}x15" for n in range(1, 16)) + " 15x120"
            ),
            series("runguard.guards.open", **guards): "0x400",
        },
        silent=(20, 26, 30, 40, 50, 60, 69),
        firing=(),
        quiet=(80,),
    )
    yield Case(
        "RunguardStormNotStopped",
        "duplicates that are refused again and again have their own alert",
        {series("runguard.trips", **duplicate, **stopped): "0x40 0+1x240 240x120"},
        silent=(12, 26, 40, 69),
        firing=(),
        quiet=(80,),
    )
    yield Case(
        "RunguardStormNotStopped",
        "duplicates that nobody refuses have their own alert, as long as the calls last",
        {
            series("runguard.trips", **duplicate, mode="observe", action="none"): ONE_AT_10,
            series("runguard.guards.open", agent="reservations", guard="job_dispatch"): (
                "0x40 1x200"
            ),
        },
        silent=(11, 16, 26, 40),
        firing=(),
        quiet=(60,),
    )
    yield from state_cases()


CASES = tuple(_cases())
