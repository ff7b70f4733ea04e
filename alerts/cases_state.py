"""What each alert on shares, money and runguard itself must and must not do over time."""

from __future__ import annotations

from collections.abc import Iterator

from .story import Case, event, heartbeat, series

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
        value="1970-01-01 00:10:00 +0000 UTC",
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
    yield event("RunguardEventsDropped", "runguard.events.dropped", {"drop": "malformed"}, {})
    yield event("RunguardInternalErrors", "runguard.internal_errors", {"where": "Room.connect"}, {})
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
