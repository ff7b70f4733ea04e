"""PromQL of the panels, from the names of the catalogue and the dashboards' variables."""

from __future__ import annotations

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, prometheus_label, prometheus_name

__all__ = [
    "FILTERS", "heard", "hourly", "increase", "label", "legend", "now", "owner", "quantile",
    "quantile_of_range", "rate", "ratio", "series",
]  # fmt: skip

FILTERS = 'cluster=~"$cluster", service_name=~"$service"'
"""``All`` is ``.*``, so series without such a label are shown as well."""


_PLAIN = {"cluster": "cluster", "service": "service_name", "le": "le"}


def label(attribute: str) -> str:
    """The Prometheus label of an attribute, or of ``cluster`` or ``service``: whose it is."""
    return _PLAIN.get(attribute) or prometheus_label(attribute)


def owner(*metrics: str, by: str = "") -> str:
    """Whose it is, and ``by`` after it: the cluster, the service, and the agent if all have one."""
    agent = all("agent" in METRICS[m].attributes for m in metrics)
    return " ".join(["cluster", "service", *(["agent"] if agent else []), *by.split()])


def legend(*attributes: str) -> str:
    """A legend of these attributes' values."""
    return " ".join(f"{{{{{label(a)}}}}}" for a in attributes)


def series(metric: str, suffix: str = "", /, **matchers: str) -> str:
    """A selector: the variables, and attributes that equal a value, or match one after ``~``.

    Where nothing says whose view it is, it is the agent's own.

    Raises:
        KeyError: If the metric has no such attribute, or the attribute no such value.
    """
    row = METRICS[metric]
    parts = [FILTERS]
    if "agent" in row.attributes:
        parts.append(f'{label("agent")}=~"$agent"')
    if "vantage" in row.attributes and "vantage" not in matchers:
        parts.append(f'{label("vantage")}=""')
    for attribute, value in matchers.items():
        if attribute not in row.attributes:
            raise KeyError(f"{metric} has no attribute {attribute}")
        operator, text = ("=~", value[1:]) if value.startswith("~") else ("=", value)
        if value.startswith("!"):
            operator, text = "!=", value[1:]
        closed = ATTRIBUTES[attribute].values
        if closed and operator != "=~" and text not in closed:
            raise KeyError(f"{attribute} has no value {text!r}")
        parts.append(f'{label(attribute)}{operator}"{text}"')
    return f"{prometheus_name(metric)}{suffix}{{{', '.join(parts)}}}"


def _by(by: str) -> str:
    return f" by ({', '.join(label(a) for a in by.split())})" if by else ""


def rate(metric: str, by: str = "", suffix: str = "", /, **matchers: str) -> str:
    """Events per second, summed over workers."""
    return f"sum{_by(by)} (rate({series(metric, suffix, **matchers)}[$__rate_interval]))"


def increase(metric: str, by: str = "", window: str = "$__range", /, **matchers: str) -> str:
    """Events in a window; the whole range shown if none is given."""
    return f"sum{_by(by)} (increase({series(metric, **matchers)}[{window}]))"


def hourly(metric: str, by: str = "", /, **matchers: str) -> str:
    """Units per hour at this moment."""
    return f"3600 * {rate(metric, by, **matchers)}"


def now(metric: str, by: str = "", /, **matchers: str) -> str:
    """The value of an up-down counter, summed over workers."""
    return f"sum{_by(by)} ({series(metric, **matchers)})"


def heard() -> str:
    """0 if any worker was heard of in the range shown, else nothing: no data is not a zero."""
    beat = series("runguard.worker.heartbeat")
    return f"0 * max (last_over_time({beat}[$__range]))"


def quantile(q: float, metric: str, by: str = "") -> str:
    """The quantile ``q`` of a histogram."""
    return f"histogram_quantile({q}, {rate(metric, f'le {by}', '_bucket')})"


def quantile_of_range(q: float, metric: str) -> str:
    """The quantile ``q`` of a histogram over the whole range shown."""
    return f"histogram_quantile({q}, sum by (le) (increase({series(metric, '_bucket')}[$__range])))"


def ratio(part: str, whole: str) -> str:
    """One share; nothing where there was no traffic."""
    return f"{part} / ({whole} > 0)"
