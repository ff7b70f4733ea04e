"""What each alert must and must not do over time; becomes the promtool tests under ``tests/``.

Notation of values is promtool's: ``0x40`` is 41 samples of 0, one every 15 seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runguard_otel.telemetry.catalogue import ATTRIBUTES, prometheus_label, prometheus_name

__all__ = ["CASES", "SILENCES", "Case", "Silence", "heartbeat", "series"]

OWNER = {"cluster": "eu", "service_name": "front-desk"}
INSTANCE = {"instance": "10.0.0.1:9464", "job": "agents"}


def series(
    metric: str, suffix: str = "", owner: Mapping[str, str] = OWNER, /, **labels: str
) -> str:
    """A series of the catalogue with the labels that a scrape adds.

    Raises:
        KeyError: If a label is not of the catalogue.
    """
    found = {**owner, **INSTANCE}
    for name, value in labels.items():
        if name in ("instance", "le"):
            found[name] = value
            continue
        closed = ATTRIBUTES[name].values
        if closed and value not in closed:
            raise KeyError(f"{name} has no value {value!r}")
        found[prometheus_label(name)] = value
    inside = ", ".join(f'{k}="{v}"' for k, v in found.items())
    return f"{prometheus_name(metric)}{suffix}{{{inside}}}"


def heartbeat(**labels: str) -> str:
    """The heartbeat's series."""
    return series("runguard.worker.heartbeat", **labels)


