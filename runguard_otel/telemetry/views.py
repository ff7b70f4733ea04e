"""Views for applications that export LiveKit's own metrics to Prometheus.

Since 1.8 livekit-agents puts ``room_id`` and ``job_id`` on every ``lk.agents.*`` and ``gen_ai.*``
point. A Prometheus then gets new series with every call and keeps them until retention ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

__all__ = ["PER_CALL", "livekit_views"]

PER_CALL: Final = frozenset({"room_id", "job_id"})
"""The attributes that are different in every call."""


class _AllBut(set[str]):
    """A set of all strings but a few: a view only takes the attributes it is to keep."""

    def __contains__(self, key: object) -> bool:
        return key not in PER_CALL


def livekit_views() -> list[View]:
    """Views that strip what is different in every call from LiveKit's own metrics.

    They go into the application's provider, as in
    ``MeterProvider(metric_readers=[...], views=livekit_views())``. Values are summed over the
    calls; everything else stays as it is.
    """
    from opentelemetry.sdk.metrics.view import View

    return [View(meter_name="livekit-agents", instrument_name="*", attribute_keys=_AllBut())]
