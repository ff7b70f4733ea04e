"""What each alert on shares, money and runguard itself must and must not do over time."""

from __future__ import annotations

from collections.abc import Iterator

from .story import Case, event, heartbeat, series, up

__all__ = ["state_cases"]


def state_cases() -> Iterator[Case]:
    """The cases."""
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
            series(calls, "_count", **call, result="error"): "_x60 1+1x240 241x200",
            heartbeat(): "0+15x600",
        },
        silent=(15,),
        firing=(20, 60, 75, 84),
        quiet=(96,),
        labels={"backend": "redis"},
        values={20: "20", 60: "20", 75: "20", 84: "20"},
    )


def _money() -> Iterator[Case]:
    waste = {"guard": "vad_misfire", "component": "llm"}
    yield Case(
        "RunguardWasteBurnFast",
        "20 USD in an hour and it goes on",
        {series("runguard.cost.wasted", **waste): "0x40 0+0.1x200 20x400"},
        silent=(10, 30),
        firing=(60,),
        quiet=(75,),
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
        value="260.00",
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
        value="2.0",
    )
    unpriced = {"component": "tts", "provider": "acme", "model": "new"}
    yield Case(
        "RunguardUsageUnpriced",
        "a model without a price",
        {
            series("runguard.cost.unpriced", **unpriced, unit="character"): "_x40 300x40 stale",
            heartbeat(): "0+15x400",
        },
        silent=(9.75,),
        firing=(11, 60),
        quiet=(90,),
        labels=unpriced,
        value="300",
    )


def _worker(instance: str, beat: str, **more: str) -> dict[str, str]:
    """A worker: when it was heard of, and what else is known of it."""
    metrics = {"start": "runguard.worker.start", "expected": "runguard.worker.expected"}
    out = {heartbeat(instance=instance): beat}
    for name, values in more.items():
        if name == "up":
            out[up(instance=instance)] = values
        else:
            out[series(metrics[name], instance=instance)] = values
    return out


def _deaths() -> Iterator[Case]:
    dies, lives, back = "0+15x40 stale", "0+15x960", "_x480 7215+15x400"
    yield Case(
        "RunguardTelemetryAbsent",
        "the only worker of a target that is listed dies; two hours later one comes back",
        _worker("w1", "0+15x40 _x440 7215+15x400", up="1x40 0x439 1x400"),
        silent=(10, 14.5),
        firing=(16, 60, 119),
        quiet=(121, 150),
    )
    yield Case(
        "RunguardTelemetryAbsent",
        "all three workers that push die, and others come back",
        {
            **_worker("w1", dies, start="0x40 stale", expected="1x40 stale"),
            **_worker("w2", dies, start="0x40 stale", expected="1x40 stale"),
            **_worker("w3", dies, start="0x40 stale", expected="1x40 stale"),
            **_worker("w4", back, start="_x480 7200x400"),
            "runguard_anything": "1x960",
        },
        silent=(10, 14.5),
        firing=(16, 60, 119),
        quiet=(121, 150),
        value="3",
    )
    elsewhere = {"cluster": "us", "service_name": "front-desk"}
    yield Case(
        "RunguardTelemetryAbsent",
        "one cluster of two dies",
        {
            heartbeat(): dies,
            series("runguard.worker.heartbeat", "", elsewhere, instance="w2"): lives,
        },
        silent=(10, 14.5),
        firing=(16, 60, 240),
        quiet=(),
    )
    yield Case(
        "RunguardWorkersDown",
        "two of three workers die and are not replaced for two hours",
        {
            **_worker("w1", dies, start="0x40 stale", up="1x40 0x440 stale"),
            **_worker("w2", dies, start="0x40 stale", up="1x40 0x440 stale"),
            **_worker("w3", lives, start="0x960", up="1x960"),
            **_worker("w4", back, start="_x480 7200x400", up="_x480 1x400"),
            **_worker("w5", back, start="_x480 7200x400", up="_x480 1x400"),
        },
        silent=(10, 14.5),
        firing=(16, 60, 119),
        quiet=(121, 150, 200),
        value="2",
    )
    yield Case(
        "RunguardWorkersDown",
        "two of three workers that push die and are not replaced",
        {
            **_worker("w1", dies, start="0x40 stale"),
            **_worker("w2", dies, start="0x40 stale"),
            **_worker("w3", lives, start="0x960"),
        },
        silent=(10, 14.5),
        firing=(16, 60, 119),
        quiet=(),
        value="2",
    )


def _own() -> Iterator[Case]:
    yield from _deaths()
    yield Case(
        "RunguardWorkerStuck",
        "one of two workers no longer counts",
        {
            heartbeat(): "0+15x400",
            heartbeat(instance="w2"): "0+15x40 600x60 1515+15x100",
            up(): "1x400",
            up(instance="w2"): "1x400",
        },
        silent=(10, 14),
        firing=(18, 24),
        quiet=(27,),
    )
    yield event("RunguardEventsDropped", "runguard.events.dropped", {"drop": "malformed"}, {})
    yield event("RunguardInternalErrors", "runguard.internal_errors", {"where": "Room.connect"}, {})
    yield Case(
        "RunguardCardinalityOverflow",
        "a 41st model",
        {
            series("runguard.stt.audio", provider="acme", model="other"): "_x40 5+1x60 stale",
            series("runguard.stt.results", kind="genuine", provider="acme", model="m1"): "1+1x400",
        },
        silent=(9.75,),
        firing=(11, 16),
        quiet=(27,),
    )
    yield Case("RunguardWatchdog", "always", {}, silent=(), firing=(0, 60), quiet=())
