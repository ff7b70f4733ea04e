"""Tells a person of a loop, straight from the worker: for teams without Alertmanager.

Off unless ``notify_url`` is set. ``incidents`` decides what is told (no clock, no thread, no
network), ``messages`` words it, ``address`` and ``sending`` bring it there, ``notifier`` is the
thread that does so beside the calls.
"""

from runguard_otel.notify.address import Address
from runguard_otel.notify.notifier import Notifier

__all__ = ["Address", "Notifier"]
