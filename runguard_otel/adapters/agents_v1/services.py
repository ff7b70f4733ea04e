"""What the adapter modules of livekit-agents 1.x are given by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from runguard_otel.core.ports import Recorder
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.settings import Settings

__all__ = ["Services"]


@dataclass
class Services:
    """Shared by every patch of one ``instrument()``.

    Args:
        settings: Frozen settings.
        recorder: Where to report.
    """

    settings: Settings
    recorder: Recorder

    def mode(self, guard: GuardName) -> Mode:
        """The mode of one guard."""
        return self.settings.mode_of(guard)

    def enforcing(self, guard: GuardName) -> bool:
        """Whether this guard may act."""
        return self.mode(guard) is Mode.ENFORCE
