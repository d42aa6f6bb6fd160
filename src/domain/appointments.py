"""A client's reserved time with a coach."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import Role, User, UserId
from domain.availability import LONGEST, LONGEST_RANGE, SHORTEST, Availability
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.money import Money, smallest_step
from domain.payments import UNPAID, PaymentStatus, status_at_booking
from domain.refunds import RefundPolicy
from domain.time import Interval, end_of_day, entered_instant

AppointmentId = NewType("AppointmentId", UUID)
SeriesId = NewType("SeriesId", UUID)

MAX_OCCURRENCES = 52
LONGEST_REPORT = timedelta(days=371)
_MINUTE = timedelta(minutes=1)


class AppointmentStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[AppointmentStatus, frozenset[AppointmentStatus]] = {
    AppointmentStatus.PENDING: frozenset({AppointmentStatus.CONFIRMED, AppointmentStatus.CANCELLED}),
    AppointmentStatus.CONFIRMED: frozenset({AppointmentStatus.COMPLETED, AppointmentStatus.CANCELLED}),
    AppointmentStatus.COMPLETED: frozenset(),
    AppointmentStatus.CANCELLED: frozenset(),
}
LIVE = frozenset({AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED})
"""These keep the coach's time."""


class AppointmentCancelReason(StrEnum):
    BY_PERSON = "by_person"
    BY_COACH = "by_coach"
    BY_ORGANISER = "by_organiser"
    """By an admin."""
    PAYMENT_EXPIRED = "payment_expired"


class Change(StrEnum):
    """What happened to a coaching booking: its history's words."""

    CREATED = "created"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    RESCHEDULED = "rescheduled"
    PAYMENT_FAILED = "payment_failed"
    PAID = "paid"
    REINSTATED = "reinstated"
    REFUNDED = "refunded"
    NOTES_CHANGED = "notes_changed"
    LINKED = "linked"
    ATTACHMENT_ADDED = "attachment_added"
    ATTACHMENT_REMOVED = "attachment_removed"


class AppointmentNotFound(NotFound):
    code = "coaching_not_found"
    message = "Booking not found"


class CoachNotFound(NotFound):
    code = "coach_not_found"
    message = "Coach not found"


class CoachInactive(Conflict):
    code = "coach_inactive"
    message = "Coach is not active"


class OnlyClientsBook(Forbidden):
    code = "client_required"
    message = "Only clients can create bookings"


class AppointmentViewForbidden(Forbidden):
    code = "coaching_not_visible"
    message = "Unauthorized to view this booking"


class AppointmentListForbidden(Forbidden):
    code = "coachings_not_visible"
    message = "Unauthorized to view these bookings"


class AppointmentChangeForbidden(Forbidden):
    code = "not_your_coaching"
    message = "Unauthorized to update this booking"


class OnlyCoachDecides(Forbidden):
    code = "coach_decides"
    message = "Only the coach or an admin can set this status"


class OnlyClientPays(Forbidden):
    code = "client_pays"
    message = "Only the client can pay for this booking"


class OnlyCoachRecords(Forbidden):
    code = "coach_records_payments"
    message = "Only the coach or an admin can record a payment"


class InvalidTransition(Conflict):
    code = "invalid_transition"
    message = "The status cannot change like that"


class NotCancellable(Conflict):
    code = "coaching_not_cancellable"
    message = "Only bookings with status pending or confirmed can be cancelled"


class NotReschedulable(Conflict):
    code = "coaching_not_reschedulable"
    message = "Only bookings with status pending or confirmed can be rescheduled"


class HasBegun(Conflict):
    code = "coaching_has_begun"
    message = "A session that has begun can only be rescheduled by the coach or an admin"


class PaymentConfirms(Conflict):
    code = "payment_confirms"
    message = "This booking is confirmed by its payment"


class PricedLengthFixed(Conflict):
    code = "priced_length_fixed"
    message = "The length of a booking that costs something cannot change"


class SeriesRefused(Invalid):
    """`details` says of each session that cannot be booked why."""

    code = "series_refused"
    message = "Some of these sessions cannot be booked"

    def __init__(self, refused: Iterable[tuple[datetime, str]] = ()) -> None:
        super().__init__({f"{moment:%Y-%m-%dT%H:%M:%SZ}": why for moment, why in refused})


