"""The host: everything that touches LiveKit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runguard_otel.adapters.agents_v1.services import Services
    from runguard_otel.adapters.patching import Patch

__all__ = ["host_patches"]


def host_patches(services: Services) -> list[Patch]:
    """What is to be patched in the installed livekit-agents: 1.x has sessions, 0.12 has agents."""
    from livekit import agents

    if hasattr(agents, "AgentSession"):
        from runguard_otel.adapters.agents_v1 import patches
    else:
        from runguard_otel.adapters.agents_v0 import patches
    return patches(services)
