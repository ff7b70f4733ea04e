"""Stories in which nothing may fire but the watchdog."""

from __future__ import annotations

from .story import TRIP, Silence, heartbeat, series

__all__ = ["SILENCES"]


def _healthy() -> dict[str, str]:
    """An ordinary hour: calls come, some noise, a reconnect now and then, claims, costs."""
    agent = {"agent": "reservations"}
    speech = {"provider": "deepgram", "model": "nova-3"}
    claims = "runguard.job.claim.duration"
    call = {"operation": "acquire", "backend": "redis"}
    return {
        heartbeat(): "0+15x600",
        series("runguard.trips", **TRIP): "0x600",
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
            series("runguard.trips", **TRIP): "3x1920",
            series("runguard.stt.streams", provider="deepgram", model="nova-3"): "0x1920",
        },
        tuple(range(0, 480, 30)),
    ),
    Silence(
        "a worker is replaced by a new one with zeroes",
        {
            heartbeat(instance="w1"): "0+15x80 stale",
            heartbeat(instance="w2"): "_x84 1275+15x200",
            series("runguard.trips", **TRIP, instance="w1"): "7x80 stale",
            series("runguard.trips", **TRIP, instance="w2"): "_x84 0x200",
        },
        (19, 20, 21, 22, 25, 30, 60),
    ),
    Silence(
        "Prometheus is installed beside a worker that has counted for weeks",
        {
            heartbeat(): "0+15x200",
            series("runguard.trips", **TRIP): "12x200",
            series("runguard.internal_errors", where="Room.connect"): "3x200",
        },
        (0, 1, 4, 5, 6, 6.5, 7, 10, 20),
    ),
    Silence(
        "scrapes fail for ten minutes and come back with the old counts",
        {
            heartbeat(): "0+15x60 _x16 1155+15x100",
            series("runguard.trips", **TRIP): "12x60 _x40 12x100",
        },
        (15, 16, 19, 20, 25, 26, 30),
    ),
)
"""Nothing but the watchdog fires in any of these."""