@dataclass(frozen=True)
class Case:
    """One alert: silent, firing, quiet again.

    Args:
        alert: Its name.
        story: What happens, in words.
        input: Series and their values.
        silent: Minutes at which it must be silent.
        firing: Minutes at which it must fire.
        quiet: Minutes at which it must be silent again.
        labels: Short names and values of the labels it fires with, besides the owner's.
        value: How its value reads in the description.
        owners: The owners it fires for.
    """

    alert: str
    story: str
    input: Mapping[str, str]
    silent: tuple[float, ...]
    firing: tuple[float, ...]
    quiet: tuple[float, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = "1"
    owners: tuple[Mapping[str, str], ...] = (OWNER,)


@dataclass(frozen=True)
class Silence:
    """Something healthy, or none of our business: no alert fires at these minutes."""

    story: str
    input: Mapping[str, str]
    minutes: tuple[float, ...]


RECONNECT = {"agent": "reservations", "guard": "room_reconnect", "signature": "room_reconnect"}
_TRIP = {**RECONNECT, "mode": "enforce", "action": "refuse_connect"}
_ONE_AT_10 = "0x40 1x120"  # nothing for ten minutes, then one event


def _event(alert: str, metric: str, fires: Mapping[str, str], also: Mapping[str, str]) -> Case:
    return Case(
        alert,
        "one event after ten quiet minutes",
        {series(metric, **fires, **also): _ONE_AT_10},
        silent=(5, 10),
        firing=(10.5, 15, 24),
        quiet=(26.5,),
        labels=fires,
    )


def _trip(alert: str, guard: str, signature: str, action: str) -> Case:
    fires = {"agent": "reservations", "guard": guard, "signature": signature}
    return _event(alert, "runguard.trips", fires, {"mode": "enforce", "action": action})


def _claim(kind: str) -> dict[str, str]:
    return {"agent": "reservations", "signature": f"job_claim:{kind}"}


def _cases() -> Iterator[Case]:
    yield _trip("RunguardReconnectLoop", "room_reconnect", "room_reconnect", "refuse_connect")
    yield _trip("RunguardMisfireStorm", "vad_misfire", "vad_misfire:echo", "mute_while_speaking")
    yield _trip("RunguardSubscriptionCascade", "track_subscribe", "track_subscribe", "reuse_stream")
    yield Case(
        "RunguardReconnectLoop",
        "a series that is born at 1 and disappears: a process that lived for two minutes",
        {series("runguard.trips", **_TRIP): "_x40 1x7 stale"},
        silent=(9.75,),
        firing=(10.5, 14),
        quiet=(28,),
        labels=RECONNECT,
    )
    yield Case(
        "RunguardReconnectLoop",
        "a counter that was reset: the reset is no event, the event after it is",
        {series("runguard.trips", **_TRIP): "7x40 0x20 1x100"},
        silent=(9, 10.5, 13, 15),
        firing=(15.75, 20),
        quiet=(32,),
        labels=RECONNECT,
    )
    other = {"cluster": "eu", "service_name": "night-desk"}
    yield Case(
        "RunguardReconnectLoop",
        "a scrape that adds neither a service nor a cluster",
        {series("runguard.trips", "", {}, **_TRIP): _ONE_AT_10},
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
            series("runguard.trips", **_TRIP): _ONE_AT_10,
            series("runguard.trips", "", other, **_TRIP): _ONE_AT_10,
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
            series("runguard.trips", **{**_TRIP, "action": action}, instance=f"w{n}"): "0x40 5x120"
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
        {series("runguard.trips", **duplicate, mode="observe", action="none"): _ONE_AT_10},
        silent=(5, 10),
        firing=(10.5, 24),
        quiet=(26.5,),
        labels=refused,
    )
    yield _event("RunguardClaimLost", "runguard.signatures", _claim("lost"), {"outcome": "allowed"})
    guards = {"agent": "reservations", "guard": "vad_misfire"}
    echo = {**guards, "signature": "vad_misfire:echo"}
    yield Case(
        "RunguardStormNotStopped",
        "a guard that only observes stays open",
        {
            series("runguard.trips", **echo, mode="observe", action="none"): _ONE_AT_10,
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
        firing=(28,),
        quiet=(60,),
        labels=echo,
        value="5",
    )
    yield from _shares()
    yield from _money()
    yield from _own()


def _shares() -> Iterator[Case]:
    kinds = {"provider": "deepgram", "model": "nova-3"}
    yield Case(
        "RunguardMisfireShareHigh",
        "half of all results are empty, for long enough",
        {
            series("runguard.stt.results", kind="genuine", **kinds): "0+2x400",
            series("runguard.stt.results", kind="empty", **kinds): "0x120 0+2x120 240x160",
        },
        silent=(30, 33),
        firing=(59,),
        quiet=(66,),
        value="50%",
    )
    claims = {"agent": "reservations", "outcome": "allowed"}
    yield Case(
        "RunguardClaimsUnverified",
        "every tenth claim is unverified for ten minutes",
        {
            series("runguard.signatures", signature="job_claim:acquired", **claims): "0+9x400",
            series("runguard.signatures", signature="job_claim:unverified", **claims): (
                "0x240 0+1x40 40x120"
            ),
        },
        silent=(60, 61),
        firing=(70,),
        quiet=(77,),
        value="10%",
    )
    calls = "runguard.job.claim.duration"
    call = {"operation": "acquire", "backend": "redis"}
    yield Case(
        "RunguardClaimRegistryUnreachable",
        "all calls fail for five minutes",
        {
            series(calls, "_count", **call, result="acquired"): "0+1x60 60x200",
            series(calls, "_count", **call, result="error"): "_x60 1+1x18 19x200",
        },
        silent=(15,),
        firing=(19.75,),
        quiet=(32,),
        labels={"backend": "redis"},
        value="19",
    )


def _money() -> Iterator[Case]:
    waste = {"guard": "vad_misfire", "component": "llm"}
    yield Case(
        "RunguardWasteBurnFast",
        "20 USD in an hour and it goes on",
        {series("runguard.cost.wasted", **waste): "0x40 0+0.1x200 20x400"},
        silent=(10, 30),
        firing=(60,),
        quiet=(70,),
        value="19.90",
    )
    yield Case(
        "RunguardWasteBurnSlow",
        "6 USD an hour for six hours: less than pages, more than the month bears",
        {series("runguard.cost.wasted", **waste): "0+0.025x1440 36x400"},
        silent=(120,),
        firing=(360,),
        quiet=(400,),
        value="36.00",
    )
    used = {"component": "llm", "provider": "openai", "model": "gpt-5"}
    yield Case(
        "RunguardCostOverBudget",
        "240 USD an hour",
        {series("runguard.cost.estimated", **used): "0+1x480 480x400"},
        silent=(15,),
        firing=(120,),
        quiet=(180,),
        value="240.00",
    )
    kind = {"provider": "deepgram", "model": "nova-3"}
    yield Case(
        "RunguardSttStreamsLeak",
        "forty streams for twenty jobs",
        {
            series("runguard.jobs"): "20x400",
            series("runguard.stt.streams", **kind): "20x40 40x60 20x200",
        },
        silent=(10, 14),
        firing=(16, 25),
        quiet=(26,),
        value="40",
    )
    unpriced = {"component": "tts", "provider": "acme", "model": "new"}
    yield Case(
        "RunguardUsageUnpriced",
        "a model without a price",
        {series("runguard.cost.unpriced", **unpriced, unit="character"): "_x40 300x40 stale"},
        silent=(9.75,),
        firing=(11,),
        quiet=(90,),
        labels=unpriced,
        value="300",
    )


def _own() -> Iterator[Case]:
    yield Case(
        "RunguardTelemetryAbsent",
        "the only worker goes away; another one comes back",
        {
            heartbeat(): "0+15x40 stale",
            heartbeat(instance="10.0.0.2:9464"): "_x120 1815+15x100",
        },
        silent=(10, 14.5),
        firing=(15.5, 25),
        quiet=(31,),
        value="600",
    )
    yield Case(
        "RunguardWorkerStuck",
        "one of two workers no longer counts",
        {
            heartbeat(): "0+15x400",
            heartbeat(instance="10.0.0.2:9464"): "0+15x40 600x60 1515+15x100",
        },
        silent=(10, 16),
        firing=(18, 24),
        quiet=(27,),
        value="1",
    )
    yield _event("RunguardEventsDropped", "runguard.events.dropped", {"drop": "malformed"}, {})
    yield _event(
        "RunguardInternalErrors", "runguard.internal_errors", {"where": "Room.connect"}, {}
    )
    yield Case(
        "RunguardCardinalityOverflow",
        "a 41st model",
        {
            series("runguard.stt.audio", provider="acme", model="other"): "_x40 5+1x60 stale",
            series("runguard.stt.results", kind="genuine", provider="acme", model="m1"): "1+1x400",
        },
        silent=(10, 12),
        firing=(16,),
        quiet=(27,),
    )
    yield Case("RunguardWatchdog", "always", {}, silent=(), firing=(0, 60), quiet=())


CASES = tuple(_cases())


def _healthy() -> dict[str, str]:
    """An ordinary hour: calls come, some noise, a reconnect now and then, claims, costs."""
    agent = {"agent": "reservations"}
    speech = {"provider": "deepgram", "model": "nova-3"}
    claims = "runguard.job.claim.duration"
    call = {"operation": "acquire", "backend": "redis"}
    return {
        heartbeat(): "0+15x600",
        series("runguard.trips", **_TRIP): "0x600",
        series("runguard.guards.open", agent="reservations", guard="room_reconnect"): "0x600",
        series("runguard.signatures", **agent, signature="room_reconnect", outcome="allowed"): (
            "0x100 1x100 2x100 3x300"
        ),
        series(
            "runguard.signatures",
            **agent,
            signature="vad_misfire:empty_transcript",
            outcome="suppressed",
        ): "0+1x600",
        series("runguard.signatures", **agent, signature="job_claim:acquired", outcome="allowed"): (
            "0+3x600"
        ),
        series("runguard.signatures", **agent, signature="job_claim:refused", outcome="refused"): (
            "0x200 1x400"
        ),
        series("runguard.stt.results", kind="genuine", **speech): "0+9x600",
        series("runguard.stt.results", kind="empty", **speech): "0+1x600",
        series("runguard.stt.streams", **speech): "20x600",
        series("runguard.jobs"): "20x600",
        series(claims, "_count", **call, result="acquired"): "0+3x600",
        series(claims, "_count", **call, result="error"): "0x200 1x400",
        series("runguard.cost.estimated", component="llm", **speech): "0+0.05x600",
        series("runguard.cost.wasted", guard="vad_misfire", component="llm"): "0x600",
        series("runguard.events.dropped", drop="malformed"): "0x600",
    }


SILENCES = (
    Silence("a healthy hour", _healthy(), tuple(range(0, 150, 5))),
    Silence(
        "an idle night: workers live, nobody calls",
        {
            heartbeat(): "0+15x1920",
            series("runguard.jobs"): "0x1920",
            series("runguard.trips", **_TRIP): "3x1920",
            series("runguard.stt.streams", provider="deepgram", model="nova-3"): "0x1920",
        },
        tuple(range(0, 480, 30)),
    ),
    Silence(
        "a worker is replaced by a new one with zeroes",
        {
            heartbeat(instance="w1"): "0+15x80 stale",
            heartbeat(instance="w2"): "_x84 1275+15x200",
            series("runguard.trips", **_TRIP, instance="w1"): "7x80 stale",
            series("runguard.trips", **_TRIP, instance="w2"): "_x84 0x200",
        },
        (19, 20, 21, 22, 25, 30, 60),
    ),
    Silence(
        "Prometheus is installed beside a worker that has counted for weeks",
        {
            heartbeat(): "0+15x200",
            series("runguard.trips", **_TRIP): "12x200",
            series("runguard.internal_errors", where="Room.connect"): "3x200",
        },
        (0, 1, 4, 5, 6, 6.5, 7, 10, 20),
    ),
    Silence(
        "scrapes fail for ten minutes and come back with the old counts",
        {
            heartbeat(): "0+15x60 _x16 1155+15x100",
            series("runguard.trips", **_TRIP): "12x60 _x40 12x100",
        },
        (15, 16, 19, 20, 25, 26, 30),
    ),
)
"""Nothing but the watchdog fires in any of these."""
