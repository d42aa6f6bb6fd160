"""Calendar feeds: an account's bookings for calendar programs, at a secret address."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.errors import NotFound

LOOKS_BACK = timedelta(days=90)
MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class FeedRange:
    """Selects at most `limit` entries that end after `since`. Entries that end after `now` have priority, and near
    entries over distant ones."""

    since: datetime
    now: datetime
    limit: int = MOST_ENTRIES

    @classmethod
    def at(cls, now: datetime) -> "FeedRange":
        return cls(now - LOOKS_BACK, now)


class FeedNotFound(NotFound):
    code = "feed_not_found"
    message = "Calendar not found"


class EntryKind(StrEnum):
    PLACE = "place"
    """A seat in an event."""
    SESSION = "session"
    """An appointment, for its client or its coach."""
    EVENT = "event"
    """An event, in its facilitator's calendar."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """`id` is unique for its kind; `reference` is its name for people. `sequence` grows with every change, and
    `written_at` is the time of the last one. `is_tentative` until it is confirmed or paid. `uid` is the UID that
    invitations by mail use, None while the deployment has stored no domain for UIDs."""

    kind: EntryKind
    id: str
    title: str
    text: str | None
    reference: str
    starts_at: datetime
    ends_at: datetime
    location: str | None
    link: str | None
    is_tentative: bool
    sequence: int
    written_at: datetime
    uid: str | None = None
