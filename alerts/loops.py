"""Alerts on the loops themselves, for as long as they last, and whether they are stopped."""

from __future__ import annotations

from .model import Alert
from .promql import Promql, matcher
from .recording import (
    ENDED,
    JOBS,
    MISFIRES_1H,
    MISFIRES_5M,
    OPEN,
    RESULTS,
    SERVER,
    STOPPED,
    TRIPS,
    UNSTOPPED,
    over,
)
from .tuning import Tuning
from .words import COUNT, WHO, by_mode, of

__all__ = ["loop_alerts"]


def loop_alerts(tuning: Tuning) -> tuple[Alert, ...]:
    """The alerts, most urgent first."""
    return (*_loops(tuning), _from_outside(tuning), _not_stopped(tuning), _share(tuning))


def _lasting(t: Tuning, guard: str) -> str:
    """Loops of one guard: those nobody stops while they last, stopped ones for a while."""
    of_guard = f"{{{matcher('guard', guard)}}}"
    return (
        f"max_over_time({UNSTOPPED}{of_guard}[{t.ended_memory}])\n"
        f"or\n"
        f"max_over_time({STOPPED}{of_guard}[{t.stopped_memory}])"
    )


def _loop(t: Tuning, guard: str, name: str, severity: str, board: str, what: str) -> Alert:
    return Alert(
        name=name,
        severity=severity,
        expr=_lasting(t, guard),
        summary=(
            f"{what} on {WHO}{of(t)}, "
            + by_mode("and nothing stops it", "and the guard stops it each time")
            + "."
        ),
        description=(
            f"{COUNT} loop(s) of {{{{ $labels.runguard_signature }}}}. "
            + by_mode(
                "The {{ $labels.runguard_guard }} guard only observes (mode observe), so each goes "
                "on and is billed until the application ends it. This alert lasts as long.",
                "The {{ $labels.runguard_guard }} guard is in mode enforce and has stopped each of "
                "them; what causes them is still there.",
            )
            + " The dashboard says since when and what it costs."
        ),
        dashboard=board,
    )


def _loops(t: Tuning) -> tuple[Alert, ...]:
    return (
        _loop(
            t, "room_reconnect", "RunguardReconnectLoop", t.reconnect_severity,
            "runguard-reconnects", "A room is joined again and again",
        ),
        _loop(
            t, "vad_misfire", "RunguardMisfireStorm", t.misfire_severity,
            "runguard-misfires", "Noise or echo is taken for speech",
        ),
        _loop(
            t, "track_subscribe", "RunguardSubscriptionCascade", t.subscription_severity,
            "runguard-subscriptions", "A track flaps and every subscription opens an STT stream",
        ),
        _loop(
            t, "session_overrun", "RunguardSessionOverrun", t.overrun_severity,
            "runguard-overruns", "Calls go on that serve nobody",
        ),
    )  # fmt: skip


def _from_outside(t: Tuning) -> Alert:
    return Alert(
        name="RunguardServerLoop",
        severity="page",
        # An agent that tells of it itself has a minute to do so; then the loop is its alert's.
        expr=f"{SERVER}\n  and {SERVER} offset 1m",
        summary=f"The LiveKit server shows a loop of {WHO}, which tells of none{of(t)}.",
        description=(
            f"{COUNT} loop(s) of {{{{ $labels.runguard_signature }}}}, seen by "
            "`runguard-otel watch`. "
            "The agent has no guard of its own against it, so each goes on and is billed until "
            "somebody ends it. This alert lasts as long."
        ),
        dashboard="runguard-server",
    )


def _not_stopped(t: Tuning) -> Alert:
    q = Promql(t)
    # Reconnect loops and duplicates page by themselves, from their first minute.
    guards = matcher("guard", "vad_misfire|track_subscribe|session_overrun", "=~")
    going = f"{UNSTOPPED}{{{guards}}}"
    trips = over(TRIPS, "15m", f"{{{matcher('guard', 'vad_misfire|track_subscribe', '=~')}, "
                 f"{matcher('mode', 'enforce')}}}")  # fmt: skip
    again = q.at_least(
        f"{trips} >= {t.storm_trips:g}", t.storm_share, f"({over(ENDED, '15m')} + {JOBS})"
    )
    return Alert(
        name="RunguardStormNotStopped",
        severity="page",
        expr=(
            # It is absent where no loop lasts, so it lasts if it is never absent for long.
            f"{going}\n"
            f"  and {going} offset 3m and {going} offset 6m and {going} offset 9m\n"
            # A trip is remembered for five minutes: those are not part of how long it goes on.
            f"  and {OPEN}{{{guards}}} > 0\n"
            f"or\n{again}"
        ),
        summary=(
            f"A storm does not end on {WHO}{of(t)}, "
            + by_mode("because nothing stops it", "although the guard stops each loop")
            + "."
        ),
        description=(
            "{{ $labels.runguard_signature }} for more than ten minutes. "
            + by_mode(
                "The {{ $labels.runguard_guard }} guard only observes (mode observe), so nothing "
                "ends the loops",
                "The {{ $labels.runguard_guard }} guard ends each loop, and the cause makes the "
                f"next, in more than {t.storm_share:.0%} of the calls",
            )
            + "."
        ),
        dashboard="runguard-overview",
    )


def _share(t: Tuning) -> Alert:
    return Alert(
        name="RunguardMisfireShareHigh",
        severity="ticket",
        expr=(
            f"{MISFIRES_5M} > {t.misfire_share:g}\n"
            f"  and {MISFIRES_1H} > {t.misfire_share:g}\n"
            f"  and sum by ({Promql(t).by()}) ({over(RESULTS, '1h')}) "
            f">= {t.misfire_share_results:g}"
        ),
        summary=f"Too much of what the recogniser returns is not speech{of(t)}.",
        description=(
            "{{ $value | humanizePercentage }} of the final STT results of the last 5 minutes "
            "were empty, uncertain or the agent's own words, and the last hour agrees."
        ),
        dashboard="runguard-misfires",
    )
