"""What the demonstration says at its end."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.usage import Used, price_notes
from runguard_otel.demo.verdict import Verdict, explain

__all__ = ["METERS", "as_data", "ending", "shown"]

METERS: tuple[tuple[str, Callable[[Used], float]], ...] = (
    ("LLM calls", lambda u: u.llm_calls),
    ("TTS chars", lambda u: u.tts_characters),
    ("STT secs", lambda u: round(u.stt_seconds)),
    ("STT sessions", lambda u: u.stt_sessions),
    ("joins", lambda u: u.connections),
    ("agents", lambda u: u.jobs),
)


def ending(plan: Plan, judged: list[Verdict], *, narrow: bool = False) -> RenderableType:
    """The table, a sentence per trip, and the verdicts.

    Args:
        plan: What was played.
        judged: The verdicts, in the order of the storms.
        narrow: For less than a hundred columns.
    """
    return Group(
        Text(),
        _table(plan, narrow),
        Text(),
        *_sentences(plan, judged),
        _verdict(plan, judged),
        Text(),
        Text("Rough cost at list prices of what a team would use in place of the stand-ins:"),
        *(Text(f"  {note}", style="dim") for note in price_notes()),
    )


def shown(value: float) -> str:
    """A figure of a meter; nothing used is a dash."""
    return f"{value:.0f}" if value else "-"


def as_data(plan: Plan, judged: list[Verdict]) -> dict[str, object]:
    """The same as plain data, for ``--json``."""
    return {
        "ok": all(verdict.ok for verdict in judged),
        "storms": [
            {
                "storm": verdict.storm.name,
                "guard": str(verdict.storm.guard),
                "ok": verdict.ok,
                "problems": list(verdict.problems),
                "trips": plan.pair(verdict.storm)[1].trips,
                **{
                    "on" if run.guards else "off": _figures(run) for run in plan.pair(verdict.storm)
                },
            }
            for verdict in judged
        ],
        "cost_usd": {"off": str(plan.cost(False)), "on": str(plan.cost(True))},
        "prices": price_notes(),
    }


def _figures(run: Run) -> dict[str, object]:
    return {
        **run.used.as_dict(),
        "cost_usd": str(run.used.cost),
        "seconds": run.seconds,
        "served": list(run.served) if run.served else None,
        "signatures": [
            {"signature": s, "outcome": o, "count": n} for (s, o), n in run.signatures().items()
        ],
    }


def _table(plan: Plan, narrow: bool) -> Table:
    table = Table(
        title="Same input, guards off and on",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        padding=(0, 0, 0, 1) if narrow else (0, 1),
        pad_edge=not narrow,
    )
    table.add_column("storm", no_wrap=True)
    table.add_column("guards", no_wrap=True)
    for title, _ in METERS:
        table.add_column(title, justify="right", min_width=max(map(len, title.split())))
    table.add_column("rough cost", justify="right", no_wrap=True)
    for storm in plan.storms:
        off, on = plan.pair(storm)
        for run in (off, on):
            table.add_row(
                "" if run.guards else storm.name,
                Text("on", style="green") if run.guards else "off",
                *(shown(read(run.used)) for _, read in METERS),
                _cost(run.used.cost, off.used.cost if run.guards and not narrow else None),
                end_section=run.guards,
            )
    if not plan.whole:  # sums of what happened to be played compare nothing
        return table
    off_cost, on_cost = plan.cost(False), plan.cost(True)
    table.add_row("all", "off", *("" for _ in METERS), _cost(off_cost, None))
    table.add_row(
        "",
        Text("on", style="green"),
        *("" for _ in METERS),
        _cost(on_cost, None if narrow else off_cost),
    )
    return table


def _cost(cost: Decimal, compared: Decimal | None) -> str:
    if not compared:
        return f"${cost:.4f}"
    return f"${cost:.4f} ({(cost - compared) / compared * 100:+.0f}%)"


def _verdict(plan: Plan, judged: list[Verdict]) -> Text:
    off, on = plan.cost(False), plan.cost(True)
    tripped = sum(any(plan.pair(v.storm)[1].trips) for v in judged)
    guards = f"{tripped} of {len(judged)} guards tripped"
    if all(verdict.ok for verdict in judged):
        less = f"${off:.4f} without guards, ${on:.4f} with them"
        return Text(f"OK: {guards}, every run with guards used less: {less}.", style="bold green")
    failed = ", ".join(verdict.storm.name for verdict in judged if not verdict.ok)
    if not plan.whole:
        return Text(f"NOT OK: not all runs came to their end: {failed}.", style="bold red")
    return Text(f"NOT OK: {guards}; see the problems of {failed}.", style="bold red")


def _sentences(plan: Plan, judged: list[Verdict]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for verdict in judged:
        on = plan.pair(verdict.storm)[1]
        lines.append(Text(verdict.storm.title, style="bold"))
        said = [
            Text(f"{trip['guard']} tripped after {trip['at']:.1f} s: {explain(trip)}")
            for trip in on.trips
        ]
        if on.served is not None:
            said.append(Text(f"{on.served[0]} of {on.served[1]} {verdict.storm.served}."))
        said.extend(Text(f"PROBLEM {problem}", style="red") for problem in verdict.problems)
        lines.extend(Padding(text, (0, 0, 0, 2), expand=False) for text in said)
        lines.append(Text())
    return lines
