"""What recognisers say and do, as far as somebody has looked: ``recognisers.json``.

A plugin passes on a number; what it is one in differs by provider, product and release. It is
judged only where it speaks of the whole result and one weak word does not sink it. Where releases
or products of one plugin differ, the most cautious row holds: a plugin's release is not the host's.

``make test-plugins`` runs the plugins and compares; ``docs/recognisers.md`` shows the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = [
    "DATA",
    "RECOGNISERS",
    "Meaning",
    "Row",
    "flush_ends",
    "imported",
    "judged",
    "meaning_of",
    "rows_of",
    "updates_reach",
]

DATA: Final = Path(__file__).with_name("recognisers.json")


class Meaning(str, Enum):
    """What the number is."""

    UTTERANCE = "utterance"
    MEAN = "mean"
    GEOMETRIC_MEAN = "geometric mean"
    FIRST_WORD = "first word"
    LANGUAGE = "language"
    CONSTANT = "constant"
    RAW_SCORE = "raw score"
    NONE = "none"

    def __str__(self) -> str:
        return self.value

    @property
    def is_confidence(self) -> bool:
        """Whether a result may be judged by it."""
        return self in (Meaning.UTTERANCE, Meaning.MEAN)


class Row(NamedTuple):
    """What is known of one product of a plugin, in one release.

    Args:
        plugin: The package under ``livekit.plugins``; ``inference`` is LiveKit's own.
        product: Its class, and what tells it from others of the plugin.
        meaning: What the number is.
        release: The plugin's release that was looked at.
        run: Whether its own code was run; else its source was read.
        date: When.
        note: Where the number comes from, and what is to be known of it.
        providers: Other names by which telemetry knows it, in lower case.
        found: What came of running it, by the name of the measurement in ``tests/plugins/lab``.
    """

    plugin: str
    product: str
    meaning: Meaning
    release: str
    run: bool
    date: str
    note: str
    providers: tuple[str, ...]
    found: Mapping[str, str]


def _row(raw: dict[str, Any]) -> Row:
    return Row(
        raw["plugin"],
        raw["product"],
        Meaning(raw["meaning"]),
        raw["release"],
        raw["run"],
        raw["date"],
        raw.get("note", ""),
        tuple(raw.get("providers", ())),
        raw.get("found", {}),
    )


RECOGNISERS: Final = tuple(
    _row(raw) for raw in json.loads(DATA.read_text(encoding="utf-8"))["recognisers"]
)


def rows_of(*names: str) -> list[Row]:
    """What is known of a recogniser, in the releases that the rows name (1.7 to 1.8).

    Args:
        *names: Its plugin's package or its provider, as telemetry names it; case is ignored.
    """
    wanted = {name.lower() for name in names}
    return [row for row in RECOGNISERS if row.plugin in wanted or wanted & set(row.providers)]


def judged(*names: str) -> bool:
    """Whether results of this recogniser may be judged by their number (plugins of 1.7 to 1.8).

    One that is not known is believed until it proves otherwise, see
    :class:`~runguard_otel.core.guards.confidence.ConfidenceScales`.

    Args:
        *names: As in :func:`rows_of`.
    """
    return _UNUSABLE.isdisjoint(map(str.lower, names))


def flush_ends(*names: str) -> bool:
    """Whether ``flush()`` may end what a stream of this recogniser hears (plugins of 1.7 to 1.8).

    Then nothing that is pushed afterwards is recognised, though the stream looks open.

    Args:
        *names: As in :func:`rows_of`.
    """
    return not _ENDED_BY_FLUSH.isdisjoint(map(str.lower, names))


def updates_reach(name: str) -> bool:
    """Whether open streams are known to follow ``update_options()`` (plugins of 1.7 to 1.8).

    Args:
        name: The plugin's package.
    """
    said = [r.found["update_options"] for r in rows_of(name) if "update_options" in r.found]
    return bool(said) and all(cell.endswith((": reconnects", ": message")) for cell in said)


def meaning_of(name: str) -> str:
    """What the number of a recogniser is; ``""`` of one that is not known (1.7 to 1.8)."""
    return " or ".join(dict.fromkeys(str(row.meaning) for row in rows_of(name)))


def imported() -> list[str]:
    """The plugins known here that this process has imported (1.7 to 1.8)."""
    plugins = dict.fromkeys(row.plugin for row in RECOGNISERS)
    return [name for name in plugins if f"livekit.plugins.{name}" in sys.modules]


# A recogniser that sets no number is not among them: what a later release sets will be learned.
_UNUSABLE: Final = frozenset(
    name
    for row in RECOGNISERS
    if not row.meaning.is_confidence and row.meaning is not Meaning.NONE
    for name in (row.plugin, *row.providers)
)
_ENDED_BY_FLUSH: Final = frozenset(
    name
    for row in RECOGNISERS
    if "nothing is heard afterwards" in row.found.get("flush", "")
    for name in (row.plugin, *row.providers)
)
