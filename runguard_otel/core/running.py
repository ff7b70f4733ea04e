"""Time that counts only while an event loop runs: what waits in its queues is not late."""

from __future__ import annotations

__all__ = ["PIECES", "RunningTime"]

PIECES = 5
_LATE_PIECES = 20
_NOTHING = 1e-6  # seconds; what floating point leaves over is no piece


class RunningTime:
    """A time to wait, in pieces.

    A piece that ends much too late does not count: somebody blocked the loop, or the machine has no
    CPU to spare, and what came meanwhile has not been looked at. Only so many do not count, so it
    ends all the same.

    Args:
        seconds: How long the loop must have run.
    """

    __slots__ = ("_late_pieces", "_whole_piece", "late", "left")

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        """Seconds to go; 0 or less once it is over."""
        self.late = 0.0
        """Seconds that did not count."""
        self._whole_piece = seconds / PIECES
        self._late_pieces = 0

    @property
    def piece(self) -> float:
        """For how long to wait next."""
        return min(self.left, self._whole_piece)

    def passed(self, piece: float, took: float) -> None:
        """A piece is over.

        Args:
            piece: How long it was to be.
            took: How long it was.
        """
        if took > 2 * piece and self._late_pieces < _LATE_PIECES:
            self.late += took - piece
            self._late_pieces += 1
        else:
            self.left -= took
            if self.left < _NOTHING:
                self.left = 0.0
