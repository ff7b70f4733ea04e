"""The zero-code way: ``opentelemetry-instrument python agent.py start``.

A module of its own because its base class costs more to import than all else ``instrument()``
needs, and only the entry point uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,  # the package is untyped and re-exports nothing
)

from runguard_otel.instrumentor import instrument_agents, instrument_rooms, uninstrument

__all__ = ["RunGuardInstrumentor"]


class RunGuardInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base is untyped
    """The zero-code way: ``opentelemetry-instrument python agent.py start``.

    It waits for the application to import ``livekit.agents``, or ``livekit.rtc`` alone: helper
    processes that never do (the fork server's resource tracker, for example) pay nothing.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """What must be installed for this to switch on."""
        return ("livekit >= 0.18",)

    def _instrument(self, **kwargs: Any) -> None:
        import wrapt

        known = ("tracer_provider", "meter_provider", "logger_provider")
        given = {name: kwargs[name] for name in known if kwargs.get(name) is not None}

        def rooms(_: object) -> None:
            # Where the framework is being imported, this is its import of livekit.rtc, and its own
            # hook comes when it is whole.
            if "livekit.agents" not in sys.modules:
                instrument_rooms(**given)

        wrapt.register_post_import_hook(rooms, "livekit.rtc")
        wrapt.register_post_import_hook(lambda _: instrument_agents(**given), "livekit.agents")

    def _uninstrument(self, **_: Any) -> None:
        uninstrument()
