"""What each alert on loops and claims must and must not do over hours."""

from __future__ import annotations

from collections.abc import Iterator

from .story import ONE_AT_10, OWNER, RECONNECT, TRIP, Case, calls, event, heartbeat, series

__all__ = ["loop_cases"]

_GUARDS = {
    "room_reconnect": ("RunguardReconnectLoop", "room_reconnect", "refuse_connect"),
    "vad_misfire": ("RunguardMisfireStorm", "vad_misfire:echo", "mute_while_speaking"),
    "track_subscribe": ("RunguardSubscriptionCascade", "track_subscribe", "reuse_stream"),
    "session_overrun": ("RunguardSessionOverrun", "session_overrun:agent_alone", "shutdown_job"),
    "job_dispatch": ("RunguardDuplicateWork", "job_claim:refused", "refuse_job"),
}
_LASTS = "0x40 1x240 0x60"  # from 10:00 to 70:00 minutes


def _who(guard: str, mode: str) -> dict[str, str]:
    signature = _GUARDS[guard][1]
    return {"agent": "reservations", "guard": guard, "signature": signature, "mode": mode}


def _trips(guard: str, mode: str, values: str) -> dict[str, str]:
    action = _GUARDS[guard][2] if mode == "enforce" else "none"
    return {series("runguard.trips", **_who(guard, mode), action=action): values}


def _open(guard: str, mode: str, values: str) -> dict[str, str]:
    return {series("runguard.guards.open", **_who(guard, mode)): values}


def _from_outside() -> Iterator[Case]:
    """A server shows a loop; the agent of that name is instrumented, or is not."""
    who = _who("room_reconnect", "observe")
    shown = series("runguard.guards.open", **who, vantage="server")
    yield Case(
        "RunguardServerLoop",
        "an agent without this package joins again and again for 40 minutes",
        {shown: "0x40 1x160 0x60"},
        silent=(5, 10),
        firing=(12, 30, 49),
        quiet=(56,),
        labels=who,
    )
    yield Case(
        "RunguardServerLoop",
        "the agent tells of it half a minute later: its own alert has it, and this one is silent",
        {
            shown: "0x40 1x160 0x60",
            **_trips("room_reconnect", "observe", "0x42 1x220"),
            **_open("room_reconnect", "observe", "0x42 1x158 0x60"),
            **calls(60, 65),
        },
        silent=(5, 12, 30, 49),
        firing=(),
        quiet=(56,),
    )


def loop_cases() -> Iterator[Case]:
    """The cases."""
    yield from _from_outside()
    for guard, (alert, _, _) in _GUARDS.items():
        long = guard == "room_reconnect"  # one of them tells the whole story
        end = 190 if long else 50
        yield Case(
            alert,
            f"nobody stops it for {'three hours' if long else '40 minutes'}; it trips once",
            {
                **_trips(guard, "observe", f"0x40 1x{end * 4}"),
                **_open(guard, "observe", f"0x40 1x{(end - 10) * 4} 0x60"),
                **calls(60, end + 15),
            },
            silent=(5, 10),
            firing=(11, 15, 26, 45, *((90,) if long else ()), end - 1, end + 9),
            quiet=(end + 12,),
            labels=_who(guard, "observe"),
        )
        if guard not in ("room_reconnect", "vad_misfire"):
            continue
        yield Case(
            alert,
            "it is stopped, and comes back each 25 minutes for two hours: one incident",
            {
                **_trips(guard, "enforce", "0x40 4x100 8x100 12x100 16x100 20x400"),
                **_open(guard, "enforce", "0x860"),
                **calls(60, 214),
            },
            silent=(5, 10),
            firing=(16, 34, 50, 65, 80, 100, 125, 140),
            quiet=(212,),
            labels=_who(guard, "enforce"),
            values={16: "4", 34: "4", 50: _hour(guard, 8), 65: _hour(guard, 12),
                    80: _hour(guard, 12), 100: _hour(guard, 12), 125: _hour(guard, 12),
                    140: _hour(guard, 12)},
        )  # fmt: skip
    yield from _newborn()
    yield from _owners()
    yield from _claims()
    yield from _storms()


def _hour(guard: str, trips: int) -> str:
    return "4" if guard == "room_reconnect" else str(trips)


def _newborn() -> Iterator[Case]:
    yield Case(
        "RunguardReconnectLoop",
        "nobody stops it, and the job ends before the next scrape",
        {
            **_trips("room_reconnect", "observe", "0x40 1x200"),
            **_open("room_reconnect", "observe", "0x240"),
            **calls(60, 60),
        },
        silent=(9.75,),
        firing=(11, 14, 20, 24),
        quiet=(27, 40),
        labels=_who("room_reconnect", "observe"),
    )
    yield Case(
        "RunguardReconnectLoop",
        "a worker that lived for two minutes, its series born at 1",
        {
            series("runguard.trips", **TRIP): "_x40 1x7 stale",
            series("runguard.worker.start"): "_x40 590x7 stale",
        },
        silent=(9.75,),
        firing=(11, 14, 30),
        quiet=(46,),
        labels=RECONNECT,
    )
    yield Case(
        "RunguardReconnectLoop",
        "a counter that was reset: the reset is no event, the event after it is",
        {series("runguard.trips", **TRIP): "7x40 0x20 1x240"},
        silent=(9, 10.5, 13, 15),
        firing=(16, 20, 45),
        quiet=(52,),
        labels=RECONNECT,
    )
    yield Case(
        "RunguardInternalErrors",
        "a new series of a worker that is known",
        {
            series("runguard.internal_errors", where="Room.connect"): "_x40 1x240",
            heartbeat(): "0+15x400",
        },
        silent=(9.75,),
        firing=(11, 40),
        quiet=(46,),
        labels={"where": "Room.connect"},
    )


