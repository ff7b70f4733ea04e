"""What ``watch`` finds becomes spans, counts and log records, as of any other process of ours."""

from __future__ import annotations

from collections.abc import Mapping

from runguard_otel.core.guards.presence import Change, Role
from runguard_otel.core.signatures import guard_of
from runguard_otel.core.verdict import Mode, Outcome
from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import Telemetry, build
from runguard_otel.telemetry.catalogue import SERVER
from runguard_otel.watch.fleet import Fleet

__all__ = ["Reporter"]


class Reporter:
    """The telemetry of a process that watches.

    Args:
        settings: Where things go.
        acts: What is done about a signature, as a word; what is not named is only observed.
    """

    def __init__(self, settings: Settings, acts: Mapping[str, str]) -> None:
        self._acts = acts
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
        telemetry.gauges("runguard.server.rooms", lambda: [(self._rooms, {})])
        telemetry.gauges("runguard.server.rooms.oldest", lambda: [(self._oldest, {})])
        telemetry.gauges(
            "runguard.server.participants",
            lambda: [(number, {"party": str(role)}) for role, number in self._people.items()],
        )

    def stop(self) -> None:
        """Push what is left, close. Blocks for some seconds."""
        self.telemetry.worker_ending()
        self.telemetry.shutdown()

    def tell(self, change: Change) -> None:
        """One change of a room."""
        self._agent = change.agent
        guard = str(guard_of(change.signature))
        mode = str(Mode.ENFORCE if change.signature in self._acts else Mode.OBSERVE)
        if change.over:
            self.recorder.guard_closed(guard, change.signature, mode)
            return
        self.recorder.event(change.signature, Outcome.OBSERVED, change.subject)
        if change.trip is not None:
            self.recorder.trip(change.trip)
            self.recorder.guard_opened(guard, change.signature, mode)

    def webhook(self, what: str, number: int = 1) -> None:
        """What became of a webhook."""
        self.recorder.add("runguard.server.webhooks", number, webhook=what)

    def question(self, answered: bool) -> None:
        """How the server answered."""
        answer = "ok" if answered else "failed"
        self.recorder.add("runguard.server.questions", 1, answer=answer)

    def act(self, action: str, became: str) -> None:
        """What became of an intervention."""
        self.recorder.add("runguard.server.acts", 1, action=action, act=became)

    def census(self, fleet: Fleet) -> None:
        """Count rooms and people, for the gauges; they are read on another thread."""
        people, oldest, rooms = dict.fromkeys(Role, 0), 0.0, 0
        for room in fleet:
            rooms += 1
            oldest = max(oldest, room.age)
            for member in room.members:
                people[member.role] += 1
        self._rooms, self._oldest, self._people = rooms, oldest, people
