"""``runguard-otel cost``: the prices in force, and what a loop costs at your traffic."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel import pages
from runguard_otel.cli.cost.journal import ANSWERED, answer
from runguard_otel.cli.cost.models import Use, installed, named_in
from runguard_otel.cli.cost.top import QUESTIONS, Question, Row, ask, table
from runguard_otel.cli.cost.view import as_data, show, show_uses
from runguard_otel.cli.failure import fail, writing
from runguard_otel.cost.estimate import COMPONENTS, LOOPS, Estimate, estimate, total
from runguard_otel.cost.page import page, rates, usd
from runguard_otel.cost.price import OURS, STALE_DAYS, PriceBookError
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.scenario import EstimateError, Loop, Stack, Traffic
from runguard_otel.journal.reading import find
from runguard_otel.preview.prometheus import Prometheus, QueryError

__all__ = ["app"]

app = typer.Typer(help="What it costs: prices, and an estimate of a loop.", no_args_is_help=True)

MAX_DIGITS = 12
KINDS = {
    "reconnect": ("A room is joined again and again", "12", "20"),
    "misfire": ("The agent answers noise", "2", "10"),
    "duplicate": ("A second agent serves the same call", "1", "10"),
    "cascade": ("A flapping track opens one STT stream after another", "8", "1"),
}
"""Loop: what happens, usual rate, usual minutes."""

_HTML = typer.Option(None, "--html", help="Write a page with a chart to this file.")
_JOURNAL = typer.Option(None, "--journal", help="A folder of journals, in place of Prometheus.")
_CHECK = typer.Option(None, "--check", help="Only what this agent's file uses; it is not run.")
_PRICES = typer.Option("", "--prices", help="Your price file; default: RUNGUARD_PRICES.")


def _book(prices: str) -> PriceBook:
    if prices and not os.path.exists(os.path.expanduser(prices)):  # unlike Path's, never raises
        fail(f"--prices {prices}: no such file")
    try:
        return PriceBook.load(prices or os.environ.get("RUNGUARD_PRICES", ""))
    except PriceBookError as error:
        fail(error)


def _named_in(agent: Path) -> list[Use]:
    try:
        return named_in(agent)
    except OSError as error:
        fail(f"--check {agent}: {error.strerror or error}")
    except (SyntaxError, ValueError) as error:  # ValueError: bytes that are no text
        fail(f"--check {agent}: is no Python: {error}")


def _today() -> date:
    return datetime.now(timezone.utc).date()


@app.command("prices")
def prices_command(
    prices: str = _PRICES,
    component: str = typer.Option("", help="Only transport, agent, stt, llm or tts."),
    sources: bool = typer.Option(False, help="Show where each price was read."),
    check: Path | None = _CHECK,
    of_installed: bool = typer.Option(
        False, "--installed", help="Only what the installed plugins use by default."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List every price in force, with its age and source."""
    if component and component not in COMPONENTS:
        fail(f"component={component!r} is unknown; one of {', '.join(COMPONENTS)}")
    book, today = _book(prices), _today()
    if check is not None or of_installed:
        if check is not None and of_installed:
            fail("--check FILE or --installed, not both")
        uses = installed() if check is None else _named_in(check)
        show_uses(book, [u for u in uses if component in ("", u.component)], check, as_json)
        return
    rows = [r for r in book.rows if component in ("", r.component)]
    rows.sort(key=lambda r: (COMPONENTS.index(r.component), r.provider, r.models, r.plan))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "version": book.version,
                    "currency": "USD",
                    "prices": [
                        {
                            "component": r.component,
                            "provider": r.provider,
                            "models": list(r.models),
                            "plan": r.plan or None,
                            "rates": {m: str(a) for m, a in r.rates.items()},
                            "per": str(r.per),
                            "rounding": {
                                "increment": str(r.rounding.increment),
                                "minimum": str(r.rounding.minimum),
                            },
                            "source": r.source,
                            "date": r.day.isoformat(),
                            "age_days": r.age_days(today),
                            "stale": r.stale(today),
                            "note": r.note,
                            "from": r.origin,
                        }
                        for r in rows
                    ],
                },
                indent=2,
            )
        )
        return
    console = Console()
    table = Table(title=f"Prices in USD, version {book.version}", title_justify="left")
    sources = sources or console.width >= 150
    for name in ("", "provider", "model", "price", "age", *(["source"] if sources else [])):
        table.add_column(name, overflow="fold")
    for r in rows:
        age = f"{r.age_days(today)} d"
        table.add_row(
            r.component,
            escape(r.provider)
            + (f"\n({r.plan})" if r.plan else "")
            + ("" if r.origin == OURS else f"\n[cyan]{escape(Path(r.origin).name)}[/]"),
            escape("\n".join(r.models)),
            rates(r.rates, r.per) + (f"\n[dim]{escape(r.note)}[/]" if r.note else ""),
            f"[yellow]{age}[/]" if r.stale(today) else age,
            *([escape(r.source)] if sources else []),
        )
    console.print(table)
    old = [r for r in rows if r.stale(today)]
    if old:
        Console(stderr=True).print(
            f"[yellow]warning[/] {len(old)} of {len(rows)} prices are older than {STALE_DAYS} "
            "days; check them and put what you pay into a price file (RUNGUARD_PRICES)",
            highlight=False,
            soft_wrap=True,
        )


