"""What an alert must have. One that lacks it cannot be made."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alert", "Group", "Record"]

_SEVERITIES = ("page", "ticket", "info", "none")


@dataclass(frozen=True)
class Record:
    """A recording rule."""

    record: str
    expr: str
    why: str


@dataclass(frozen=True)
class Alert:
    """An alert. It has neither ``for`` nor ``keep_firing_for``: Prometheus forgets them.

    Args:
        name: CamelCase, starts with ``Runguard``; the runbook's file name.
        severity: ``page`` wakes someone, ``ticket`` can wait for the morning, ``info`` is shown
            only, ``none`` is the watchdog.
        expr: PromQL.
        summary: One sentence with a full stop: what, and for which agent.
        description: What it means and where to look first.
        dashboard: uid of the dashboard to open.
        labels: Further labels.

    Raises:
        ValueError: If something is missing or has the wrong form.
    """

    name: str
    severity: str
    expr: str
    summary: str
    description: str
    dashboard: str
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.name.startswith("Runguard") or not self.name.isalnum():
            raise ValueError(f"{self.name}: alert names are CamelCase and start with Runguard")
        if self.severity not in _SEVERITIES:
            raise ValueError(f"{self.name}: severity {self.severity!r}")
        for part in ("summary", "description"):
            if not getattr(self, part).endswith("."):
                raise ValueError(f"{self.name}: the {part} is a sentence with a full stop")
        if not self.dashboard.startswith("runguard-"):
            raise ValueError(f"{self.name}: the dashboard is named by its uid")


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, in this order."""

    name: str
    rules: tuple[Record | Alert, ...]
