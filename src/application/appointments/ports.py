"""Ports of appointments: repositories, queries, recurrence rules, attachments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from application.ports import Page, PageRequest
from domain.accounts import User, UserId
from domain.appointments import Appointment, AppointmentChange, AppointmentStatus, NewAppointment, SeriesId
from domain.attachments import Attachment, AttachmentId, AttachmentUsage, NewAttachment
from domain.authorization import require_owner
from domain.availability import Availability
from domain.coaches import Coach
from domain.disputes import DisputeStatus
from domain.errors import Forbidden
from domain.ids import AppointmentId
from domain.money import Money
from domain.payments import PaymentId, PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach


class Coaches(Protocol):
    async def get(self, coach: UUID) -> Coach:
        """By the user's `uuid`; with defaults if the coach has set nothing. Raises `CoachNotFound`."""
        ...

    async def get_to_book(self, coach: UUID) -> Coach:
        """As `get`; also locks the account, so that it cannot be deactivated until the unit of work ends."""
        ...

    async def get_by_id(self, user_id: UserId) -> Coach:
        """Raises `CoachNotFound`."""
        ...

    async def save(
        self, user_id: UserId, availability: Availability, price: Money, policy: RefundPolicy, now: datetime
    ) -> None: ...

    async def busy(
        self, user_id: UserId, window: Interval, *, apart_from: AppointmentId | None = None
    ) -> list[Interval]:
        """The coach's busy times in that window and around it: live sessions with their buffers, active events of the
        coach, and busy times of connected calendars."""
        ...

    async def lock_out_events(self, user_id: UserId) -> None:
        """A shared lock, to be taken before reading the coach's busy times for a reservation. Waits for a concurrent
        creation or change of one of the coach's events, and blocks further ones until the unit of work ends.
        Reservations do not wait for each other."""
        ...


@dataclass(frozen=True, slots=True)
class CoachView:
    """A coach in lists for clients. `rating` is the mean of the reviews of the coach's events; None without reviews."""

    uuid: UUID
    name: str
    bio: str | None
    specialization: str | None
    rating: float | None
    price_per_hour: Money
    timezone: str


@dataclass(frozen=True, slots=True)
class CoachList:
    """`next` is the cursor of the next page, None on the last."""

    items: Sequence[CoachView]
    next: str | None


class CoachQueries(Protocol):
    """Active facilitators who offer appointments: with weekly hours (by default 09:00 to 17:00 every day), or with
    hours on a date that is not past. `today` is the date in UTC."""

    async def get(self, coach: UUID, today: date) -> CoachView:
        """By the user's `uuid`. Raises `CoachNotFound`, also for a facilitator who offers no appointments."""
        ...

    async def list(self, limit: int, after: str | None, today: date) -> CoachList:
        """In the order of registration. Raises `Invalid` for an unknown cursor."""
        ...


class Appointments(Protocol):
    """Appointments within a unit of work. `add` and `save` also write the effects of the change in the same
    transaction, see `domain.appointment_effects`. `get` locks the row until the unit of work ends, and raises
    `AppointmentNotFound`."""

    async def add(self, new: Sequence[NewAppointment], now: datetime) -> Sequence[Appointment | None]:
        """Reserves the times, with the status pending. The result has None for each time that is not free, also because
        of a concurrent request. The times of one coach must be sorted, so that two requests cannot deadlock."""
        ...

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        """The number of the client's unpaid holds, and those with this coach. No other request of the client can add
        one until the unit of work ends."""
        ...

    async def get(self, appointment_id: AppointmentId) -> Appointment: ...

    async def save(self, appointment: Appointment) -> None:
        """Writes the appointment and the effects of its new domain events. Raises `SlotUnavailable` if its time is not
        free; the unit of work can continue after that. An appointment without a new transition cannot be saved."""
        ...

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        """Ends the holds of this coach's unpaid sessions now; `ExpireAppointmentHolds` then releases their time."""
        ...


@dataclass(frozen=True, slots=True)
class AppointmentView:
    """`payment_id` is the id of the received payment, None before that."""

    id: AppointmentId
    client_uuid: UUID
    client_name: str
    client_email: str
    coach_uuid: UUID
    coach_name: str
    coach_email: str
    client_id: UserId
    coach_id: UserId
    session: Interval
    status: AppointmentStatus
    payment_status: PaymentStatus
    payment_id: PaymentId | None
    price: Money
    notes: str | None
    meeting_link: str | None
    series_id: SeriesId | None
    sequence: int
    hold_until: datetime | None
    created_at: datetime
    updated_at: datetime
    dispute: DisputeStatus | None = None

    def require_participant(self, user: User, forbidden: type[Forbidden]) -> None:
        require_owner(user, self.client_id, self.coach_id, error=forbidden)


