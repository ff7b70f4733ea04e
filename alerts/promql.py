"""PromQL from the names of the catalogue."""

from __future__ import annotations

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, prometheus_label, prometheus_name

__all__ = ["AWAKE", "OWNER", "WINDOW", "events", "grouped", "matcher", "metric", "records"]

OWNER = ("cluster", "service_name")
"""Whose series they are. Target labels, promoted resource attributes or absent: all work, because
every expression aggregates by them and by our own labels, and never by ``instance`` or ``job``."""

WINDOW = "5m"
"""The window of event alerts."""

AWAKE = "runguard:rules:awake"
"""A recording that exists since these rules are evaluated."""

_AWAKE_BEFORE = "6m"  # the window and a minute in which every target has been scraped
_REMEMBERED = "1h"  # a series seen this long before the window is not a new one


def metric(
    name: str, selector: str = "", matchers: tuple[str, ...] = (), *, suffix: str = ""
) -> str:
    """A selector of one catalogue metric.

    Args:
        name: A key of ``METRICS``.
        selector: The installation's own matchers.
        matchers: Further ones, from :func:`matcher`.
        suffix: ``_count`` or ``_bucket`` of a histogram.
    """
    parts = [m for m in (selector, *matchers) if m]
    return f"{prometheus_name(name)}{suffix}" + (f"{{{', '.join(parts)}}}" if parts else "")


def matcher(attribute: str, value: str, operator: str = "=") -> str:
    """One matcher; refuses a value that the catalogue does not have.

    Raises:
        KeyError: If there is no such attribute or value.
    """
    closed = ATTRIBUTES[attribute].values
    if closed and operator in ("=", "!=") and value not in closed:
        raise KeyError(f"{attribute} has no value {value!r}")
    return f'{prometheus_label(attribute)}{operator}"{value}"'


def grouped(*attributes: str) -> str:
    """The label list of ``by (...)``: the owner and these attributes."""
    return ", ".join([*OWNER, *(prometheus_label(a) for a in attributes)])


def events(
    name: str,
    by: tuple[str, ...],
    selector: str = "",
    *,
    window: str = WINDOW,
    suffix: str = "",
) -> str:
    """How many events there were in the window, a new series' first count included.

    ``increase`` is blind to a series that is born at 1. So a series that did not exist before the
    window counts with its value, provided that these rules were already running: after a start or
    an outage of Prometheus an old worker's counts are not news.
    """
    missing = set(by) - set(METRICS[name].attributes)
    if missing:
        raise KeyError(f"{name} has no attributes {missing}")
    series = metric(name, selector, suffix=suffix)
    return (
        f"sum by ({grouped(*by)}) (\n"
        f"    last_over_time({series}[{window}])\n"
        f"      unless last_over_time({series}[{_REMEMBERED}] offset {window})\n"
        f"      and on () ({AWAKE} offset {_AWAKE_BEFORE})\n"
        f"  or\n"
        f"    increase({series}[{window}])\n"
        f")"
    )


def records(name: str, operation: str) -> str:
    """The name of a recording: ``service:<metric>:<operation>``."""
    return f"service:{prometheus_name(name).removesuffix('_total')}:{operation}"
