"""The demonstration as a live picture in a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runguard_otel.demo.machine import Machine
from runguard_otel.demo.runs import ACTED, Plan, Run
from runguard_otel.demo.scene import PHASES
from runguard_otel.demo.verdict import explain
from runguard_otel.demo.wire import Event

__all__ = ["NARROW", "LiveView"]

_ROWS_AROUND = 22  # header, table frame and footer; the rest of the screen is for events
NARROW = 100
"""Below this many columns, tables do without frames."""
_STATES = {"waits": "dim", "boots": "yellow", "running": "cyan", "done": "green"}


class LiveView:
    """Redraws the table of runs and the last events a few times a second.

    Args:
        plan: What is played.
        console: Where to draw.
        machine: How fast it is here.
    """

    def __init__(self, plan: Plan, console: Console, machine: Machine | None = None) -> None:
        self._plan = plan
        self._machine = machine or Machine()
        self._console = console
        self._lines: deque[Text] = deque(maxlen=80)

    def __call__(self, run: Run, event: Event) -> None:
        """Hear one event."""
        line = self._line(run, event)
        if line is not None:
            self._lines.append(line)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs; leave the screen as it was."""
        with Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=5,
            screen=True,
        ):
            yield

    def _picture(self) -> RenderableType:
        height = max(3, self._console.size.height - _ROWS_AROUND)
        lines = self._newest(height)
        return Group(
            Text("runguard-otel demo: every storm twice, same input", style="bold"),
            self._table(),
            Panel(
                Group(*lines) if lines else Text("starting the first storms ...", style="dim"),
                title="with guards on",
                title_align="left",
                height=height + 2,
                border_style="dim",
            ),
            self._footer(),
        )

    def _newest(self, height: int) -> list[Text]:
        """As many of the last lines as fit once they are wrapped."""
        width, left, chosen = max(20, self._console.size.width - 4), height, deque[Text]()
        for line in reversed(self._lines):
            left -= len(line.wrap(self._console, width))
            if left < 0:
                break
            chosen.appendleft(line)
        return list(chosen)

    def _table(self) -> Table:
        narrow = self._console.size.width < NARROW
        table = Table(
            expand=True,
            pad_edge=False,
            header_style="bold",
            box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
            padding=(0, 0, 0, 1) if narrow else (0, 1),
        )
        table.add_column("storm", no_wrap=True)
        table.add_column("guards", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=6)  # the state
        for title in ("LLM calls", "TTS chars", "STT sessions", "joins", "agents", "cost"):
            widest = len("$0.0000") if title == "cost" else max(map(len, title.split()))
            table.add_column(title, justify="right", no_wrap=not narrow, min_width=widest)
        for storm in self._plan.storms:
            for run in self._plan.pair(storm):
                table.add_row(*self._row(run), end_section=run.guards and not narrow)
        return table

    @staticmethod
    def _row(run: Run) -> list[RenderableType]:
        used, began = run.used, run.state in ("running", "done")
        state = f"{run.seconds:.0f} s" if run.state == "running" else run.state
        tripped = Text("  TRIP", style="bold red") if run.trips else Text("")
        figures = (
            used.llm_calls,
            used.tts_characters,
            used.stt_sessions,
            used.connections,
            used.jobs,
        )
        return [
            Text("" if run.guards else run.storm.name),
            Text("on", style="bold green") + tripped if run.guards else Text("off"),
            Text(state, style=_STATES.get(run.state, "bold red")),
            *(str(n) if began and n else Text("-", style="dim") for n in figures),
            f"${used.cost:.4f}" if began else Text("-", style="dim"),
        ]

    def _footer(self) -> Text:
        off, on = self._plan.cost(False), self._plan.cost(True)
        left = self._plan.seconds_left(PHASES, self._machine.side_by_side)
        return Text.assemble(
            ("running cost  ", "dim"),
            f"off ${off:.4f}   ",
            (f"on ${on:.4f}", "green"),
            (f"   about {left:.0f} s left   {self._machine.words()}", "dim"),
        )

    @staticmethod
    def _line(run: Run, event: Event) -> Text | None:
        head = f"{event.at:5.1f} s  {run.storm.name:<9} "
        if event.kind == "failed":
            return Text(head + event.text, style="bold red")
        if not run.guards:
            return None
        if event.kind == "trip":
            return Text(f"{head} TRIP  {explain(run.trips[-1])}", style="bold red")
        if event.kind == "signature":
            style = "green" if event.data["outcome"] in ACTED else ""
            return Text(f"{head}   {event.data['signature']}: {event.data['outcome']}", style=style)
        return Text(head + event.text, style="dim") if event.kind == "input" else None
