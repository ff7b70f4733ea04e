"""Fills the template with what happened."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from pathlib import Path
from string import Template

import runguard_otel
from runguard_otel import pages
from runguard_otel.demo.report.chart import chart
from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.tables import METERS, shown
from runguard_otel.demo.usage import price_notes
from runguard_otel.demo.verdict import Verdict, explain

__all__ = ["write_page"]


def write_page(path: Path, plan: Plan, judged: list[Verdict]) -> None:
    """Write the report.

    Args:
        path: The file; its folder is made if it is missing.
        plan: What was played.
        judged: The verdicts, in the order of the storms.
    """
    off, on = plan.cost(False), plan.cost(True)
    tripped = sum(any(plan.pair(v.storm)[1].trips) for v in judged)
    filled = Template(pages.fragment("runguard_otel.demo.report")).substitute(
        version=escape(runguard_otel.__version__),
        when=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        off=f"${off:.4f}" if plan.whole else "-",
        on=f"${on:.4f}" if plan.whole else "-",
        less=f"{(off - on) / off * 100:.0f} %" if off and plan.whole else "-",
        tripped=tripped,
        storms=len(judged),
        verdict="ok" if all(v.ok for v in judged) else "bad",
        saying="every run with guards used less than the same run without"
        if all(v.ok for v in judged)
        else "not everything went as promised, see below"
        if plan.whole
        else "not all runs came to their end, so nothing is compared; see below why",
        cards="\n".join(_card(verdict, *plan.pair(verdict.storm)) for verdict in judged),
        prices="".join(f"<li>{escape(note)}</li>" for note in price_notes()),
    )
    pages.write(path, pages.framed("runguard-otel demo: guards off and on", filled))


def _card(verdict: Verdict, off: Run, on: Run) -> str:
    storm = verdict.storm
    trips = "".join(
        f'<p class="tripline"><strong>Trip after {trip["at"]:.1f} s.</strong> '
        f"{escape(_sentence(explain(trip)))}</p>"
        for trip in on.trips
    )
    problems = "".join(
        f'<p class="problem"><strong>Problem.</strong> {escape(problem)}</p>'
        for problem in verdict.problems
    )
    served = (
        f'<p class="served">{on.served[0]} of {on.served[1]} {escape(storm.served)} with the '
        "guards on.</p>"
        if on.served is not None
        else ""
    )
    return (
        f'<section class="card"><h2>{escape(storm.title)}</h2>'
        f'<p class="story">{escape(storm.story)}</p>{chart(off, on)}'
        f'<div class="below"><div>{trips}{served}{problems}</div>{_meters(off, on)}</div>'
        f"{_events(on)}</section>"
    )


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _meters(off: Run, on: Run) -> str:
    rows = [(name, read(off.used), read(on.used)) for name, read in METERS]
    body = "".join(
        f'<tr{_less(without, with_guards)}><th scope="row">{escape(name)}</th>'
        f"<td>{shown(without)}</td><td>{shown(with_guards)}</td></tr>"
        for name, without, with_guards in rows
        if max(without, with_guards) > 1
    )
    body += (
        f'<tr{_less(float(off.used.cost), float(on.used.cost))}><th scope="row">rough cost</th>'
        f"<td>${off.used.cost:.4f}</td><td>${on.used.cost:.4f}</td></tr>"
    )
    return (
        '<table class="meters"><thead><tr><td></td><th scope="col" class="off">off</th>'
        f'<th scope="col" class="on">on</th></tr></thead><tbody>{body}</tbody></table>'
    )


def _less(without: float, with_guards: float) -> str:
    return ' class="less"' if with_guards < without else ""


def _events(on: Run) -> str:
    kinds = {"input": "the world", "note": "the agent", "signature": "seen", "trip": "trip"}
    rows = "".join(
        f'<tr class="{event.kind}"><td>{event.at:.1f} s</td><td>{kinds[event.kind]}</td>'
        f"<td>{escape(event.text)}</td></tr>"
        for event in on.events
        if event.kind in kinds
    )
    return (
        "<details><summary>Everything that happened with the guards on</summary>"
        f'<div class="scroll"><table class="events">{rows}</table></div></details>'
    )
