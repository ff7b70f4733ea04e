"""Parts of sentences that alerts share: whose it is, how many, and whether it is stopped."""

from __future__ import annotations

from .tuning import Tuning

__all__ = ["COUNT", "WHO", "by_mode", "of"]

COUNT = '{{ printf "%.0f" $value }}'
"""The value, as a whole number."""

WHO = (
    "agent {{ if $labels.runguard_agent_name }}{{ $labels.runguard_agent_name }}"
    "{{ else }}unnamed{{ end }}"
)
"""Which agent."""


def of(tuning: Tuning) -> str:
    """Which service and cluster, as far as labels say it."""
    service, cluster = tuning.service_label, tuning.cluster_label
    return (
        f"{{{{ if $labels.{service} }}}}, service {{{{ $labels.{service} }}}}{{{{ end }}}}"
        f"{{{{ if $labels.{cluster} }}}}, cluster {{{{ $labels.{cluster} }}}}{{{{ end }}}}"
    )


def by_mode(observe: str, enforce: str) -> str:
    """One text for loops that nobody stops, and one for those that a guard does."""
    return (
        '{{ if eq $labels.runguard_mode "observe" }}'
        + observe
        + "{{ else }}"
        + enforce
        + "{{ end }}"
    )
