"""runguard-otel: see, stop and report the four loops that make LiveKit voice agents expensive."""

from __future__ import annotations

__all__: list[str] = []
