"""Histories read back: parts put together, torn lines stepped over, older schemas understood."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic_core import from_json

from runguard_otel.journal.schema import SCHEMA, Row
from runguard_otel.settings import Settings

__all__ = ["History", "UnreadableError", "files_in", "find", "grouped"]

logger = logging.getLogger("runguard_otel")

_PART: Final = re.compile(r"(?P<name>.+?)(?:\.(?P<part>\d+))?\.jsonl")
_BATCH: Final = 2000
_LONGEST: Final = 1_000_000


class UnreadableError(ValueError):
    """A file that is no journal, or one of a later release; the message says what to do."""


class NoJournalError(UnreadableError):
    """A file that is no journal."""


@dataclass
class History:
    """What happened in one job, or in one process without jobs.

    Args:
        name: Of its files, without part and suffix.
        parts: Its files, oldest first.
        torn: How many lines could not be read, after :meth:`rows` or :meth:`inputs` have.
    """

    name: str
    parts: list[Path]
    torn: int = 0
    _header: Row = field(default_factory=dict)

    @property
    def header(self) -> Row:
        """The first line.

        Raises:
            UnreadableError: If it is no journal's, or that of a later release.
        """
        if not self._header:
            try:
                with self.parts[0].open("rb") as file:
                    header = from_json(file.readline(_LONGEST))
                schema = header["schema"] if header["e"] == "journal" else None
            except OSError as error:
                raise UnreadableError(f"{self.parts[0]}: {error.strerror}") from error
            except (ValueError, KeyError, TypeError):
                schema = None
            if not isinstance(schema, int):
                raise NoJournalError(f"{self.parts[0]}: no journal of runguard-otel")
            if schema > SCHEMA:
                raise UnreadableError(
                    f"{self.parts[0]}: a journal of a later release (schema {schema}, this one "
                    f"reads up to {SCHEMA}); update runguard-otel"
                )
            self._header = header
        return self._header

    @property
    def whole(self) -> bool:
        """Whether it is there from its beginning: older parts of a long call may be removed."""
        return int(self.header.get("part", 1)) == 1

    @property
    def job(self) -> str:
        """LiveKit's id of the job, or the file's name."""
        return str(self.header.get("job") or self.name)

    def settings(self) -> Settings:
        """The settings it was live with; what an older schema does not say is the default.

        Raises:
            UnreadableError: If they cannot be read.
        """
        kept = self.header.get("settings", {})
        try:
            return Settings(**{n: v for n, v in kept.items() if n in Settings.model_fields})
        except (AttributeError, ValueError) as error:
            raise UnreadableError(f"{self.parts[0]}: its settings cannot be read") from error

    def rows(self) -> Iterator[Row]:
        """Every line that can be read, in order."""
        return self._parsed(only_inputs=False)

    def inputs(self) -> Iterator[Row]:
        """What policies were made and told, in order: all that a replay needs."""
        return self._parsed(only_inputs=True)

    def wall(self, t: float) -> float:
        """Unix seconds of a line's time."""
        return t + float(self.header.get("clock", 0.0))

    def _parsed(self, *, only_inputs: bool) -> Iterator[Row]:
        self.torn = 0
        for path in self.parts:
            lines = [
                line
                for line in path.read_bytes().split(b"\n")
                if b'"e":"in"' in line
                or (not only_inputs and line)
                or b'"e":"policy"' in line
                or b'"e":"lost"' in line
            ]
            for at in range(0, len(lines), _BATCH):
                yield from self._batch(lines[at : at + _BATCH])

    def _batch(self, lines: list[bytes]) -> Iterable[Row]:
        try:
            rows: list[Row] = from_json(b"[" + b",".join(lines) + b"]")
            if len(rows) == len(lines):
                return rows
        except ValueError:
            pass
        return list(filter(None, map(self._one, lines)))

    def _one(self, line: bytes) -> Row | None:
        try:
            row = from_json(line)
            float(row["t"])
        except (ValueError, KeyError, TypeError):
            self.torn += 1
            return None
        return row if isinstance(row, dict) else None


def find(paths: Iterable[Path]) -> list[History]:
    """The histories of files and folders, oldest first.

    Args:
        paths: Files, or folders of ``*.jsonl`` files. What a folder holds that is no journal is
            left out, and said.

    Raises:
        UnreadableError: If there is nothing to read, or a file is none of ours.
    """
    paths = list(paths)
    found = grouped(files_in(paths, missing=_say_missing))
    if not found:
        raise UnreadableError("no journal there: set RUNGUARD_JOURNAL to a folder, and take calls")
    named = set(paths)
    histories: list[History] = []
    others: list[NoJournalError] = []
    for place, parts in found.items():
        history = History(place.name, parts)
        try:
            history.header  # noqa: B018 - says what is wrong before any work is done
        except NoJournalError as error:
            if not named.isdisjoint(parts):
                raise
            others.append(error)  # a folder may hold what is not ours, or was never begun
        else:
            histories.append(history)
    if others and not histories:
        raise others[0]
    for other in others:
        logger.warning("%s: it is left out", other)
    return sorted(histories, key=lambda one: one.name)


def files_in(paths: Iterable[Path], *, missing: Callable[[Path], None]) -> Iterator[Path]:
    """The files of files and folders.

    Args:
        paths: Files, or folders of ``*.jsonl`` files.
        missing: Told of a path that is neither.
    """
    for path in paths:
        if os.path.isdir(path):  # unlike Path's, never raises
            yield from sorted(path.glob("*.jsonl"))
        elif os.path.isfile(path):
            yield path
        else:
            missing(path)


def grouped(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """The parts of each history, oldest first, by its folder and name."""
    found: dict[Path, list[tuple[int, Path]]] = {}
    for file in files:
        match = _PART.fullmatch(file.name)
        name = match["name"] if match else file.name
        part = int(match["part"] or 1) if match else 1
        found.setdefault(file.parent / name, []).append((part, file))
    return {place: [file for _, file in sorted(parts)] for place, parts in found.items()}


def _say_missing(path: Path) -> None:
    raise UnreadableError(f"{path}: there is no such file or folder")
