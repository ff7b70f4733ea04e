"""A table of faults and outcomes that the test run prints, so that the claims can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


class Outcomes:
    """Rows of one test module.

    Args:
        title: Above the table.
        columns: Its head.
    """

    def __init__(self, title: str, *columns: str) -> None:
        self.title = title
        self.rows: list[tuple[str, ...]] = [columns]

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def lines(self) -> Iterator[str]:
        widths = [max(len(row[n]) for row in self.rows) for n in range(len(self.rows[0]))]
        yield ""
        yield self.title
        for row in self.rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield "  " + "  ".join(cells).rstrip()

    def printed(self, request: pytest.FixtureRequest) -> Iterator[Outcomes]:
        """For a module's fixture: print once its tests are over, past the capture."""
        yield self
        capture = request.config.pluginmanager.getplugin("capturemanager")
        if capture is not None and len(self.rows) > 1:
            with capture.global_and_fixture_disabled():
                print("\n".join(self.lines()), flush=True)
