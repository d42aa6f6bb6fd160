"""A person's bookings as a calendar that programs subscribe to, by an address that is its own secret."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.errors import NotFound

LOOKS_BACK = timedelta(days=90)
MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class FeedRange:
    """What ends after `since`: at most `limit` entries, those that end after `now` first and the nearest first."""

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
    """A place in an event."""
    SESSION = "session"
    """A coaching session, of its client or of its coach."""
    EVENT = "event"
    """An event, in its facilitator's calendar."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """`id` is that of its kind; `reference` says in words which one it is; `sequence` grows with every change, and
    `written_at` is when the last one was; `is_tentative` until it is confirmed or paid. `uid` is that of invitations,
    None while the deployment has stored no domain for them."""

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