def length_of(minutes: int) -> timedelta:
    """How long a session takes. Raises `Invalid` outside 15 to 480 minutes."""
    # Compared as a number first: more days than a timedelta holds are an error of another kind.
    if not SHORTEST // _MINUTE <= minutes <= LONGEST // _MINUTE:
        raise Invalid({"duration_minutes": "Must be between 15 and 480"})
    return timedelta(minutes=minutes)


def session(starts_at: datetime, length: timedelta) -> Interval:
    """To the second. Raises `Invalid` for one that begins or ends outside of 1970-01-01 to 2099-12-31."""
    starts_at = entered_instant(starts_at, "session_datetime").replace(microsecond=0)
    ends_at = starts_at + length_of(length // _MINUTE)
    return Interval(starts_at, entered_instant(ends_at, "session_datetime"))


def search_window(starts_at: datetime, ends_at: datetime) -> Interval:
    """Raises `Invalid` for an end that is not after the start, and for more than 30 days. An end in the last minute of
    a day, by its own offset, is the end of that day."""
    return _window(starts_at, ends_at, LONGEST_RANGE)


def figures_window(starts_at: datetime, ends_at: datetime) -> Interval:
    """As `search_window`, for up to a year."""
    return _window(starts_at, ends_at, LONGEST_REPORT)


def _window(starts_at: datetime, ends_at: datetime, longest: timedelta) -> Interval:
    last = end_of_day(ends_at)
    starts_at, ends_at = entered_instant(starts_at, "start_date"), entered_instant(ends_at, "end_date")
    if ends_at <= starts_at:
        raise Invalid({"end_date": "End date must be after start date"})
    if ends_at - starts_at > longest:
        raise Invalid({"end_date": f"Date range cannot exceed {longest.days} days"})
    return Interval(starts_at, last)


@dataclass(frozen=True, slots=True)
class Coach:
    """A facilitator who can be booked, on these terms. The price is per hour; zero is free."""

    user: User
    availability: Availability
    price_per_hour: Money
    refund_policy: RefundPolicy

    def price_of(self, length: timedelta) -> Money:
        """Rounded half up to what can be paid."""
        minutes = length // _MINUTE
        return Money.computed(self.price_per_hour.amount * minutes / 60, self.price_per_hour.currency)

    def require_payable_rate(self) -> None:
        """Raises `Invalid` for a rate above zero at which the shortest session rounds to zero, and would be free."""
        if self.price_per_hour.is_zero or not self.price_of(SHORTEST).is_zero:
            return
        # Half a step rounds up to a whole one.
        least = smallest_step(self.price_per_hour.currency) / 2 * (timedelta(hours=1) // SHORTEST)
        free = f"A session of {SHORTEST // _MINUTE} minutes would be free"
        raise Invalid({"price_per_hour": f"{free}: give 0, or at least {least.normalize():f}"})

    def require_bookable(self) -> None:
        if not self.user.is_active:
            raise CoachInactive


@dataclass(frozen=True, slots=True)
class NewAppointment:
    """A session to be reserved. `busy` is the session with the coach's buffers."""

    client_id: UserId
    coach_id: UserId
    session: Interval
    busy: Interval
    price: Money
    refund_policy: RefundPolicy
    notes: str | None
    hold_until: datetime | None
    series_id: SeriesId | None = None

    @property
    def payment_status(self) -> PaymentStatus:
        return status_at_booking(self.price)


@dataclass(frozen=True, slots=True)
class Appointment:
    """A coaching booking. `sequence` grows with every change that calendars must hear of (RFC 5545, 3.8.7.4)."""

    id: AppointmentId
    client_id: UserId
    coach_id: UserId
    session: Interval
    busy: Interval
    status: AppointmentStatus
    payment_status: PaymentStatus
    price: Money
    refund_policy: RefundPolicy
    notes: str | None
    meeting_link: str | None
    series_id: SeriesId | None
    sequence: int
    hold_until: datetime | None
    cancelled_at: datetime | None
    cancel_reason: AppointmentCancelReason | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    def require_participant(self, user: User, refusal: type[Forbidden] = AppointmentChangeForbidden) -> None:
        if user.role is not Role.ADMIN and user.id not in {self.client_id, self.coach_id}:
            raise refusal

    def is_run_by(self, user: User) -> bool:
        """The coach and admins decide about a session; the client may only give it up."""
        return user.role is Role.ADMIN or user.id == self.coach_id

    def reason_of_cancellation(self, user: User) -> AppointmentCancelReason:
        if user.id == self.client_id:
            return AppointmentCancelReason.BY_PERSON
        return AppointmentCancelReason.BY_COACH if user.id == self.coach_id else AppointmentCancelReason.BY_ORGANISER

    def require_transition(self, status: AppointmentStatus) -> None:
        if status not in TRANSITIONS[self.status]:
            raise InvalidTransition(f"Cannot change status from {self.status} to {status}")

    def confirmed(self, now: datetime) -> "Appointment":
        """By the coach. What is to be paid at a gateway is confirmed by its payment; what is paid on the spot, where no
        time is held for a payment, by the coach."""
        self.require_transition(AppointmentStatus.CONFIRMED)
        if self.payment_status in UNPAID and self.hold_until is not None:
            raise PaymentConfirms
        return self._changed(now, status=AppointmentStatus.CONFIRMED)

    def completed(self, now: datetime) -> "Appointment":
        self.require_transition(AppointmentStatus.COMPLETED)
        return replace(self, status=AppointmentStatus.COMPLETED, updated_at=now)

    def cancelled(self, now: datetime, reason: AppointmentCancelReason) -> "Appointment":
        if not self.is_live:
            raise NotCancellable
        return self._changed(
            now, status=AppointmentStatus.CANCELLED, cancelled_at=now, cancel_reason=reason, hold_until=None
        )

    def moved(self, session: Interval, busy: Interval, now: datetime) -> "Appointment":
        if not self.is_live:
            raise NotReschedulable
        longer = session.ends_at - session.starts_at != self.session.ends_at - self.session.starts_at
        if longer and not self.price.is_zero:
            raise PricedLengthFixed
        hold_until = min(self.hold_until, session.starts_at) if self.hold_until else None
        return self._changed(now, session=session, busy=busy, hold_until=hold_until)

    def moved_by_coach(self, session: Interval, busy: Interval, now: datetime) -> "Appointment":
        """Or by an admin. The client may then cancel for a full refund until the start."""
        return replace(self.moved(session, busy, now), refund_policy=RefundPolicy())

    def moved_by_client(self, session: Interval, busy: Interval, now: datetime) -> "Appointment":
        """Only before the start, so that a past appointment cannot be used again. The refund policy does not improve by
        rescheduling."""
        if self.is_live and self.session.starts_at <= now:
            raise HasBegun
        moved = self.moved(session, busy, now)
        if self.payment_status is not PaymentStatus.COMPLETED:
            return moved
        percent = self.refund_policy.percent(now=now, starts_at=self.session.starts_at)
        return replace(moved, refund_policy=self.refund_policy.at_most(percent))

    def noted(self, notes: str | None, now: datetime) -> "Appointment":
        return replace(self, notes=notes, updated_at=now)

    def linked(self, meeting_link: str, now: datetime) -> "Appointment":
        return replace(self, meeting_link=meeting_link, updated_at=now)

    def has_expired(self, now: datetime) -> bool:
        """Its time was held for a payment that did not come."""
        return (
            self.status is AppointmentStatus.PENDING
            and self.payment_status in UNPAID
            and self.hold_until is not None
            and self.hold_until <= now
        )

    def paid(self, now: datetime) -> "Appointment":
        """A payment confirms what was pending."""
        status = AppointmentStatus.CONFIRMED if self.status is AppointmentStatus.PENDING else self.status
        return self._changed(now, status=status, payment_status=PaymentStatus.COMPLETED, hold_until=None)

    def unpaid(self, now: datetime) -> "Appointment":
        return replace(self, payment_status=PaymentStatus.FAILED, updated_at=now)

    def reinstated(self, now: datetime) -> "Appointment":
        """Its payment came after its time had been given up, and the time is still free."""
        return self._changed(
            now,
            status=AppointmentStatus.CONFIRMED,
            payment_status=PaymentStatus.COMPLETED,
            cancelled_at=None,
            cancel_reason=None,
        )

    def refunded(self, now: datetime) -> "Appointment":
        return replace(self, payment_status=PaymentStatus.REFUNDED, updated_at=now)

    def _changed(self, now: datetime, **fields: object) -> "Appointment":
        return replace(self, sequence=self.sequence + 1, updated_at=now, **fields)  # type: ignore[arg-type]
