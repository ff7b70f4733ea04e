"""Which OpenTelemetry providers are used. Nothing here is ever registered globally.

A global meter provider of ours would silently switch off LiveKit Cloud's metrics, and a global
tracer provider would collect every other library's spans.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Tracer

__all__ = ["TracerSource", "sdk_disabled", "traces_wanted"]

logger = logging.getLogger("runguard_otel")

_NAME = "runguard_otel"


@functools.lru_cache
def version() -> str:
    """Our version, for the scope of spans and log records."""
    try:
        return importlib.metadata.version("runguard-otel-core")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return ""


def sdk_disabled() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` is true."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def traces_wanted() -> bool:
    """Whether the standard variables ask for spans to be exported from this process."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    return bool(
        os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


class TracerSource:
    """Answers, per span, with the tracer of the first provider there is.

    Explicit argument > the provider LiveKit's spans use > the global one > our own, which is only
    built when the standard variables ask for it. Asked per span because applications set providers
    late, some in the entrypoint.

    Args:
        explicit: The provider passed to ``instrument()``.
        build: Builds our own SDK provider; called at most once, in the process that needs it.
        connect: Has it export, from its first span on; starts threads.
    """

    def __init__(
        self, explicit: Any | None, build: Callable[[], Any], connect: Callable[[Any], None]
    ) -> None:
        self._explicit = explicit
        self._build = build
        self._connect = connect
        self._ready: Any | None = None
        self._own: Any | None = None
        self._lock = threading.Lock()
        self._last: tuple[Any, Tracer] | None = None
        self._off = sdk_disabled()

    def __call__(self) -> Tracer | None:
        """The tracer to use now; ``None`` when no one collects spans."""
        provider = self.provider()
        if provider is None:
            return None
        last = self._last
        if last is None or last[0] is not provider:
            last = self._last = (provider, provider.get_tracer(_NAME, version()))
        return last[1]

    def provider(self) -> Any | None:
        """The provider to use now, or ``None``."""
        if self._off:
            return None
        if self._explicit is not None:
            return self._explicit
        return host_provider() or self.own()

    def own(self) -> Any | None:
        """Our own provider, built on first use if the environment asks for one."""
        if self._own is None and traces_wanted() and not self._off:
            with self._lock:
                if self._own is None:
                    own, self._ready = self._ready or self._build(), None
                    self._connect(own)
                    self._own = own
        return self._own

    def prepare(self) -> None:
        """Do ahead of a call what its first span would wait for; nothing is exported yet.

        That is imports, who exports (which OpenTelemetry finds out in a pool of threads), and a
        regular expression that the SDK compiles with each tracer.
        """
        if self._explicit is None and traces_wanted() and not self._off and self._own is None:
            from runguard_otel.telemetry.export import load_span_exporter

            load_span_exporter()
            self._ready = self._build()
            self._ready.get_tracer(_NAME, version())

    def destination(self) -> str:
        """Where spans go, in words; empty if there are none."""
        if self._off:
            return ""
        if self._explicit is not None:
            return "spans into your tracer provider"
        if host_provider() is not None:
            return "spans into LiveKit's or the global tracer provider"
        if not traces_wanted():
            return ""
        if "otlp" in (os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"):
            from runguard_otel.telemetry.export import destination

            return f"spans by {destination('traces')}"
        return f"spans by {os.environ['OTEL_TRACES_EXPORTER'].strip()}"

    def close(self, timeout: float) -> None:
        """Shut our own provider down, if there is one, within about ``timeout`` seconds."""
        own, self._own, self._ready = self._own, None, None
        if own is not None:
            thread = threading.Thread(target=own.shutdown, name="runguard-shutdown", daemon=True)
            thread.start()
            thread.join(timeout)

    def flush(self, timeout: float) -> bool:
        """Push the spans of whichever provider is in use; never shuts one down."""
        provider = self._explicit or host_provider() or self._own
        push = getattr(provider, "force_flush", None)
        return True if push is None else bool(push(int(timeout * 1000)))


def host_provider() -> Any | None:
    """The provider LiveKit's spans use, else the global one, else ``None``."""
    telemetry = sys.modules.get("livekit.agents.telemetry")
    for provider in (
        getattr(getattr(telemetry, "tracer", None), "_tracer_provider", None),
        trace.get_tracer_provider(),
    ):
        if provider is not None and not isinstance(
            provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
        ):
            return provider
    return None
