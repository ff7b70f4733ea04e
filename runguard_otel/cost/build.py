"""Puts prices, meter and priced recorder together, from settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from runguard_otel.core.ports import Recorder
from runguard_otel.core.signatures import GuardName
from runguard_otel.cost.meter import Meter, Show, show_nobody
from runguard_otel.cost.price import PriceBookError
from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.cost.priced_recorder import PricedRecorder
from runguard_otel.settings import Settings

__all__ = ["Cost", "build"]

logger = logging.getLogger("runguard_otel")


TICK_SECONDS = 1.0
"""How often what lasts is counted, in a process that no worker counts for."""


class Cost(NamedTuple):
    """What the composition root wires: ``recorder`` replaces the one it wraps."""

    recorder: PricedRecorder
    meter: Meter


def build(
    settings: Settings,
    recorder: Recorder,
    session: Callable[[], str],
    environ: Mapping[str, str] = os.environ,
    show: Show = show_nobody,
) -> Cost:
    """Make the meter and the recorder that prices what passes through it.

    A price file that cannot be used must not take calls down, and must not be replaced by list
    prices that the team does not pay: nothing is priced then, everything counts as unpriced.

    Args:
        settings: ``prices``, ``cost_plan``, ``cost_agents`` and the guards' windows.
        recorder: The recorder to wrap.
        session: Names the session the calling code belongs to.
        environ: Where LiveKit's own variables are read.
        show: Shows the worker what lasts in this process.
    """
    try:
        book = PriceBook.load(settings.prices)
    except PriceBookError as error:
        logger.error("nothing is priced, all usage counts as unpriced: %s", error)
        book = PriceBook.empty()
    meter = Meter(
        book,
        recorder,
        plan=_plan(settings, environ),
        cloud_agents=_cloud_agents(settings, environ),
        session=session,
        tick_seconds=TICK_SECONDS,
        show=show,
    )
    windows = {
        GuardName.ROOM_RECONNECT: settings.room_reconnect_window_seconds,
        GuardName.VAD_MISFIRE: settings.vad_misfire_window_seconds,
        GuardName.TRACK_SUBSCRIBE: settings.track_subscribe_window_seconds,
    }
    return Cost(PricedRecorder(recorder, meter, windows=windows), meter)


def _plan(settings: Settings, environ: Mapping[str, str]) -> str:
    if settings.cost_plan != "auto":
        return settings.cost_plan
    try:
        host = urlsplit(environ.get("LIVEKIT_URL", "")).hostname or ""
    except ValueError:  # LiveKit will say so itself
        host = ""
    return "ship" if host.endswith((".livekit.cloud", ".livekit.run")) else "self_hosted"


def _cloud_agents(settings: Settings, environ: Mapping[str, str]) -> bool:
    if settings.cost_agents != "auto":
        return settings.cost_agents == "cloud"
    return "LIVEKIT_REMOTE_EOT_URL" in environ  # how livekit-agents itself knows where it runs