def _owners() -> Iterator[Case]:
    other = {"cluster": "eu", "service_name": "night-desk"}
    yield Case(
        "RunguardReconnectLoop",
        "a scrape that adds neither a service nor a cluster",
        {series("runguard.trips", "", {}, **TRIP): ONE_AT_10},
        silent=(10,),
        firing=(11,),
        quiet=(46,),
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
        quiet=(46,),
        labels=RECONNECT,
        owners=(OWNER, other),
    )
    unnamed = {k: v for k, v in RECONNECT.items() if k != "agent"}
    yield Case(
        "RunguardReconnectLoop",
        "a worker of an older release, whose agent has no name",
        {series("runguard.trips", **unnamed, action="refuse_connect"): ONE_AT_10},
        silent=(10,),
        firing=(11,),
        quiet=(46,),
        labels=unnamed,
    )
    yield Case(
        "RunguardReconnectLoop",
        "twenty rooms on two workers with both actions: one alert, and a whole number",
        {
            series("runguard.trips", **{**TRIP, "action": action}, instance=f"w{n}"): (
                "0x40 1 3 5x240"
            )
            for n in (1, 2)
            for action in ("refuse_connect", "shutdown_job")
        },
        silent=(10,),
        firing=(14, 44),
        quiet=(46,),
        labels=RECONNECT,
        values={14: "20", 44: "20"},
    )
    yield Case(
        "RunguardReconnectLoop",
        "one stopped loop in 10,000 calls an hour is none, two in five minutes are",
        {series("runguard.trips", **TRIP): "0x40 1x200 3x240", **calls(10_000, 110)},
        silent=(10, 11, 14, 30, 60),
        firing=(61, 80),
        quiet=(100,),
        labels=RECONNECT,
        values={61: "2", 80: "2"},
    )


def _claims() -> Iterator[Case]:
    refused = {"agent": "reservations", "signature": "job_claim:refused"}
    stopped = {"guard": "job_dispatch", **refused, "mode": "enforce"}
    twice = series("runguard.trips", **stopped, action="refuse_job")
    yield Case(
        "RunguardDuplicateDispatch",
        "every call is dispatched twice, ten an hour",
        {twice: "0x40 " + " ".join(f"{n}x23" for n in range(1, 21)) + " 20x500", **calls(10, 300)},
        silent=(5, 12, 20),
        firing=(40, 100),
        quiet=(210,),
        labels=stopped,
        values={40: "5", 100: "11"},
    )
    yield Case(
        "RunguardDuplicateDispatch",
        "three of ten thousand calls an hour",
        {twice: "0x40 1x20 2x20 3x400", **calls(10_000, 120)},
        silent=(12, 20, 30, 60),
        firing=(),
        quiet=(90,),
    )
    lost = {"agent": "reservations", "signature": "job_claim:lost"}
    yield event("RunguardClaimLost", "runguard.signatures", lost, {"outcome": "allowed"})


def _storms() -> Iterator[Case]:
    echo = _who("vad_misfire", "observe")
    yield Case(
        "RunguardStormNotStopped",
        "a storm of eight minutes is none that does not end",
        {
            **_trips("vad_misfire", "observe", "0x40 0+1x32 32x200"),
            **_open("vad_misfire", "observe", "0x40 1x32 0x200"),
        },
        silent=(10, 15, 18, 19, 20, 21, 22, 23, 24, 26, 30),
        firing=(),
        quiet=(),
    )
    held = _who("vad_misfire", "enforce")
    yield Case(
        "RunguardStormNotStopped",
        "a guard that only observes is open for an hour",
        {
            **_trips("vad_misfire", "observe", "0x40 1x300"),
            **_open("vad_misfire", "observe", _LASTS),
        },
        silent=(10, 14, 18),
        firing=(20, 45, 69),
        quiet=(71, 80),
        labels=echo,
    )
    yield Case(
        "RunguardStormNotStopped",
        "the guard stops each loop, and every fourth call makes one",
        {
            **_trips("vad_misfire", "enforce", "0x40 0+0.5x240 120x300"),
            **calls(480, 150),
        },
        silent=(10, 15),
        firing=(30, 60),
        quiet=(90,),
        labels=held,
        values={30: "30", 60: "30"},
    )
    yield Case(
        "RunguardStormNotStopped",
        "one stopped misfire storm a minute in ten thousand calls an hour",
        {
            **_trips("vad_misfire", "enforce", "0+0.25x480"),
            **calls(10_000, 120),
        },
        silent=(20, 60, 119),
        firing=(),
        quiet=(),
    )
    yield Case(
        "RunguardMisfireStorm",
        "three in an hour of 120 calls are chance, six are not",
        {
            **_trips("vad_misfire", "enforce", "0x280 1x20 2x20 3x80 6x600"),
            **calls(120, 250),
        },
        silent=(60, 72, 77, 82, 90, 100),
        firing=(106, 120),
        quiet=(200, 240),
        labels=held,
        value="6",
    )
    yield Case(
        "RunguardMisfireStorm",
        "one stopped misfire storm a minute in ten thousand calls an hour",
        {
            **_trips("vad_misfire", "enforce", "0+0.25x480"),
            **calls(10_000, 120),
        },
        silent=(20, 60, 119),
        firing=(),
        quiet=(),
    )
