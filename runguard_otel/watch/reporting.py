"""What ``watch`` finds becomes spans, counts and log records, as of any other process of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from runguard_otel.core.guards.presence import Change, Role
from runguard_otel.core.signatures import guard_of
from runguard_otel.core.verdict import Mode, Outcome
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import SERVER
from runguard_otel.watch.fleet import Fleet
from runguard_otel.watch.standby import Duty

__all__ = ["Reporter"]

_TOLD_BY_ONE: Final = ("accepted", "repeated", "lost", "ok")
"""What every watcher of a server hears alike; the rest is each one's own trouble."""

_Read = Callable[[], "list[tuple[float, dict[str, str]]]"]


def _alone() -> Duty:
    return Duty.ALONE


class Reporter:
    """The telemetry of a process that watches.

    Args:
        settings: Where things go.
        acts: What is done about a signature, as a word; what is not named is only observed.
        backend: The kind of registry that says which watcher is active; ``""`` if there is none.
    """

    def __init__(self, settings: Settings, acts: Mapping[str, str], backend: str = "") -> None:
        self._acts = acts
        self._backend = backend
        self.duty: Callable[[], Duty] = _alone
        """Asked what this watcher does, of several."""
        self._agent = ""
        self.telemetry: Telemetry = build(settings, agent_name=lambda: self._agent, vantage=SERVER)
        self.recorder = self.telemetry.recorder
        self._rooms = 0
        self._oldest = 0.0
        self._people = dict.fromkeys(Role, 0)

    def start(self) -> None:
        """Open the ways out."""
        telemetry = self.telemetry
        telemetry.start_worker(listen=False)
        telemetry.gauges(
            "runguard.server.watchers",
            lambda: [(duty is self.duty(), {"duty": str(duty)}) for duty in Duty],
        )
        seen: dict[str, _Read] = {
            "rooms": lambda: [(self._rooms, {})],
            "rooms.oldest": lambda: [(self._oldest, {})],
            "participants": lambda: [(n, {"party": str(r)}) for r, n in self._people.items()],
        }
        for name, read in seen.items():
            telemetry.gauges(f"runguard.server.{name}", self._while_telling(read))

    def stop(self) -> None:
        """Push what is left, close. Blocks for some seconds."""
        self.telemetry.worker_ending()
        self.telemetry.shutdown()

    def tell(self, change: Change) -> None:
        """One change of a room."""
        self._agent = change.agent
        if change.over:
            self.recorder.guard_closed(*self._guard(change))
            return
        self.recorder.event(change.signature, Outcome.OBSERVED, change.subject)
        if change.trip is not None:
            self.recorder.trip(change.trip)
            self.recorder.guard_opened(*self._guard(change))

    def opened(self, change: Change) -> None:
        """A loop that lasts, of which another watcher told when it began."""
        self._agent = change.agent
        self.recorder.guard_opened(*self._guard(change))

    def webhook(self, what: str, number: int = 1) -> None:
        """What became of a webhook."""
        if self._tells or what not in _TOLD_BY_ONE:
            self.recorder.add("runguard.server.webhooks", number, webhook=what)

    def question(self, answered: bool) -> None:
        """How the server answered."""
        answer = "ok" if answered else "failed"
        if self._tells or answer not in _TOLD_BY_ONE:
            self.recorder.add("runguard.server.questions", 1, answer=answer)

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """One call to the registry that says which watcher is active."""
        self.recorder.observe(
            "runguard.job.claim.duration", seconds,
            operation=operation, backend=self._backend, result=result,
        )  # fmt: skip

    def act(self, action: str, became: str) -> None:
        """What became of an intervention."""
        self.recorder.add("runguard.server.acts", 1, action=action, act=became)

    def _while_telling(self, read: _Read) -> _Read:
        """Two watchers see the same rooms; one of them says how many."""
        return lambda: read() if self._tells else []

    @property
    def _tells(self) -> bool:
        return self.duty() is not Duty.STANDBY

    def _guard(self, change: Change) -> tuple[str, str, str]:
        mode = str(Mode.ENFORCE if change.signature in self._acts else Mode.OBSERVE)
        return str(guard_of(change.signature)), change.signature, mode

    def census(self, fleet: Fleet) -> None:
        """Count rooms and people, for the gauges; they are read on another thread."""
        people, oldest, rooms = dict.fromkeys(Role, 0), 0.0, 0
        for room in fleet:
            rooms += 1
            oldest = max(oldest, room.age)
            for member in room.members:
                people[member.role] += 1
        self._rooms, self._oldest, self._people = rooms, oldest, people
