"""Which series exist: the allow-list of attributes, the caps, and what starts at zero."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Final

from runguard_otel.core.signatures import GuardName, guard_of
from runguard_otel.core.verdict import Mode, Outcome
from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, SERVER, Attribute

__all__ = ["OTHER", "UNNAMED", "Series", "allowed", "zero_points"]

OTHER: Final = "other"
"""Takes the place of a value that is not in a closed set, or came after the cap was reached."""

UNNAMED: Final = "unnamed"
"""The agent where LiveKit's agent name is empty, which is its default: a blank reads as a gap."""

_MAX_VALUE_LENGTH = 100
_MAX_REMEMBERED = 4096
_UNLISTED_CAP = 60  # closed sets that only the adapters know: the names of the patches

Labels = Mapping[str, str]


class Series:
    """Turns short attribute names into OpenTelemetry ones and keeps their number bounded.

    Args:
        agent: The worker's agent name, for what is measured without one.
        vantage: Whose view all of it is; ``""`` for the agent's own.
    """

    def __init__(self, agent: str = "", vantage: str = "") -> None:
        self._agent = agent or UNNAMED
        self._vantage = vantage
        self._seen: dict[str, set[str]] = {}
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
        self._lock = threading.Lock()

    def labels(self, metric: str, given: Labels) -> dict[str, str]:
        """The attributes a measurement gets.

        An attribute the metric does not have is dropped; an empty value is no attribute. Where
        the metric has an agent, it always gets one.

        Args:
            metric: A key of ``catalogue.METRICS``.
            given: Short names and values. The result is shared: do not change it.

        Raises:
            KeyError: If there is no such metric.
        """
        key = (metric, tuple(given.items()))
        found = self._known.get(key)
        if found is None:
            if "agent" in METRICS[metric].attributes and not given.get("agent"):
                given = {**given, "agent": self._agent}
            if self._vantage and "vantage" in METRICS[metric].attributes:
                given = {**given, "vantage": self._vantage}
            found = {
                ATTRIBUTES[name].key: self._capped(ATTRIBUTES[name], value)
                for name, value in allowed(metric, given)
            }
            if len(self._known) < _MAX_REMEMBERED:
                self._known[key] = found
        return found

    def _capped(self, attribute: Attribute, value: str) -> str:
        if attribute.values:
            return value
        with self._lock:
            seen = self._seen.setdefault(attribute.name, set())
            if value in seen:
                return value
            if len(seen) >= (attribute.cap or _UNLISTED_CAP):
                return OTHER
            seen.add(value)
        return value


def allowed(metric: str, given: Labels) -> Iterator[tuple[str, str]]:
    """The attributes of ``given`` that the metric has, with values of the closed sets.

    Raises:
        KeyError: If there is no such metric.
    """
    for name in METRICS[metric].attributes:
        value = given.get(name)
        if value:
            closed = ATTRIBUTES[name].values
            known = not closed or value in closed
            yield name, (value[:_MAX_VALUE_LENGTH] if known else OTHER)


def zero_points(modes: Mapping[GuardName, Mode], vantage: str = "") -> Iterator[tuple[str, Labels]]:
    """Every series to export as 0 from the start, so that ``increase()`` sees the first event.

    Args:
        modes: The mode of each guard. A guard that is off, or that only watches, cannot make some
            series; leaving those out is what keeps one worker under 200.
        vantage: Whose view; the server's has series of its own, and none of an agent's.
    """
    for metric in METRICS.values():
        of_server = metric.name.startswith(_OF_THE_SERVER)
        for labels in metric.zero_series():
            if labels.get("vantage", SERVER if of_server else "") != vantage:
                continue
            if vantage or _can_happen(metric.name, labels, modes):
                yield metric.name, labels


_OF_THE_SERVER: Final = "runguard.server."
_ONLY_WATCHED: Final = ("vad_misfire:no_transcript", "vad_misfire:repeated_transcript")


def _can_happen(metric: str, labels: Labels, modes: Mapping[GuardName, Mode]) -> bool:
    """Whether these modes can make this series: enforce acts and watching only watches."""
    guard = labels.get("guard", "")
    signature = labels.get("signature", "")
    if signature:
        guard = str(guard_of(signature))
    if not guard:
        return True
    mode = modes[GuardName(guard)]
    if mode is Mode.OFF or labels.get("mode", str(mode)) != str(mode):
        return False
    if metric == "runguard.cost.avoided":
        return mode is Mode.ENFORCE
    if metric == "runguard.cost.wasted":
        return mode is Mode.OBSERVE
    watched = labels.get("outcome", "") == str(Outcome.OBSERVED)
    if mode is Mode.OBSERVE:
        return watched or "outcome" not in labels
    return not watched or signature in _ONLY_WATCHED
