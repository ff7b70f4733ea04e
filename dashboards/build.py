"""The generator that ``make generate`` runs."""

from __future__ import annotations

from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.grafana import render

__all__ = ["generated"]

HERE = Path(__file__).resolve().parent


def generated() -> dict[Path, str]:
    """The committed dashboards."""
    return {HERE / "generated" / f"{board.uid}.json": render(board) for board in BOARDS}
