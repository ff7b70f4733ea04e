"""The words in which an alert's story is told: series, what happens, what must fire and when.

Notation of values is promtool's: ``0x40`` is 41 samples of 0, one every 15 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runguard_otel.telemetry.catalogue import ATTRIBUTES, prometheus_label, prometheus_name

__all__ = [
    "ONE_AT_10",
    "OWNER",
    "RECONNECT",
    "TRIP",
    "Case",
    "Silence",
    "event",
    "heartbeat",
    "series",
]

OWNER = {"cluster": "eu", "service_name": "front-desk"}
INSTANCE = {"instance": "10.0.0.1:9464", "job": "agents"}


def series(
    metric: str, suffix: str = "", owner: Mapping[str, str] = OWNER, /, **labels: str
) -> str:
    """A series of the catalogue with the labels that a scrape adds.

    Raises:
        KeyError: If a label is not of the catalogue.
    """
    found = {**owner, **INSTANCE}
    for name, value in labels.items():
        if name in ("instance", "le"):
            found[name] = value
            continue
        closed = ATTRIBUTES[name].values
        if closed and value not in closed:
            raise KeyError(f"{name} has no value {value!r}")
        found[prometheus_label(name)] = value
    inside = ", ".join(f'{k}="{v}"' for k, v in found.items())
    return f"{prometheus_name(metric)}{suffix}{{{inside}}}"


def heartbeat(**labels: str) -> str:
    """The heartbeat's series."""
    return series("runguard.worker.heartbeat", **labels)


@dataclass(frozen=True)
class Case:
    """One alert: silent, firing, quiet again.

    Args:
        alert: Its name.
        story: What happens, in words.
        input: Series and their values.
        silent: Minutes at which it must be silent.
        firing: Minutes at which it must fire.
        quiet: Minutes at which it must be silent again.
        labels: Short names and values of the labels it fires with, besides the owner's.
        value: How its value reads in the description.
        owners: The owners it fires for.
    """

    alert: str
    story: str
    input: Mapping[str, str]
    silent: tuple[float, ...]
    firing: tuple[float, ...]
    quiet: tuple[float, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = "1"
    owners: tuple[Mapping[str, str], ...] = (OWNER,)


@dataclass(frozen=True)
class Silence:
    """Something healthy, or none of our business: no alert fires at these minutes."""

    story: str
    input: Mapping[str, str]
    minutes: tuple[float, ...]


RECONNECT = {"agent": "reservations", "guard": "room_reconnect", "signature": "room_reconnect"}
TRIP = {**RECONNECT, "mode": "enforce", "action": "refuse_connect"}
ONE_AT_10 = "0x40 1x120"  # nothing for ten minutes, then one event


def event(alert: str, metric: str, fires: Mapping[str, str], also: Mapping[str, str]) -> Case:
    """An event alert: fires at once, is kept for ten minutes after its window, then is quiet."""
    return Case(
        alert,
        "one event after ten quiet minutes",
        {series(metric, **fires, **also): ONE_AT_10},
        silent=(5, 10),
        firing=(10.5, 15, 24),
        quiet=(26.5,),
        labels=fires,
    )
