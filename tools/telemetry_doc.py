"""``docs/telemetry.md`` from the catalogue."""

from __future__ import annotations

from pathlib import Path

from runguard_otel.core.signatures import SIGNATURES
from runguard_otel.telemetry.catalogue import (
    ATTRIBUTES,
    METRICS,
    SPANS,
    Metric,
    possible_outcomes,
    prometheus_label,
    prometheus_name,
)
from runguard_otel.telemetry.span_attributes import SPAN_ATTRIBUTES
from runguard_otel.telemetry.worker import DEFAULT_PORT

PATH = Path(__file__).resolve().parents[1] / "docs" / "telemetry.md"

HEAD = """<!-- Generated from the catalogue by `make generate`. Do not edit. -->

# What runguard-otel emits

## Where it comes out

A job process lives for one call, so it keeps no counters: it sends every measurement to its worker
over a local socket, and the worker counts. What was sent survives the death of the job. Spans leave
from the job itself, flushed at its end for at most two seconds.

| Environment | Metrics of the worker leave by |
|---|---|
| nothing set | `http://127.0.0.1:{port}/metrics`, or the next free port when workers share a host |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | OTLP, every 15 s (`OTEL_METRIC_EXPORT_INTERVAL`), no `/metrics` |
| `OTEL_METRICS_EXPORTER` | what it lists: `otlp`, `prometheus`, `console`, or `none` |
| `RUNGUARD_METRICS_PORT=9500` | `/metrics` on that port, besides OTLP if that is configured |
| `RUNGUARD_METRICS_PORT=0` | never `/metrics` |
| `instrument(meter_provider=...)` | that provider, which is never shut down by runguard |
| `OTEL_SDK_DISABLED=true` | nothing |

`OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc` (default) or `http/protobuf`; temporality is cumulative.
Metrics of scripts, of console mode and of worker options that run jobs as threads are counted in
process under the same names; scripts and console mode serve no `/metrics`.

Spans use, in this order: `instrument(tracer_provider=...)`, the provider of LiveKit's own spans,
the global provider, and, if the standard variables ask for export, one of our own. Nothing is ever
registered globally: a global meter provider would switch off LiveKit Cloud's metrics.

The names are the same by both ways. A worker has at most 150 series, however many rooms it serves.
All series in the tables marked "from zero" exist before the first event, so `increase()` sees it.

Rules and dashboards group by the labels `service_name` and `cluster`. `/metrics` puts them on every
series, from `OTEL_SERVICE_NAME` and from `k8s.cluster.name` in `OTEL_RESOURCE_ATTRIBUTES`; target
labels of a scrape win over them. On the way of OTLP the shipped collector does it; where Prometheus
takes OTLP itself, promote both resource attributes.
"""


def generated() -> dict[Path, str]:
    """The file and its text."""
    parts = [HEAD.format(port=DEFAULT_PORT), _metrics(), _labels(), _signatures(), _spans()]
    return {PATH: "\n".join(parts)}


def _metrics() -> str:
    rows = [
        "## Metrics\n",
        "| OpenTelemetry | Prometheus | Kind, unit | Labels | From zero | Meaning |",
        "|---|---|---|---|---|---|",
    ]
    rows += [_metric(m) for m in METRICS.values()]
    return "\n".join(rows) + "\n"


def _metric(metric: Metric) -> str:
    labels = ", ".join(f"`{prometheus_label(a)}`" for a in metric.attributes)
    name = prometheus_name(metric.name)
    zero = "yes" if metric.zero else ""
    kind = f"{metric.kind.value}, `{metric.unit}`"
    return f"| `{metric.name}` | `{name}` | {kind} | {labels} | {zero} | {metric.brief} |"


def _labels() -> str:
    rows = [
        "## Labels\n",
        "Values come from closed sets; a value that is not in its set becomes `other`. Open sets",
        "are capped, and `other` takes what comes after.\n",
        "| Label | OpenTelemetry key | Values | Meaning |",
        "|---|---|---|---|",
    ]
    for a in ATTRIBUTES.values():
        values = ", ".join(f"`{v}`" for v in a.values) or f"open, at most {a.cap or 60}"
        rows.append(f"| `{prometheus_label(a.name)}` | `{a.key}` | {values} | {a.brief} |")
    return "\n".join(rows) + "\n"


def _signatures() -> str:
    rows = ["## Signatures\n", "| Signature | Outcomes |", "|---|---|"]
    rows += [f"| `{s}` | {', '.join(f'`{o}`' for o in possible_outcomes(s))} |" for s in SIGNATURES]
    return "\n".join(rows) + "\n"


def _spans() -> str:
    rows = ["## Spans and log records\n", "| Span | Meaning |", "|---|---|"]
    rows += [f"| `{name}` | {brief} |" for name, brief in SPANS.items()]
    rows += [
        "",
        "Spans are children of LiveKit's own (`job_entrypoint`, `agent_session`, `user_turn`) and",
        "never current while your code runs. A trip is also one log record of the logger",
        "`runguard_otel.trips`, with the attributes below as fields, except those with `pii`.",
        "",
        "| Attribute | Meaning |",
        "|---|---|",
    ]
    rows += [f"| `{key}` | {brief} |" for key, brief in SPAN_ATTRIBUTES.items()]
    return "\n".join(rows) + "\n"
