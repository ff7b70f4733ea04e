"""What may stand in a process beside LiveKit, and how it is begun and ended."""

from __future__ import annotations

from typing import Any

__all__ = ["SIDES", "Side"]


class Side:
    """Nothing at all; the others say what is different."""

    def begin(self, hub: str = "") -> None:
        """Before a session is made."""

    def attach(self, session: Any, agent: Any) -> None:
        """Before it is started."""

    def end(self) -> None:
        """When it is over."""


class Runguard(Side):
    """This package, as its users have it; with a hub, as in a job process."""

    def begin(self, hub: str = "") -> None:
        import runguard_otel

        guard = runguard_otel.instrument(claims_url="memory://", metrics_port=0)
        assert guard.active, "nothing is measured where nothing is patched"
        if hub:
            assert guard._telemetry is not None
            guard._telemetry.use_hub(hub)
            guard._telemetry.job_started()

    def end(self) -> None:
        import runguard_otel

        runguard_otel.uninstrument()


SIDES: dict[str, type[Side]] = {"nothing": Side, "runguard": Runguard}
