"""Puts the journal of one process together, from settings."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from runguard_otel.core.ports import Recorder
from runguard_otel.cost.lasting import Booking
from runguard_otel.errors import SettingsError
from runguard_otel.policies import Policies
from runguard_otel.settings import Settings

if TYPE_CHECKING:
    from runguard_otel.journal.keeper import Keeper
    from runguard_otel.journal.record import Put

__all__ = ["Journal", "check_folder", "journal_of", "load"]

Booked = Callable[[Sequence[Booking]], None]


class Telemetry(Protocol):
    """What a journal needs of ``telemetry.build.Telemetry``."""

    release: str

    @property
    def recorder(self) -> Recorder:
        """Counts and makes spans."""

    def hash_name(self, name: str) -> str:
        """A short word that groups a name, and does not tell it."""

    def tape(self) -> Put | None:
        """What hands a record to the worker; ``None`` where no worker keeps one."""

    def keep_tapes(self, keeper: Keeper) -> None:
        """Hand ``keeper`` the histories of a worker's jobs."""


class Journal(NamedTuple):
    """What the composition root wires.

    Args:
        recorder: Replaces the one it wraps.
        policies: What decides.
        booked: Hears what the worker counts for a job.
        close: Writes out what waits.
    """

    recorder: Recorder
    policies: Policies
    booked: Booked
    close: Callable[[], None]


def check_folder(folder: str) -> None:
    """Refuse a path that cannot become a folder, for there is a file on the way.

    Args:
        folder: ``journal``, as it was passed.

    Raises:
        SettingsError: If it cannot.
    """
    there = Path(folder).absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise SettingsError(f"journal={folder!r} cannot be used: {there} is no folder")


def journal_of(
    settings: Settings,
    telemetry: Telemetry,
    job: Callable[[], str],
    agent: Callable[[], str],
) -> Journal:
    """The journal the settings ask for; where they ask for none, nothing is in anybody's way.

    Args:
        settings: ``journal`` and its bounds.
        telemetry: Of this process.
        job: The id of the running job, or ``""``.
        agent: LiveKit's name of the agent, or ``""``.
    """
    recorder = telemetry.recorder
    if not settings.journal:
        return Journal(recorder, Policies(settings), _nobody, _nothing)
    # Not with this module: few keep a journal, and a job has a page of its own for each module that
    # its forkserver has imported (`findings/a-session-that-touches-every-module.sh`).
    from runguard_otel.journal.book import Book, files_of
    from runguard_otel.journal.keeper import Keeper
    from runguard_otel.journal.recorder import TapedRecorder
    from runguard_otel.journal.taped import TapedPolicies

    def lost(lines: int) -> None:
        recorder.add("runguard.events.dropped", lines, drop="journal")

    book = Book(settings, telemetry.tape, job, agent, lost, telemetry.release)
    keeper = Keeper(lambda: files_of(settings, lost))
    telemetry.keep_tapes(keeper)
    taped = TapedRecorder(recorder, book, telemetry.hash_name)

    def close() -> None:
        book.close()
        keeper.close()

    atexit.register(close)  # a script's; of a job there is nothing to write out
    return Journal(taped, TapedPolicies(settings, book), keeper.booked, close)


def load() -> None:
    """Import what a journal that is kept needs."""
    from runguard_otel.journal import book, keeper, recorder, taped  # noqa: F401


def _nobody(bookings: Sequence[Booking]) -> None:
    pass


def _nothing() -> None:
    pass
