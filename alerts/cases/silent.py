"""Stories in which nothing may fire but the watchdog."""

from __future__ import annotations

from .story import TRIP, Silence, heartbeat, series, up

__all__ = ["SILENCES"]


_DEPLOYED = 50


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
            series("runguard.worker.expected", instance="w1"): "1x79 0 stale",
            heartbeat(instance="w2"): "_x84 1275+15x200",
            series("runguard.trips", **TRIP, instance="w1"): "7x80 stale",
            series("runguard.trips", **TRIP, instance="w2"): "_x84 0x200",
        },
        (19, 20, 21, 22, 25, 30, 60),
    ),
    Silence(
        "a worker crashes and its supervisor starts it again, pushing under another id",
        {
            heartbeat(instance="w1"): "0+15x80 stale",
            heartbeat(instance="w2"): "_x81 1220+15x400",
            series("runguard.worker.start", instance="w2"): "_x81 1216x400",
        },
        (21, 24, 25, 26, 30, 60, 100),
    ),
    Silence(
        "a worker crashes and is replaced; its successor is asked to end, and nobody is wanted",
        {
            heartbeat(instance="w1"): "0+15x40 stale",
            heartbeat(instance="w2"): "_x44 660+15x76 stale",
            series("runguard.worker.start", instance="w2"): "_x44 655x76 stale",
            series("runguard.worker.expected", instance="w2"): "_x44 1x75 0 stale",
        },
        (10, 12, 15, 16, 29, 30, 30.5, 31, 33, 35, 36, 60),
    ),
    Silence(
        "two workers of five die and are replaced; an hour later those are replaced, too",
        {
            **{heartbeat(instance=f"w{n}"): "0+15x40 stale" for n in (1, 2)},
            **{heartbeat(instance=f"w{n}"): "0+15x420" for n in (3, 4, 5)},
            **{series("runguard.worker.start", instance=f"w{n}"): "-60x420" for n in (3, 4, 5)},
            **{heartbeat(instance=f"w{n}"): "_x44 660+15x200 stale" for n in (6, 7)},
            **{heartbeat(instance=f"w{n}"): "_x249 3735+15x171" for n in (8, 9)},
            **{
                series("runguard.worker.start", instance=f"w{n}"): "_x44 655x200 stale"
                for n in (6, 7)
            },
            **{series("runguard.worker.start", instance=f"w{n}"): "_x249 3730x171" for n in (8, 9)},
        },
        (10, 12, 15, 16, 30, 61, 62, 66, 67, 70, 90),
    ),
    Silence(
        "a deployment replaces all workers; some end themselves, some are ended while they drain",
        {
            **{heartbeat(instance=f"old{n}"): f"0+15x{80 + n} stale" for n in range(_DEPLOYED)},
            **{
                series("runguard.worker.expected", instance=f"old{n}"): f"1x{70 + n} 0x9 stale"
                for n in range(_DEPLOYED)
            },
            **{
                series("runguard.trips", **TRIP, instance=f"old{n}"): f"5x{80 + n} stale"
                for n in range(_DEPLOYED)
            },
            **{
                heartbeat(instance=f"new{n}"): f"_x{60 + n} {(60 + n) * 15}+15x400"
                for n in range(_DEPLOYED)
            },
            **{
                series("runguard.worker.start", instance=f"new{n}"): (
                    f"_x{60 + n} {(60 + n) * 15}x400"
                )
                for n in range(_DEPLOYED)
            },
            **{
                series("runguard.trips", **TRIP, instance=f"new{n}"): f"_x{60 + n} 0x400"
                for n in range(_DEPLOYED)
            },
        },
        (15, 18, 20, 22, 24, 26, 28, 30, 40, 60, 100),
    ),
    Silence(
        "all workers are scaled away: their targets are no longer listed",
        {
            **{heartbeat(instance=f"w{n}"): "0+15x80 stale" for n in range(3)},
            **{up(instance=f"w{n}"): "1x80 stale" for n in range(3)},
        },
        (20, 24, 26, 30, 60, 120),
    ),
    Silence(
        "all workers that push are scaled away, and say so",
        {
            **{heartbeat(instance=f"w{n}"): "0+15x80 stale" for n in range(3)},
            **{
                series("runguard.worker.expected", instance=f"w{n}"): "1x79 0 stale"
                for n in range(3)
            },
        },
        (20, 24, 26, 30, 60, 120),
    ),
    Silence(
        "Prometheus is installed beside a worker that has counted for weeks",
        {
            heartbeat(): "0+15x200",
            series("runguard.worker.start"): "-900000x200",
            series("runguard.trips", **TRIP): "12x200",
            series("runguard.internal_errors", where="Room.connect"): "3x200",
        },
        (0, 1, 4, 5, 6, 6.5, 7, 10, 20),
    ),
    Silence(
        "a scrape of a worker that has run for days is added to a Prometheus that has, too",
        {
            heartbeat(): "_x80 1200+15x400",
            series("runguard.worker.start"): "_x80 -900000x400",
            heartbeat(instance="another"): "0+15x480",
            series("runguard.trips", **TRIP): "_x80 7x400",
            series("runguard.internal_errors", where="Room.connect"): "_x80 3x400",
        },
        (19, 20.5, 22, 24, 26, 30, 60),
    ),
    Silence(
        "the scrape is renamed, so that every series is a new one",
        {
            heartbeat(): "0+15x200 stale",
            heartbeat(job="voice"): "_x200 3000+15x200",
            series("runguard.worker.start", job="voice"): "_x200 -900000x200",
            series("runguard.trips", **TRIP): "7x200 stale",
            series("runguard.trips", **TRIP, job="voice"): "_x200 7x200",
            up(): "1x200 stale",
        },
        (50, 50.5, 52, 54, 56, 60, 90),
    ),
    Silence(
        "scrapes fail for ten minutes and come back with the old counts",
        {
            heartbeat(): "0+15x60 _x16 1155+15x100",
            series("runguard.trips", **TRIP): "12x60 _x40 12x100",
        },
        (15, 16, 19, 20, 25, 26, 30),
    ),
    Silence(
        "nobody scrapes for 70 minutes",
        {
            series("runguard.worker.start"): "-900000x80 stale _x280 -900000x200",
            series("runguard.trips", **TRIP): "7x80 stale _x280 9x200",
        },
        (20, 60, 91, 92, 94, 96, 100, 130),
    ),
)
"""Nothing but the watchdog fires in any of these."""
