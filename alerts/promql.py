"""PromQL from the names of the catalogue."""

from __future__ import annotations

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, prometheus_label, prometheus_name

from .tuning import Tuning

__all__ = ["LOOP", "Promql", "matcher", "records"]

LOOP = ("agent", "guard", "signature", "mode")
"""What tells one kind of loop from another, besides its owner."""

_WORKER = ("job", "instance", "service_instance_id")
"""What tells one worker from another, on every way its series may come; the rest is empty."""

_WINDOW = "5m"
_REMEMBERED = "15m"  # a gap longer than this makes a series one that was never seen


class Promql:
    """Queries for one installation: its label names and its selector.

    Args:
        tuning: Names and selectors.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._selector = tuning.selector
        self.owner = (tuning.cluster_label, tuning.service_label)
        """Whose series they are. Target labels, promoted resource attributes or absent: all work,
        because every expression aggregates by them and by our own labels."""

    def metric(self, name: str, *matchers: str, suffix: str = "") -> str:
        """A selector of one catalogue metric.

        Args:
            name: A key of ``METRICS``.
            *matchers: From :func:`matcher`. Where none says whose view it is, it is the agent's
                own, so that a loop which a server shows as well counts once.
            suffix: ``_count`` or ``_bucket`` of a histogram.
        """
        vantage = prometheus_label("vantage")
        if "vantage" in METRICS[name].attributes and not any(vantage in m for m in matchers):
            matchers = (*matchers, matcher("vantage", ""))
        parts = [m for m in (self._selector, *matchers) if m]
        return f"{prometheus_name(name)}{suffix}" + (f"{{{', '.join(parts)}}}" if parts else "")

    def by(self, *attributes: str) -> str:
        """A label list: the owner and these attributes."""
        return ", ".join([*self.owner, *(prometheus_label(a) for a in attributes)])

    @staticmethod
    def label(attribute: str) -> str:
        """The label of an attribute."""
        return prometheus_label(attribute)

    @property
    def worker(self) -> str:
        """The label list that tells workers apart."""
        return ", ".join([*self.owner, *_WORKER])

    def events(self, name: str, by: tuple[str, ...], *, suffix: str = "") -> str:
        """How many events there were in five minutes: whole numbers, old counts left out.

        ``increase`` extrapolates, is blind to a series that is born at 1, and on some stores counts
        the first value of a series it has never seen. So this compares two values, and asks the
        worker what the first one means: all of it is new if the worker began within the window, or
        if the worker was known before and the series was not.
        """
        missing = set(by) - set(METRICS[name].attributes)
        if missing:
            raise KeyError(f"{name} has no attributes {missing}")
        series = self.metric(name, suffix=suffix)
        now = f"last_over_time({series}[{_WINDOW}])"
        before = f"last_over_time({series}[{_REMEMBERED}] offset {_WINDOW})"
        began = f"last_over_time({self.metric('runguard.worker.start')}[{_WINDOW}])"
        beat = self.metric("runguard.worker.heartbeat")
        known = f"last_over_time({beat}[{_REMEMBERED}] offset {_WINDOW})"
        return (
            f"sum by ({self.by(*by)}) (\n"
            f"    {now} and on ({self.worker}) {began} > time() - 300\n"
            f"  or\n"
            f"    {now} - {before} >= 0\n"
            f"  or\n"
            f"    {now} and {before}\n"  # it was reset, and counts from zero
            f"  or\n"
            f"    {now} unless {before}\n"
            f"      and on ({self.worker}) {known}\n"
            f")"
        )

    def at_least(self, part: str, share: float, whole: str, besides: float = 0) -> str:
        """``part`` where it is not less than a share of ``whole``, or where nobody knows.

        Args:
            part: By owner and :data:`LOOP`.
            share: 0 to 1; 0 leaves it out.
            whole: By owner and agent.
            besides: How many of ``part`` do not count towards the share.
        """
        if not share:
            return part
        limit = f"{share:g} * {whole}" + (f" + {besides:g}" if besides else "")
        return (
            f"(\n{_indented(part)}\n  unless\n"
            f"    (\n{_indented(part, 6)}\n    ) < on ({self.by('agent')}) group_left () "
            f"({limit})\n)"
        )


def _indented(text: str, by: int = 4) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())


def matcher(attribute: str, value: str, operator: str = "=") -> str:
    """One matcher; refuses a value that the catalogue does not have.

    Raises:
        KeyError: If there is no such attribute or value.
    """
    closed = ATTRIBUTES[attribute].values
    if closed and value and operator in ("=", "!=") and value not in closed:
        raise KeyError(f"{attribute} has no value {value!r}")
    return f'{prometheus_label(attribute)}{operator}"{value}"'


def records(name: str, operation: str) -> str:
    """The name of a recording: ``service:<metric>:<operation>``."""
    return f"service:{prometheus_name(name).removesuffix('_total')}:{operation}"
