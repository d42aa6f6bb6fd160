"""Mails about a changed event or appointment: changes that follow one another within a window share one mail.

The mail of the first change waits. It shows the state before the first change and the one after the last, so the
recipient gets at most one such mail in a window. Messages to other destinations are sent for each change.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from domain.outbox import MessageType

MERGED = frozenset({MessageType.BOOKING_MOVED, MessageType.BOOKING_RESCHEDULED})
"""Types whose mails wait for further changes."""

SENT_BY = timedelta(minutes=30)
"""Before the start. What changes later than that is mailed immediately."""

State = TypeVar("State")


def due_at(now: datetime, window: timedelta, *starts: datetime) -> datetime:
    """When the mail about a change is enqueued. `starts`: the start before and after the change."""
    return max(now, min(now + window, min(starts) - SENT_BY))


@dataclass(frozen=True, slots=True)
class WaitingChange(Generic[State]):
    """A change that is not mailed yet. `before`: what the recipient knows from the time before it. `shown`: what
    another mail has shown since then, None without one. `reminded`: a reminder was sent since then."""

    before: State
    shown: State | None = None
    reminded: bool = False

    def earlier_than(self, present: State) -> State | None:
        """The state that the mail compares with the present one. None if there is nothing to tell: the last change has
        restored what the recipient knows."""
        if present != self.before:
            return self.before
        if self.shown is not None and self.shown != present:
            return self.shown
        return self.before if self.reminded else None