@app.command("estimate")
def estimate_command(
    context: typer.Context,
    loop: str = typer.Option("reconnect", help=f"One of {', '.join(LOOPS)}."),
    rate: str = typer.Option("", help="How often a minute (duplicate: how many extra jobs)."),
    minutes: str = typer.Option("", help="For how long, in one affected call."),
    share: str = typer.Option("0.01", help="Share of all calls it happens to, 0 to 1."),
    open_minutes: str = typer.Option("180", help="cascade: how long an unclosed stream stays."),
    calls: str = typer.Option("100", help="Calls a day."),
    call_minutes: str = typer.Option("6", help="Minutes a call."),
    plan: str = typer.Option("ship", help="ship, scale (LiveKit Cloud) or self_hosted."),
    cloud_agents: bool = typer.Option(True, help="LiveKit Cloud hosts the agents."),
    stt: str = typer.Option(Stack.stt, help="provider/model."),
    llm: str = typer.Option(Stack.llm, help="provider/model."),
    tts: str = typer.Option(Stack.tts, help="provider/model."),
    prompt_tokens: str = typer.Option("1500", help="Prompt tokens of a turn."),
    prices: str = _PRICES,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    html: Path | None = _HTML,
) -> None:
    """Price a month without a loop, with it, and with the guard.

    On a terminal without arguments it asks.
    """
    if _is_terminal() and _asked_nothing(context):
        loop, rate, minutes, share, calls, call_minutes, plan = _ask(loop, calls, call_minutes)
    if loop not in KINDS:
        fail(f"loop={loop!r} is unknown; one of {', '.join(KINDS)}")
    if plan not in ("ship", "scale", "self_hosted"):
        fail(f"plan={plan!r} is unknown; one of ship, scale, self_hosted")
    _, usual_rate, usual_minutes = KINDS[loop]
    try:
        traffic = Traffic(
            calls_per_day=_number("calls", calls),
            minutes_per_call=_number("call-minutes", call_minutes),
            prompt_tokens=_number("prompt-tokens", prompt_tokens),
        )
        stack = Stack(plan, cloud_agents and plan != "self_hosted", stt, llm, tts)
        what = Loop(
            loop,
            _number("rate", rate or usual_rate),
            _number("minutes", minutes or usual_minutes),
            _number("share", share),
            open_minutes=_number("open-minutes", open_minutes),
        )
        answer = _priced(_book(prices), traffic, stack, what)
    except EstimateError as error:
        fail(error)
    if html is not None:
        with writing():
            pages.write(html, page(answer, traffic, stack, what, _today()))
    if as_json:
        typer.echo(json.dumps(as_data(answer, traffic, stack, what), indent=2))
        return
    show(answer, traffic, what)
    if html is not None:
        Console().print(f"\nWritten: {escape(str(html))}", highlight=False)


