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
from domain.attachments import Attachment, AttachmentId, NewAttachment
from domain.authorization import require_owner
from domain.availability import Availability
from domain.coaches import Coach
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
        """As `get`, and the account is not deactivated until the unit of work ends."""
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
        """What the coach does in that time and around it: live sessions with their buffers, their own active events,
        and what their connected calendars say."""
        ...

    async def keep_events_out(self, user_id: UserId) -> None:
        """Before one looks what the coach does, to take their time: waits for an event of theirs that is being made or
        moved, and lets none be made or moved until the unit of work ends. Sessions do not wait for each other."""
        ...


@dataclass(frozen=True, slots=True)
class CoachView:
    """A coach as clients find them. `rating` is the mean over the reviews of their events; None without reviews."""

    uuid: UUID
    name: str
    bio: str | None
    specialization: str | None
    rating: float | None
    price_per_hour: Money
    timezone: str


@dataclass(frozen=True, slots=True)
class CoachList:
    """`next` is the cursor of the page that follows, None on the last."""

    items: Sequence[CoachView]
    next: str | None


class CoachQueries(Protocol):
    """Active facilitators who offer appointments: they have weekly hours (nine to five every day until they set
    others), or hours on a date that is not over. `today` is the date in UTC."""

    async def get(self, coach: UUID, today: date) -> CoachView:
        """By the user's `uuid`. Raises `CoachNotFound`, also for a facilitator who offers no appointments."""
        ...

    async def list(self, limit: int, after: str | None, today: date) -> CoachList:
        """In the order of registration. Raises `Invalid` for a cursor it did not make."""
        ...


class Appointments(Protocol):
    """Within a unit of work. `add` and `save` also write, in the same transaction, what follows from the change: see
    `domain.appointment_effects`. `get` locks until the unit of work ends, and raises `AppointmentNotFound`."""

    async def add(self, new: Sequence[NewAppointment], now: datetime) -> Sequence[Appointment | None]:
        """Reserves the times, as pending. None for each that is taken, also by a concurrent request. Those of one coach
        are in the order of time, so that two requests do not wait for each other."""
        ...

    async def count_unpaid_holds(self, client: UserId, coach: UserId) -> tuple[int, HoldsWithCoach]:
        """The client's unpaid holds in all, and those with this coach. Until the unit of work ends no other request of
        the client can add one."""
        ...

    async def get(self, appointment_id: AppointmentId) -> Appointment: ...

    async def save(self, appointment: Appointment) -> None:
        """Writes the appointment and what follows from its new events. Raises `SlotUnavailable` where it would take
        time that is not free, and the unit of work goes on. An appointment that no transition has changed cannot be
        saved."""
        ...

    async def end_holds(self, coach_id: UserId, now: datetime) -> None:
        """The holds of this coach's unpaid sessions end now; `ExpireAppointmentHolds` gives their time up."""
        ...


@dataclass(frozen=True, slots=True)
class AppointmentView:
    """`payment_id` is that of the payment that was received, None until then."""

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

    def require_participant(self, user: User, forbidden: type[Forbidden]) -> None:
        require_owner(user, self.client_id, self.coach_id, error=forbidden)


@dataclass(frozen=True, slots=True)
class AppointmentPage:
    """`total` counts all of the list; `next` is the cursor of the page that follows, None on the last."""

    items: Sequence[AppointmentView]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """`before` and `after` hold what changed: status, payment_status, starts_at, ends_at, notes, meeting_link,
    cancel_reason; of a file that was added or removed `attachment`, its id and its name."""

    change: AppointmentChange
    changed_at: datetime
    by_uuid: UUID | None
    by_name: str | None
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CoachWeek:
    """A week from Monday in the coach's zone. Hours are of sessions that took or take place; `cancelled` counts those
    that were to begin in it."""

    begins_on: date
    bookings: int
    booked: timedelta
    completed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class CoachStatistics:
    """`revenue` is money received minus money given back, by currency."""

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
        """Of all that was ever booked; 0 where nothing was."""
        return self.cancelled / (self.bookings + self.cancelled) if self.cancelled else 0.0


class AppointmentQueries(Protocol):
    async def get(self, appointment_id: AppointmentId) -> AppointmentView:
        """Raises `AppointmentNotFound`."""
        ...

    async def list(self, appointments: Sequence[AppointmentId]) -> Sequence[AppointmentView]:
        """The earliest session first."""
        ...

    async def list_of_client(
        self, client: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        """The latest session first. Raises `Invalid` for a cursor it did not make."""
        ...

    async def list_of_coach(
        self, coach: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage: ...

    async def history(self, appointment_id: AppointmentId, page: PageRequest) -> Page[HistoryEntry]:
        """The oldest first. Raises `Invalid` for a cursor it did not make."""
        ...

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[AppointmentId]: ...


class CoachStatisticsQueries(Protocol):
    async def statistics(self, coach: UserId, window: Interval, zone: ZoneInfo) -> CoachStatistics:
        """Of sessions that begin in the window; every week of it, empty ones included."""
        ...


class Recurrences(Protocol):
    def occurrences(self, rule: str, first: datetime, zone: ZoneInfo, *, at_most: int) -> Sequence[datetime]:
        """The instants of an RRULE (RFC 5545) from `first` on, at the same time on the wall of that zone. Raises
        `Invalid` (field `rrule`) for what is no rule, has no end, or has more than `at_most`."""
        ...


class BusyTimes(Protocol):
    async def refresh(self, coach: UUID) -> None:
        """Reads a coach's connected calendars again where what we know is not fresh. Bounded in time, never raises:
        what was read last counts while a calendar is away."""
        ...


class Attachments(Protocol):
    async def count(self, booking: AppointmentId) -> int: ...

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
        """The oldest first."""
        ...