@dataclass(frozen=True, slots=True)
class AppointmentPage:
    """`total` is the length of the whole list; `next` is the cursor of the next page, None on the last."""

    items: Sequence[AppointmentView]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """`before` and `after` contain the changed fields: status, payment_status, starts_at, ends_at, notes, meeting_link,
    cancel_reason; for a file that was added or removed `attachment` with its id and its name."""

    change: AppointmentChange
    changed_at: datetime
    by_uuid: UUID | None
    by_name: str | None
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CoachWeek:
    """A week from Monday in the coach's time zone. Hours are those of sessions that were not cancelled; `cancelled`
    counts the cancelled sessions by the week of their planned start."""

    begins_on: date
    bookings: int
    booked: timedelta
    completed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class CoachStatistics:
    """`revenue` is the amount received minus the amount refunded, by currency."""

    weeks: Sequence[CoachWeek]
    clients: int
    revenue: dict[str, Decimal]

    @property
    def bookings(self) -> int:
        return sum(week.bookings for week in self.weeks)

    @property
    def booked(self) -> timedelta:
        return sum((week.booked for week in self.weeks), timedelta(0))

    @property
    def completed(self) -> int:
        return sum(week.completed for week in self.weeks)

    @property
    def cancelled(self) -> int:
        return sum(week.cancelled for week in self.weeks)

    @property
    def cancellation_rate(self) -> float:
        """The share of cancelled sessions in all booked ones; 0 without bookings."""
        return self.cancelled / (self.bookings + self.cancelled) if self.cancelled else 0.0


class AppointmentQueries(Protocol):
    async def get(self, appointment_id: AppointmentId) -> AppointmentView:
        """Raises `AppointmentNotFound`."""
        ...

    async def list(self, appointments: Sequence[AppointmentId]) -> Sequence[AppointmentView]:
        """By start time, earliest first."""
        ...

    async def list_of_client(
        self, client: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        """By start time, latest first. Raises `Invalid` for an unknown cursor."""
        ...

    async def list_of_coach(
        self, coach: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage: ...

    async def history(self, appointment_id: AppointmentId, page: PageRequest) -> Page[HistoryEntry]:
        """Oldest change first. Raises `Invalid` for an unknown cursor."""
        ...

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[AppointmentId]: ...


class CoachStatisticsQueries(Protocol):
    async def statistics(self, coach: UserId, window: Interval, zone: ZoneInfo) -> CoachStatistics:
        """Counts the sessions that start in the window. The result has every week of it, including empty ones."""
        ...


class Recurrences(Protocol):
    def occurrences(self, rule: str, first: datetime, zone: ZoneInfo, *, at_most: int) -> Sequence[datetime]:
        """The instants of an RRULE (RFC 5545) from `first` on, at the same local time in that zone. Raises `Invalid`
        (field `rrule`) for an invalid rule, a rule without an end, and one with more than `at_most` occurrences."""
        ...


class BusyTimes(Protocol):
    async def refresh(self, coach: UUID) -> None:
        """Reads a coach's connected calendars again where the stored busy times are not fresh. Bounded in time, never
        raises: the stored busy times are used while a calendar is unavailable."""
        ...


class Attachments(Protocol):
    async def count(self, booking: AppointmentId) -> int: ...

    async def usage(self, account: UserId) -> AttachmentUsage:
        """What the account has uploaded to all appointments. No other request of the account can add a file until the
        unit of work ends."""
        ...

    async def add(self, booking: AppointmentId, by: UserId, new: NewAttachment, now: datetime) -> AttachmentId: ...

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> Attachment:
        """Raises `AttachmentNotFound`."""
        ...

    async def remove(self, attachment: AttachmentId) -> None: ...


@dataclass(frozen=True, slots=True)
class AttachmentView:
    attachment: Attachment
    uploader_uuid: UUID
    uploader_name: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    filename: str
    media_type: str
    content: bytes


class AttachmentQueries(Protocol):
    """Raises `AttachmentNotFound`."""

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> AttachmentView: ...

    async def content(self, booking: AppointmentId, attachment: AttachmentId) -> StoredFile: ...

    async def list(self, booking: AppointmentId) -> Sequence[AttachmentView]:
        """Oldest first."""
        ...
