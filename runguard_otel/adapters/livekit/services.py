"""What the adapter modules of livekit-agents 1.x are given by the composition root."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import ClaimsPort, Lifecycle, Recorder, UsagePort
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings

__all__ = ["Services"]

_ODD = re.compile(r"[^A-Za-z0-9.-]+")  # with the import: to compile it is 0.3 MiB of a job process


def name_of_this_process() -> str:
    """``<host>-<pid>-<random>``: who reads it finds the process, and no two have one name."""
    host = _ODD.sub("-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass
class Services:
    """Shared by every patch of one ``instrument()``.

    Args:
        settings: Frozen settings.
        recorder: Where to report.
        policies: Makes what decides, from the settings.
        worker: The name of the worker process; job processes are given their worker's.
        under_worker: Whether the worker of this process's jobs is instrumented as well.
        said_too_late: Whether the user was told that it is not.
        lifecycle: Told when worker and jobs begin and end; ``None``: not told.
        usage: Where to report what was used, so that it is priced; ``None``: nowhere.
        claims: The right to serve rooms; ``None``: every job may.
        ends: How jobs end that end in another way than ``clean``, by job id.
        signs_of_life: Told when a caller of the running job was genuinely heard, in which session.
        before_flush: What a job must run at its end, before its telemetry is flushed.
        bring_up: ``instrumentor.instrument_process``, for job processes; it is pickled by name.
        on_close: What ``uninstrument()`` must run after the patches are gone, last first.
    """

    settings: Settings
    recorder: Recorder
    policies: Policies = None  # type: ignore[assignment]  # of the settings, if none are given
    worker: str = field(default_factory=name_of_this_process)
    under_worker: bool = False
    said_too_late: bool = False
    lifecycle: Lifecycle | None = None
    usage: UsagePort | None = None
    claims: ClaimsPort | None = None
    bring_up: Callable[[dict[str, Any]], None] | None = None
    ends: dict[str, str] = field(default_factory=dict)
    signs_of_life: list[Callable[[Any], None]] = field(default_factory=list)
    before_flush: list[Callable[[], None]] = field(default_factory=list)
    on_close: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policies = self.policies or Policies(self.settings)

    def settle(self) -> None:
        """Run what stands in ``before_flush``."""
        for step in self.before_flush:
            with shield(self.recorder, "settle"):
                step()

    def heard_genuine(self, session: Any) -> None:
        """A caller said something to the agent, in this session of the running job."""
        for tell in self.signs_of_life:
            try:  # as `shield`, without its calls: for each final result
                tell(session)
            except Exception:  # noqa: BLE001
                self.recorder.internal_error("sign_of_life")

    def close(self) -> None:
        """Run what the adapter modules left in ``on_close``."""
        while self.on_close:
            with shield(self.recorder, "uninstrument"):
                self.on_close.pop()()

    def mode(self, guard: GuardName) -> Mode:
        """The mode of one guard."""
        return self.settings.mode_of(guard)

    def enforcing(self, guard: GuardName) -> bool:
        """Whether this guard may act."""
        return self.mode(guard) is Mode.ENFORCE
