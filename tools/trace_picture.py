"""Draw ``docs/pictures/trace.svg``: the trace of one storm, from spans that were really made.

A job connects a room again every 400 ms with the reconnect guard in force; the SDK's exporter in
memory keeps what leaves. Times differ a little with each run, so ``make generate`` leaves it alone.
"""

from __future__ import annotations

import time
from html import escape
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runguard_otel.core.guards.reconnect import ReconnectPolicy
from runguard_otel.core.verdict import Mode, Outcome, Subject
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build

TARGET = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "trace.svg"
ROW, LEFT, WIDTH, RIGHT, TOP = 26, 220, 420, 250, 44
COLOURS = {"allowed": "#2f7d4f", "refused": "#b3382c", "": "#5b6b7d"}


def storm(reconnects: int = 5, pause: float = 0.4) -> list[ReadableSpan]:
    """The spans of one job, oldest first."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    telemetry = build(Settings.load(), tracer_provider=provider, agent_name=lambda: "front-desk")
    policy, subject = ReconnectPolicy(), Subject(room="support-42")
    telemetry.job_started("AJ_1")
    for _ in range(reconnects + 1):
        decision = policy.on_connect(subject, Mode.ENFORCE, "refuse_connect")
        if decision.signature:
            outcome = Outcome.of(decision.verdict, Mode.ENFORCE)
            telemetry.recorder.event(decision.signature, outcome, subject)
        if decision.trip is not None:
            telemetry.recorder.trip(decision.trip)
        time.sleep(pause)
    telemetry.job_ended("AJ_1", "clean")
    telemetry.shutdown()
    return sorted(kept.get_finished_spans(), key=lambda s: (s.parent is not None, s.start_time))


def drawn(spans: list[ReadableSpan]) -> str:
    """The picture: a bar for each span, indented under its parent, a thread for each link."""
    rows = {span.context.span_id: number for number, span in enumerate(spans)}
    begin = min(span.start_time or 0 for span in spans)
    whole = max(span.end_time or 0 for span in spans) - begin

    def x(at: int | None) -> float:
        return LEFT + WIDTH * ((at or begin) - begin) / whole

    def middle(span_id: int) -> float:
        return TOP + ROW * rows[span_id] + ROW / 2

    out, links = [], []
    for span in spans:
        attributes = span.attributes or {}
        y, left = middle(span.context.span_id), x(span.start_time)
        outcome = str(attributes.get("runguard.outcome", ""))
        trip = span.name == "runguard.trip"
        colour = COLOURS["refused" if trip else outcome]
        indent = 12 if span.parent is None else 28
        out.append(f'<text x="{indent}" y="{y + 4:.0f}">{escape(span.name)}</text>')
        width = max(5.0, x(span.end_time) - left)
        out.append(
            f'<rect x="{left:.1f}" y="{y - 6:.0f}" width="{width:.1f}" height="12" rx="3" '
            f'fill="{colour}"/>'
        )
        ms = ((span.start_time or begin) - begin) / 1e6
        said = f"+{ms:.0f} ms {outcome}"
        if trip:
            count, window = (
                str(attributes[f"runguard.trip.{n}"]) for n in ("count", "window_seconds")
            )
            said = f"+{ms:.0f} ms  {count} in {window} s: {attributes['runguard.action']!s}"
        if span.parent is None:
            said = f"{whole / 1e9:.1f} s, one trace"
        out.append(f'<text x="{LEFT + WIDTH + 14}" y="{y + 4:.0f}">{escape(said)}</text>')
        links += [
            f'<path d="M{left:.1f} {y:.0f}C{left - 30:.1f} {y:.0f} {left - 30:.1f} '
            f"{middle(link.context.span_id):.0f} {x(_start(spans, link.context.span_id)):.1f} "
            f'{middle(link.context.span_id):.0f}"/>'
            for link in span.links
            if link.context.span_id in rows
        ]
    height = TOP + ROW * len(spans) + 14
    total = LEFT + WIDTH + RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" role="img" '
        f'aria-label="The trace of one storm" font-family="system-ui, sans-serif" '
        f'font-size="12.5">\n<style>rect.page{{fill:#fff}}text{{fill:#1d2733}}'
        f"path{{fill:none;stroke:#8a5a00;stroke-dasharray:3 3}}"
        f"@media(prefers-color-scheme:dark){{rect.page{{fill:#14181d}}text{{fill:#e3e8ee}}"
        f"path{{stroke:#e0a84a}}}}</style>\n"
        f'<rect class="page" width="{total}" height="{height}" rx="6"/>\n'
        f'<text x="12" y="24" font-weight="600">A room is connected again and again; the guard '
        f"refuses from the third on</text>\n" + "\n".join([*links, *out]) + "\n</svg>\n"
    )


def _start(spans: list[ReadableSpan], span_id: int) -> int | None:
    return next(span.start_time for span in spans if span.context.span_id == span_id)


if __name__ == "__main__":
    TARGET.write_text(drawn(storm()), encoding="utf-8")
