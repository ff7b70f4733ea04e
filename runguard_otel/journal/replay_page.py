"""The picture of a replay: one row per call, its trips as they were and as they would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from runguard_otel import pages
from runguard_otel.journal.replay import Replayed, Tripped

__all__ = ["page"]

_MOST: Final = 500
_STYLE: Final = """<style>
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
.call { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr; gap: .75rem;
  align-items: center; padding: .35rem 0; border-bottom: 1px solid var(--line); }
.call code { font-size: .8rem; overflow: hidden; text-overflow: ellipsis; }
.bar { position: relative; height: 1.6rem; }
.bar::before { content: ""; position: absolute; inset: 50% 0 auto;
  border-top: 1px solid var(--soft); }
.bar i { position: absolute; width: .7rem; height: .7rem; margin-left: -.35rem; border-radius: 50%;
  border: 2px solid var(--bad); box-sizing: border-box; }
.bar .then { top: 0; } .bar .now { bottom: 0; background: var(--bad); }
.key i { position: static; display: inline-block; margin: 0 .3rem 0 0; }
.soft { color: var(--soft); }
</style>
"""


def page(calls: Sequence[Replayed], changes: Mapping[str, Any]) -> str:
    """The page.

    Args:
        calls: All calls; those in which nothing trips, then or now, are only counted.
        changes: What was set.
    """
    shown = [call for call in calls if call.then or call.now]
    shown.sort(key=lambda call: (call.then == call.now, call.history.name))
    rows = "".join(_row(call) for call in shown[:_MOST])
    what = ", ".join(f"{n}={v}" for n, v in changes.items()) or "unchanged settings"
    then, now = (sum(len(getattr(call, when)) for call in calls) for when in ("then", "now"))
    body = (
        f"<main><h1>Replay: {escape(what)}</h1>"
        f"<p>{len(calls)} calls; {then} trips then, {now} now. {len(calls) - len(shown)} calls "
        "without a trip are not shown.</p>"
        '<p class="key bar"><i class="then"></i>tripped, live &nbsp; '
        '<i class="now"></i>trips now</p>'
        f"{rows}</main>"
    )
    return pages.framed("runguard-otel replay", _STYLE + body)


def _row(call: Replayed) -> str:
    longest = max((trip.at for trip in (*call.then, *call.now)), default=0.0) * 1.05 or 1.0
    marks = "".join(
        _mark(trip, when, longest)
        for when, trips in (("then", call.then), ("now", call.now))
        for trip in trips
    )
    return (
        f'<div class="call"><code>{escape(call.history.job)}</code>'
        f'<div class="bar">{marks}</div></div>'
    )


def _mark(trip: Tripped, when: str, longest: float) -> str:
    said = f"{trip.signature}, {trip.count} in {trip.window_seconds:g} s, after {trip.at:.1f} s"
    return (
        f'<i class="{when}" style="left:{100 * trip.at / longest:.2f}%" title="{escape(said)}"></i>'
    )
