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
from runguard_otel.telemetry.catalogue.span_attributes import SPAN_ATTRIBUTES
from runguard_otel.telemetry.export import DEFAULT_PORT

PATH = Path(__file__).resolve().parents[1] / "docs" / "telemetry.md"

HEAD = """<!-- Generated from the catalogue by `make generate`. Do not edit. -->

# What runguard-otel emits

## Where it comes out

A job process lives for one call, so it keeps no counters: its worker does. A count in a job is one
store into memory that both share, and survives the death of the job ([how](#from-a-job-to-its-worker)).
Spans leave from the job itself, flushed at its end for at most two seconds.

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

The line that a worker logs at its start names where metrics and spans go. A backend that does not
take them three times in a row is named in one warning; `runguard-otel doctor` asks each of them. If
OTLP is refused for metrics, the worker serves `/metrics` instead, with what OTLP was last given
(not with `RUNGUARD_METRICS_PORT=0`). A client of `/metrics` has five seconds, and 64 are served at a
time.

Every event of a job is in one trace: a child of LiveKit's spans where those are recorded, else of a
span `runguard.job`. Spans use, in this order: `instrument(tracer_provider=...)`, the provider of LiveKit's own spans,
the global provider, and, if the standard variables ask for export, one of our own. Nothing is ever
registered globally: a global meter provider would switch off LiveKit Cloud's metrics.

The names are the same by both ways. A worker has at most 200 series, however many rooms it serves.
All series in the tables marked "from zero" exist before the first event, so `increase()` sees it.

Rules and dashboards group by the labels `service_name` and `cluster`. `/metrics` puts them on every
series, from `OTEL_SERVICE_NAME` and from `k8s.cluster.name` in `OTEL_RESOURCE_ATTRIBUTES`; target
labels of a scrape win over them. On the way of OTLP the shipped collector does it; where Prometheus
takes OTLP itself, promote both resource attributes.

## From a job to its worker

A job process makes one anonymous file of 64 KiB in memory (`memfd`; three or four pages of it are
written), seals it against shrinking and hands it to the worker over a Unix socket in a directory
only its user may enter. From then on the socket says that the job began, that a guard tripped, and,
by its end, that the process is gone. Everything else is read from the memory: each second, ahead of
every scrape and export, and once more when the process is gone.

| What | How it is kept | So that |
|---|---|---|
| counters, up-down counters | one sum each, stored whole (8 bytes, aligned) | a SIGKILL loses nothing, and reading twice counts once |
| the latest span of a counter | trace and span id and a check word | a half-written one is left for the next time |
| values of histograms | a ring of 102, each with its span and a check word | a full ring sends the next one over the socket |
| what lasts | its beginning, later its end, and an amount | the worker can price it while it is open |

240 series and 32 periods fit; what does not, goes over the socket, one record each, as everything
does where memory cannot be shared (macOS, Windows, a sandbox without `memfd_create`; `doctor` says
which it is). Such records wait for a worker that is busy, at most 10,000 of them, and a lost one is
counted in `runguard.events.dropped`. Between threads of one job a record may wait for the thread that
writes: a SIGKILL can lose it, which memory cannot.

The worker believes nothing it reads. A descriptor that is not sealed, of another size or of another
version is refused; a name that fails its checksum, a sum that is no number or goes down, a ring
entry out of place are counted once as `malformed` and cost no more than themselves. A fork of a job
counts in memory of its own. If the hub's directory is removed, it is made anew within a second;
meanwhile jobs count on, and nothing is lost.

### What lasts

A connection, a stream or a session is billed by its time, also when nothing else happens and when
its process is killed. So a job shows the worker only its beginning, and the worker prices it:

```python
period = telemetry.begin_period("stream", {{"provider": "deepgram", "model": "nova-3"}})  # in the job
if period is None:  # no worker sees it (a script, no shared memory, no room): price it here
    ...
period.amount(12.5)  # optional: what it came to, where time alone does not say it
period.end()  # the end of the process says it as well

telemetry.watch_periods(watch)  # in the worker, before or after it starts
```

`watch(periods, now)` is called by the hub about once a second, at each scrape and export, and when a
job dies, never by two threads at a time. It gets one `Period` object per period, the same at every
call while it lasts, and once more with `ended` set. `period.seconds(now)` is how long it lasted;
times are `time.monotonic()`, which all processes of a host share.
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
        "![The trace of one storm](pictures/trace.svg)",
        "",
        "A real one, drawn by `python -m tools.trace_picture`: the dashed lines are the links of the "
        "trip to the events that led to it.",
        "",
        "| Attribute | Meaning |",
        "|---|---|",
    ]
    rows += [f"| `{key}` | {brief} |" for key, brief in SPAN_ATTRIBUTES.items()]
    return "\n".join(rows) + "\n"
