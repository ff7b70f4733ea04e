"""Every dashboard, in the order of the menu."""

from __future__ import annotations

from dashboards.boards import (
    claims,
    cost,
    itself,
    misfires,
    overruns,
    overview,
    reconnects,
    server,
    subscriptions,
)
from dashboards.model import Board

__all__ = ["BOARDS"]

BOARDS: tuple[Board, ...] = (
    overview.BOARD,
    reconnects.BOARD,
    misfires.BOARD,
    claims.BOARD,
    subscriptions.BOARD,
    overruns.BOARD,
    server.BOARD,
    cost.BOARD,
    itself.BOARD,
)
