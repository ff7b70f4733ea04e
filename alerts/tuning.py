"""Every threshold, selector and address of the alerts: the one place to change them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

__all__ = ["Tuning", "TuningError"]

_SEVERITIES = ("page", "ticket", "info")
_LABEL = re.compile(r"[a-zA-Z_]\w*")


class TuningError(ValueError):
    """A value was set that does not exist or cannot be used. The message names it."""


def _is(default: Any, meaning: str, least: float = 0) -> Any:
    return field(default=default, metadata={"meaning": meaning, "least": least})


@dataclass(frozen=True)
class Tuning:
    """What may differ between two installations. ``meaning`` of each field is its documentation."""

    selector: str = _is("", 'Matchers added to every metric, such as `cluster="eu"`.')
    grafana_url: str = _is("http://localhost:3000", "Where the dashboards are; for links.")
    runbook_url: str = _is(
        "http://localhost:3000/public/runguard/runbooks",
        "Where `<AlertName>.md` is served; the files are exported beside the rules.",
    )
    cluster_label: str = _is(
        "cluster", "Label that names the cluster; `k8s_cluster_name` where a store promotes it."
    )
    service_label: str = _is("service_name", "Label that names the service.")
    page_name: str = _is("page", "What your routing calls the severity that wakes someone.")
    ticket_name: str = _is("ticket", "What it calls the one that can wait for the morning.")
    info_name: str = _is("info", "What it calls the one that is only shown.")
    ended_memory: str = _is(
        "10m", "How long a loop that nobody stopped must have been over for its alert to end."
    )
    stopped_memory: str = _is(
        "30m",
        "How long a stopped loop keeps its alert, so that one that comes back pages once.",
    )

    reconnect_trips: float = _is(1, "Stopped reconnect loops in 5 minutes that alert.", 1)
    reconnect_share: float = _is(
        0.001, "... and, besides all of them but one, that share of those minutes' calls."
    )
    reconnect_severity: str = _is("page", "page, ticket or info.")
    duplicate_dispatch_events: float = _is(3, "Refused duplicates in an hour that alert.", 1)
    duplicate_dispatch_share: float = _is(
        0.01, "... and, besides all of them but one, that share of the hour's calls."
    )
    duplicate_dispatch_severity: str = _is("ticket", "page, ticket or info.")
    misfire_trips: float = _is(3, "Stopped misfire storms in an hour that alert.", 1)
    misfire_trips_share: float = _is(
        0.02, "... and, besides all of them but one, that share of the hour's calls."
    )
    misfire_severity: str = _is("ticket", "page, ticket or info.")
    subscription_trips: float = _is(3, "Stopped subscription cascades in an hour that alert.", 1)
    subscription_share: float = _is(
        0.02, "... and, besides all of them but one, that share of the hour's calls."
    )
    subscription_severity: str = _is("ticket", "page, ticket or info.")
    overrun_trips: float = _is(3, "Ended sessions that went on too long in an hour that alert.", 1)
    overrun_share: float = _is(
        0.02, "... and, besides all of them but one, that share of the hour's calls."
    )
    overrun_severity: str = _is("ticket", "page, ticket or info.")
    unstopped_share: float = _is(
        0.01,
        "Share of the running calls that loops which nobody stops must have to alert; reconnect "
        "loops and duplicates always do.",
    )
    storm_trips: float = _is(
        12, "Trips in 15 minutes that page although each was stopped, because they come back.", 1
    )
    storm_share: float = _is(0.1, "... and that share of the calls of those 15 minutes.")

    misfire_share: float = _is(0.3, "Share of final STT results that are misfires.")
    misfire_share_results: float = _is(100, "Results in an hour below which the share is noise.")
    unverified_share: float = _is(0.01, "Share of claims served without proof.")
    unverified_share_claims: float = _is(50, "Claims in an hour below which the share is noise.")
    claims_lost_share: float = _is(0.001, "Share of an hour's claims that may get lost.")
    registry_error_share: float = _is(0.5, "Share of registry calls that fail.")
    registry_errors: float = _is(3, "Failed calls in 5 minutes below which nothing is said.", 1)
    streams_per_job: float = _is(1.5, "Open STT streams per running job.")
    streams_minimum: float = _is(10, "Open STT streams below which nothing is said.", 1)

    waste_usd_per_month: float = _is(500, "What loops may cost a service in 30 days.")
    budget_usd_per_hour: float = _is(100, "What a service may cost in an hour, loops or not.")

    heartbeat_seconds: float = _is(300, "Silence that counts as the death of a worker.", 60)
    workers_down_share: float = _is(0.25, "Share of a service's workers that died and alerts.")
    heartbeat_memory: str = _is("6h", "How long a service that went away is still missed.")

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Tuning:
        """The defaults with some values replaced.

        Args:
            values: Field names and texts, as from ``--set name=value``.

        Raises:
            TuningError: If a name does not exist or a value does not fit.
        """
        known = {f.name: f for f in fields(cls)}
        changes: dict[str, Any] = {}
        for name, text in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TuningError(f"unknown name {name!r}{hint} All names: {', '.join(known)}")
            changes[name] = _parsed(name, text, known[name])
        return replace(cls(), **changes)

    @classmethod
    def table(cls) -> Iterable[tuple[str, str, str]]:
        """Name, default and meaning of every field."""
        for f in fields(cls):
            yield f.name, str(f.default), f.metadata["meaning"]


def _parsed(name: str, text: str, row: Any) -> Any:
    if name.endswith("_severity"):
        if text not in _SEVERITIES:
            raise TuningError(f"{name}={text!r}: allowed are {', '.join(_SEVERITIES)}")
        return text
    if isinstance(row.default, str):
        if name.endswith("_url"):
            return text.rstrip("/")
        if name.endswith("_memory") and not _is_duration(text):
            raise TuningError(f"{name}={text!r}: a duration such as 30s, 10m or 6h is needed")
        if name.endswith("_label") and not _LABEL.fullmatch(text):
            raise TuningError(f"{name}={text!r}: letters, digits and _, no digit first")
        if name.endswith("_name") and not re.fullmatch(r"[\w-]+", text):
            raise TuningError(f"{name}={text!r}: letters, digits, - and _")
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not row.metadata["least"] <= number < float("inf"):
        raise TuningError(f"{name}={text!r}: a number of at least {row.metadata['least']:g}")
    return number


def _is_duration(text: str) -> bool:
    return text[:-1].isdigit() and text[-1:] in ("s", "m", "h", "d") and int(text[:-1]) > 0
