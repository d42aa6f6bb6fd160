"""Connected calendars: accounts at calendar providers, and the entries in them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID, uuid5

from domain.accounts import UserId
from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.ids import AppointmentId
from domain.time import Interval

ConnectionId = NewType("ConnectionId", UUID)


class Provider(StrEnum):
    GOOGLE = "google"
    OUTLOOK = "outlook"

    @property
    def label(self) -> str:
        return {Provider.GOOGLE: "Google Calendar", Provider.OUTLOOK: "Outlook"}[self]


class ConnectionStatus(StrEnum):
    """`reconnect`: the provider rejects the stored tokens; the owner has to connect the calendar again."""

    ACTIVE = "active"
    RECONNECT = "reconnect"


class CalendarNotConfigured(Unavailable):
    code = "calendar_not_configured"
    message = "Calendars of this provider are not set up here"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, retry_after=None)


class CalendarUnavailable(Unavailable):
    code = "calendar_away"
    message = "The calendar's provider cannot be reached just now. Please try again shortly"

    def __init__(self, message: str | None = None, retry_after: int | None = 5) -> None:
        super().__init__(message, retry_after)


class CalendarNotUnderstood(Conflict):
    code = "calendar_not_understood"
    message = "The calendar's provider answered something that its documents do not show"


class CalendarRefused(Conflict):
    code = "calendar_refused"
    message = "The calendar's provider refused"


class TokenRejected(Conflict):
    code = "calendar_token_rejected"
    message = "The calendar's provider does not accept this access token"


class CalendarReconnect(Conflict):
    code = "calendar_reconnect"
    message = "This calendar has to be connected again"


class RedirectNotAllowed(Conflict):
    code = "redirect_not_allowed"
    message = "This redirect_uri is not allowed"


class ConsentUnknown(Conflict):
    code = "calendar_consent_unknown"
    message = (
        "This state was not given to you for this calendar and redirect_uri, has been used already or is older than "
        "10 minutes. Please start again"
    )


class ConsentRefused(Conflict):
    code = "calendar_consent_refused"
    message = "The calendar's provider does not accept this code. Please start again"


class CalendarNotConnected(NotFound):
    code = "calendar_not_connected"
    message = "No calendar of this provider is connected"


class NoCalendarToSync(Conflict):
    code = "no_calendar_to_sync"
    message = "No calendar of this type is connected: connect one, or give its access_token"


class CalendarSyncForbidden(Forbidden):
    code = "not_your_coaching_to_sync"
    message = "Only the client or the coach can sync this booking"


class CancelledNotSynced(Conflict):
    code = "cancelled_not_synced"
    message = "A cancelled booking has no place in a calendar"


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a booking in one person's calendar. `key` never changes: creating it twice results in one entry.

    `link` is the online meeting, if known. `hosts`: whether an online meeting is created with this entry if there is
    no link yet.
    """

    key: UUID
    title: str
    text: str
    session: Interval
    timezone: str
    link: str | None
    hosts: bool

    @property
    def wants_meeting(self) -> bool:
        return self.hosts and self.link is None


def entry_key(booking_id: AppointmentId, user_id: UserId) -> UUID:
    """The key of a booking's entry in this person's calendar. It stays the same after the calendar was connected
    again."""
    return uuid5(booking_id, str(user_id))


def without(busy: Interval, ours: list[Interval]) -> list[Interval]:
    """The parts of a busy time that are outside of Convene's own entries."""
    left = [busy]
    for own in ours:
        left = [rest for each in left for rest in _minus(each, own)]
    return left


def _minus(busy: Interval, own: Interval) -> list[Interval]:
    if own.ends_at <= busy.starts_at or busy.ends_at <= own.starts_at:
        return [busy]
    edges: list[tuple[datetime, datetime]] = [(busy.starts_at, own.starts_at), (own.ends_at, busy.ends_at)]
    return [Interval(starts, ends) for starts, ends in edges if starts < ends]
