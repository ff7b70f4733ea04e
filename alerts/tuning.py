"""Every threshold, selector and address of the alerts: the one place to change them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

__all__ = ["Tuning", "TuningError"]

_SEVERITIES = ("page", "ticket", "info")


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
    keep_firing: str = _is("10m", "How long an event keeps its alert, so that one storm is one.")

    reconnect_trips: float = _is(1, "Reconnect loops in 5 minutes that alert.", 1)
    reconnect_severity: str = _is("page", "page, ticket or info.")
    duplicate_dispatch_events: float = _is(3, "Refused duplicates in 5 minutes that alert.", 1)
    duplicate_dispatch_severity: str = _is("page", "page, ticket or info.")
    misfire_trips: float = _is(1, "Misfire storms in 5 minutes that alert.", 1)
    misfire_severity: str = _is("ticket", "page, ticket or info.")
    subscription_trips: float = _is(1, "Subscription cascades in 5 minutes that alert.", 1)
    subscription_severity: str = _is("ticket", "page, ticket or info.")
    storm_trips: float = _is(
        4,
        "Trips of one kind in each of three successive 5 minutes that page although each was "
        "stopped; raise it for a fleet in which more storms than that are ordinary.",
        1,
    )

    misfire_share: float = _is(0.3, "Share of final STT results that are misfires.")
    misfire_share_results: float = _is(100, "Results in an hour below which the share is noise.")
    unverified_share: float = _is(0.01, "Share of claims served without proof.")
    unverified_share_claims: float = _is(50, "Claims in an hour below which the share is noise.")
    registry_error_share: float = _is(0.5, "Share of registry calls that fail.")
    registry_errors: float = _is(3, "Failed calls in 5 minutes below which nothing is said.", 1)
    streams_per_job: float = _is(1.5, "Open STT streams per running job.")
    streams_minimum: float = _is(10, "Open STT streams below which nothing is said.", 1)

    waste_usd_per_month: float = _is(500, "What loops may cost a service in 30 days.")
    budget_usd_per_hour: float = _is(100, "What a service may cost in an hour, loops or not.")

    heartbeat_seconds: float = _is(300, "Silence of all workers that counts as absent.", 60)
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
        if name in ("keep_firing", "heartbeat_memory") and not _is_duration(text):
            raise TuningError(f"{name}={text!r}: a duration such as 30s, 10m or 6h is needed")
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
