"""When has a session gone on too long? The meters left running.

Each signature is a state that lasted longer than it may: nobody but the agent is there, no word is
said, what was to end does not end, a session is older than it may get. The fifth signature of the
guard, a recogniser's connection that is opened again and again, is :mod:`.recogniser`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from runguard_otel.core.overdue import Overdue
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Evidence, Mode, Subject, Trip

__all__ = [
    "ACTIONS",
    "AGENT_ALONE",
    "CLOSE_HUNG",
    "DURATION",
    "SILENT_CALLER",
    "JobPolicy",
    "Limits",
]

AGENT_ALONE: Final = "session_overrun:agent_alone"
SILENT_CALLER: Final = "session_overrun:silent_caller"
CLOSE_HUNG: Final = "session_overrun:close_hung"
DURATION: Final = "session_overrun:duration"

ACTIONS: Final = {
    AGENT_ALONE: "shutdown_job",
    SILENT_CALLER: "close_session",
    CLOSE_HUNG: "end_process",
    DURATION: "shutdown_job",
}
"""What enforce does, as a word."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is too long, in seconds; 0 switches a rule off.

    Args:
        left_seconds: The agent alone after a caller was there.
        unmet_seconds: The agent alone when no caller ever came.
        silent_seconds: Callers are there and nothing is said, typed, pressed or asked for.
        close_seconds: Something is to end and has not ended.
        session_seconds: The age of a session.
    """

    left_seconds: float = 30
    unmet_seconds: float = 120
    silent_seconds: float = 600
    close_seconds: float = 30
    session_seconds: float = 0


class _Session:
    """One session of a job, from its start to its end."""

    __slots__ = ("age", "closing", "idle")

    def __init__(self) -> None:
        self.age, self.closing = Overdue(), Overdue()
        self.idle = 0.0


class JobPolicy:
    """One job: what it is told happens to it, and what of that has lasted too long.

    A key names one connection, STT stream or session from its beginning to its end. Not
    thread-safe: its owner holds a lock.

    Args:
        limits: How long is too long.
        subject: Which job, for trips.
        mode: For trips: whether their verdict is carried out.
        listening: Whether the callers could be heard and answered at this moment: a muted
            microphone, a session without a recogniser or without a model says nothing by design.
            Asked only when silence is due.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        limits: Limits,
        subject: Subject,
        mode: Mode,
        *,
        listening: Callable[[], bool] = lambda: True,
        clock: Clock = time.monotonic,
    ) -> None:
        self.subject = subject
        self._limits = limits
        self._mode = mode
        self._listening = listening
        self.clock = clock
        self._rooms: dict[Hashable, int] = {}
        self._streams: dict[Hashable, float] = {}
        self._sessions: dict[Hashable, _Session] = {}
        self._met = False
        self._running = False
        self._alone, self._silent, self._ending = Overdue(), Overdue(), Overdue()
        self._active = clock()

    # -- what happens ---------------------------------------------------------------------------

    def job_started(self) -> None:
        """A job runs, and not just a script: until :meth:`job_ended` there is a process to end."""
        self._running = True

    def job_ended(self) -> None:
        """It is over: nothing of it is left."""
        self._running = False
        self._rooms.clear()
        self._streams.clear()
        self._sessions.clear()
        self._settle()

    def callers(self, room: Hashable, callers: int) -> None:
        """So many callers are in a room that this job is connected to, itself not counted."""
        now = self.clock()
        if not self._rooms and not self._running:
            self._ending.end()  # a script that joins another room has not hung
        before = sum(self._rooms.values())
        self._rooms[room] = callers
        if callers and not self._met:
            self._met = True
        if sum(self._rooms.values()) > before:
            self._live(now)
        self._settle()

    def left(self, room: Hashable) -> None:
        """That connection is over."""
        if self._rooms.pop(room, None) is not None and not self._rooms:
            self._ending.begin(self.clock(), self._limits.close_seconds, "room_gone")
        self._settle()

    def stream_opened(self, stream: Hashable) -> None:
        """A recogniser's stream is open."""
        self._streams[stream] = self.clock()

    def stream_closed(self, stream: Hashable) -> None:
        """It is not."""
        self._streams.pop(stream, None)
        self._settle()

    def session_started(self, session: Hashable) -> None:
        """A session talks to callers from now on."""
        now = self.clock()
        self._live(now)
        begun = self._sessions[session] = _Session()
        begun.age.begin(now, self._limits.session_seconds)
        self._settle()

    def session_closing(self, session: Hashable) -> None:
        """It was told to end, or ends by itself."""
        found = self._sessions.get(session)
        if found is not None:
            found.closing.begin(self.clock(), self._limits.close_seconds, "session_closing")
        self._settle()

    def session_closed(self, session: Hashable) -> tuple[float, float] | None:
        """It is over.

        Returns:
            How long it lasted and its longest time without a sign of life, in seconds; ``None`` if
            it was not known.
        """
        now = self.clock()
        self._measure(now - self._active)
        found = self._sessions.pop(session, None)
        self._settle()
        if found is None or found.age.since is None:
            return None
        return now - found.age.since, found.idle

    def active(self) -> bool:
        """A sign of life: genuine speech, a text, a key, a reply that the application asked for.

        Every turn has one, so it only sets down when it was: that silence is due later is found out
        by :meth:`check`, when it would have been due without.

        Returns:
            Whether anything follows: a silence that had tripped is over.
        """
        now = self.clock()
        idle, self._active = now - self._active, now
        for session in self._sessions.values():  # as `_measure`, of which it is all but all
            if idle > session.idle:
                session.idle = idle
        if not self._silent.tripped:
            return False
        self._silent.end()
        self._settle()
        return True

    def ending(self, cause: str) -> None:
        """The job was asked to end.

        Args:
            cause: A word for the trip's evidence.
        """
        self._ending.begin(self.clock(), self._limits.close_seconds, cause)
        self._settle()

    # -- what follows ---------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Connected, and no caller is there."""
        return self._alone.since is not None

    @property
    def to_end(self) -> bool:
        """The job was asked to end, or its room is gone."""
        return self._ending.since is not None

    @property
    def due(self) -> float:
        """When :meth:`check` has to be called next if nothing happens before (monotonic).

        It may be too early where somebody was :meth:`active` since; then nothing trips.
        """
        return min((one.due for _, one in self._all()), default=math.inf)

    @property
    def open(self) -> dict[str, int]:
        """How many states of each signature have tripped and last on."""
        found: dict[str, int] = {}
        for signature, one in self._all():
            if one.tripped:
                found[signature] = found.get(signature, 0) + 1
        return found

    def held(self) -> list[str]:
        """What the process still holds, in words, when everything was to end."""
        since = self._ending.since
        streams = [s for s, opened in self._streams.items() if since is None or opened <= since]
        named = (
            ("a connection", len(self._rooms)),
            ("an STT stream", len(streams)),
            ("a session", len(self._sessions)),
        )
        return [name for name, count in named if count]

    def check(self) -> list[Trip]:
        """What has lasted too long by now; each state trips once."""
        now = self.clock()
        found: list[Trip] = []
        for signature, one in self._all():
            if one.due > now or one.since is None:
                continue
            if signature == SILENT_CALLER and not self._still_silent(one.since, now):
                continue
            # A job that is to end hangs once: what closes in it is part of its end, whichever
            # began first, and lasts no longer.
            lasting = self._ending if signature == CLOSE_HUNG and self.to_end else one
            one.due = math.inf
            if not lasting.tripped:
                lasting.trip()
                found.append(self._trip(signature, one, now))
        return found

    # -- inside ---------------------------------------------------------------------------------

    def _still_silent(self, since: float, now: float) -> bool:
        """Whether nothing happened since silence began, and somebody could have been heard."""
        if self._active > since:
            self._silent.end()
            self._settle()  # it begins anew, with the last sign of life
        if self._silent.due > now:
            return False
        if self._listening():
            return True
        self._live(now)
        self._silent.end()
        self._settle()
        return False

    def _all(self) -> list[tuple[str, Overdue]]:
        found = [
            (AGENT_ALONE, self._alone),
            (SILENT_CALLER, self._silent),
            (CLOSE_HUNG, self._ending),
        ]
        for session in self._sessions.values():
            found += ((DURATION, session.age), (CLOSE_HUNG, session.closing))
        return found

    def _measure(self, idle: float) -> None:
        for session in self._sessions.values():
            if idle > session.idle:
                session.idle = idle

    def _live(self, now: float) -> None:
        self._measure(now - self._active)
        self._active = now
        if self._silent.tripped:
            self._silent.end()

    def _settle(self) -> None:
        """Begin and end the states that follow from what is known."""
        limits, callers = self._limits, sum(self._rooms.values())
        over = self.to_end
        if not self._rooms or callers or over:
            self._alone.end()
        elif self._met:
            self._alone.begin(self.clock(), limits.left_seconds, "caller_left")
        else:
            self._alone.begin(self.clock(), limits.unmet_seconds, "nobody_came")
        if callers and self._sessions and not over:
            self._silent.begin(self._active, limits.silent_seconds)
        else:
            self._silent.end()
        if over and not self._running and not self.held():
            self._ending.end()

    def _trip(self, signature: str, one: Overdue, now: float) -> Trip:
        assert one.since is not None
        enforce = self._mode is Mode.ENFORCE
        return Trip(
            guard=GuardName.SESSION_OVERRUN,
            signature=signature,
            subject=self.subject,
            count=1,
            window_seconds=one.limit,
            threshold=1,
            mode=self._mode,
            action=ACTIONS[signature] if enforce else "none",
            evidence=(Evidence(signature, round(now - one.since, 3), one.detail),),
            reason=self._reason(signature, one),
        )

    def _reason(self, signature: str, one: Overdue) -> str:
        if signature == AGENT_ALONE:
            who = "the last caller left" if self._met else "it connected, and no caller ever came"
            return f"the agent has been alone for {one.limit:g} s, since {who}"
        if signature == SILENT_CALLER:
            return f"a caller is there and nothing was said or asked for in {one.limit:g} s"
        if signature == DURATION:
            return f"the session is older than {one.limit:g} s"
        begun = _ENDINGS.get(one.detail, "the job was asked to end")
        if one.detail == "session_closing":
            return f"{begun} {one.limit:g} s ago and has not closed"
        held = " and ".join(self.held())
        still = f"its process still holds {held}" if held else "its process still runs"
        return f"{begun} {one.limit:g} s ago and {still}"


_ENDINGS: Final = {
    "session_closing": "a session began to close",
    "room_gone": "the room was gone",
}