def _priced(book: PriceBook, traffic: Traffic, stack: Stack, loop: Loop) -> Estimate:
    """The estimate; of a loop that outlives its call it says what it adds to a longer one.

    Only the minutes that the call itself would have cost are taken off a loop's price, so the same
    loop adds more to a short call.
    """
    answer = estimate(book, traffic, stack, loop)
    if loop.minutes <= traffic.minutes_per_call:
        return answer
    longer = estimate(book, replace(traffic, minutes_per_call=loop.minutes), stack, loop)
    here, there = (usd(total(each.call_extra)) for each in (answer, longer))
    if here == there:
        return answer
    note = (
        f"a loop of {loop.minutes:f} minutes outlives a call of {traffic.minutes_per_call:f}; to a "
        f"call of {loop.minutes:f} minutes it adds {there}, not {here} "
        f"(--call-minutes {loop.minutes:f})"
    )
    return replace(answer, notes=(*answer.notes, note))


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked_nothing(context: typer.Context) -> bool:
    """Whether no option was given on the command line."""
    sources = (context.get_parameter_source(name) for name in context.params)
    return all(source is None or source.name != "COMMANDLINE" for source in sources)


def _ask(loop: str, calls: str, call_minutes: str) -> tuple[str, ...]:
    console = Console()
    for name, (meaning, _, _) in KINDS.items():
        console.print(f"  [bold]{name:<10}[/] {meaning}")
    kind = ""
    while kind not in KINDS:
        kind = typer.prompt("Which loop", default=loop)
    _, usual_rate, usual_minutes = KINDS[kind]
    how = "Extra jobs" if kind == "duplicate" else "How often a minute"
    return (
        kind,
        typer.prompt(how, default=usual_rate),
        typer.prompt("For how many minutes of a call", default=usual_minutes),
        typer.prompt("Share of calls it happens to", default="0.01"),
        typer.prompt("Calls a day", default=calls),
        typer.prompt("Minutes a call", default=call_minutes),
        typer.prompt("Plan (ship, scale, self_hosted)", default="ship"),
    )


def _number(name: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise EstimateError(f"{name}={text!r} is not a number") from None
    if not number.is_finite():
        raise EstimateError(f"{name}={text!r} is not a number")
    # Arithmetic on a million digits takes for ever; no fleet makes a trillion calls a day.
    _, digits, _ = number.as_tuple()
    if number and not (-MAX_DIGITS <= number.adjusted() <= MAX_DIGITS and len(digits) <= 28):
        raise EstimateError(f"{name}={text:.40} is out of range: 1e-12 to 1e12, 28 digits")
    return number


@app.command("top")
def top_command(
    prometheus: str = typer.Option("", "--prometheus", help="Address of a Prometheus server."),
    journal: Path | None = _JOURNAL,
    rows: int = typer.Option(10, min=1, max=1000, help="Lines of each table."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """What costs most today, next to the usual day: service, component, loop, agent."""
    if bool(prometheus) == (journal is not None):
        fail("say where to look: --prometheus URL, or --journal FOLDER")
    if journal is not None:
        found = _top_of_journal(journal, rows)
    else:
        server = Prometheus(prometheus.rstrip("/"))
        try:
            found = [(question, ask(server, question, rows=rows)) for question in QUESTIONS]
        except QueryError as error:
            fail(f"--prometheus {prometheus}: {error}")
    if as_json:
        answer = {q.title: [row._asdict() for row in lines] for q, lines in found}
        typer.echo(json.dumps(answer, indent=2))
        return
    console = Console()
    for question, lines in found:
        if lines:
            console.print(table(question, lines))
    if not any(lines for _, lines in found):
        console.print("Nothing was counted in 8 days: are the workers scraped, or journalled?")


def _top_of_journal(journal: Path, rows: int) -> list[tuple[Question, list[Row]]]:
    try:
        histories = find([journal])
        now = time.time()
        return [(question, answer(histories, question, at=now, rows=rows)) for question in ANSWERED]
    except (OSError, ValueError) as error:
        fail(error)
