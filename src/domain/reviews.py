"""Reviews of events by people who attended."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from domain.accounts import UserId
from domain.errors import Conflict, Forbidden, Invalid
from domain.events import EventId
from domain.text import text_with_lines

ReviewId = NewType("ReviewId", int)

BEST_RATING = 5
MAX_COMMENT = 2_000


class EventNotOver(Conflict):
    code = "event_not_over"
    message = "You can review an event once it is over"


class DidNotAttend(Forbidden):
    code = "did_not_attend"
    message = "Only people who attended can review an event"


class AlreadyReviewed(Conflict):
    code = "already_reviewed"
    message = "You have already reviewed this event"


@dataclass(frozen=True, slots=True)
class Review:
    """`rating` is from 1 to 5. `comment` is optional."""

    event_id: EventId
    user_id: UserId
    rating: int
    comment: str | None
    created_at: datetime

    def __post_init__(self) -> None:
        if not 1 <= self.rating <= BEST_RATING:
            raise Invalid({"rating": f"Must be a whole number from 1 to {BEST_RATING}"})
        if self.comment is not None:
            object.__setattr__(
                self, "comment", text_with_lines("comment", self.comment.strip(), at_most=MAX_COMMENT) or None
            )


def require_attendance(*, ended_at: datetime, now: datetime, has_booking: bool, is_host: bool) -> None:
    """Raises an error unless the person attended: had a seat that was not cancelled in an event that has ended. The
    facilitator of the event does not count."""
    if ended_at > now:
        raise EventNotOver
    if not has_booking or is_host:
        raise DidNotAttend
