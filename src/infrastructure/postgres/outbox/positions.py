"""Where claims begin in the index of due messages.

A claim reads that index from its start. While an open transaction keeps old row versions alive, the start has the
entries of all messages that were claimed since then, and each claim would read them again. While the index is large,
claims therefore begin where the claim before ended, and only some of them read all of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.outbox import Destination

LATE_COMMIT = timedelta(seconds=2)
"""A position stays so far behind the clock: a message is due since the start of its transaction, and visible after the
commit. The next full look finds those that are later."""

LARGE_BYTES = 4 * 1024 * 1024
"""The entries of about 30,000 messages."""

REST = 50
"""Seconds until the next full look, for each second of the last one: they take 2 % of the time."""
LONGEST_REST = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """All messages that are due before it, and were visible, have been claimed."""

    due_at: datetime
    seq: int


@dataclass(slots=True)
class ClaimPositions:
    """`now`: seconds of a monotonic clock."""

    now: Callable[[], float] = time.monotonic
    _is_large: bool = False
    _positions: dict[Destination, Position] = field(default_factory=dict)
    _full_at: dict[Destination, float] = field(default_factory=dict)

    def start(self, destination: Destination) -> Position | None:
        """The position of the next claim; None for a full look."""
        if not self._is_large or self.now() >= self._full_at.get(destination, 0):
            return None
        return self._positions.get(destination)

    def looked(self, destination: Destination, end: Position, *, full_seconds: float | None, index_bytes: int) -> None:
        """A claim has read the index to `end`, in `full_seconds` if it was a full look."""
        self._is_large = index_bytes > LARGE_BYTES
        self._positions[destination] = end
        if full_seconds is not None:
            self._full_at[destination] = self.now() + min(REST * full_seconds, LONGEST_REST)
