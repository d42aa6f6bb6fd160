"""Appointments: reserved sessions of a client with a coach."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from domain.accounts import User, UserId
from domain.authorization import is_owner, require_owner
from domain.availability import LONGEST, SHORTEST
from domain.disputes import DisputeStatus
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.ids import AppointmentId
from domain.money import Money
from domain.payments import UNPAID, PaymentStatus, status_at_booking
from domain.refunds import RefundPolicy
from domain.time import Interval, entered_instant

SeriesId = NewType("SeriesId", UUID)

MAX_OCCURRENCES = 52
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
"""Appointments with these statuses occupy the coach's time."""


class AppointmentCancelReason(StrEnum):
    BY_PERSON = "by_person"
    BY_COACH = "by_coach"
    BY_ORGANISER = "by_organiser"
    """Cancelled by an admin."""
    PAYMENT_EXPIRED = "payment_expired"


class AppointmentChange(StrEnum):
    """A kind of change of an appointment, as stored in its history."""

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
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"


class AppointmentNotFound(NotFound):
    code = "coaching_not_found"
    message = "Booking not found"


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
    """`details` has the reason for each session that cannot be booked."""

    code = "series_refused"
    message = "Some of these sessions cannot be booked"

    def __init__(self, refused: Iterable[tuple[datetime, str]] = ()) -> None:
        super().__init__({f"{moment:%Y-%m-%dT%H:%M:%SZ}": why for moment, why in refused})


def length_of(minutes: int) -> timedelta:
    """The length of a session. Raises `Invalid` outside 15 to 480 minutes."""
    # Compared as a number first, because a timedelta raises another error for too many days.
    if not SHORTEST // _MINUTE <= minutes <= LONGEST // _MINUTE:
        raise Invalid({"duration_minutes": "Must be between 15 and 480"})
    return timedelta(minutes=minutes)


def session(starts_at: datetime, length: timedelta) -> Interval:
    """The interval of a session, to the second. Raises `Invalid` if it starts or ends outside of 1970-01-01 to
    2099-12-31."""
    starts_at = entered_instant(starts_at, "session_datetime").replace(microsecond=0)
    ends_at = starts_at + length_of(length // _MINUTE)
    return Interval(starts_at, entered_instant(ends_at, "session_datetime"))


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
class AppointmentFile:
    """An attachment in the history."""

    id: UUID
    filename: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AppointmentEvent:
    """A domain event: one transition of an appointment. `domain.appointment_effects` defines its effects, which are
    written when the appointment is saved.

    `before` and `after` are the appointment around the transition; `before` is None where it is new. `by` is None for
    the system and for payment gateways. `reason` and `money` go into the messages about it.
    """

    change: AppointmentChange
    before: "Appointment | None"
    after: "Appointment"
    at: datetime
    by: UserId | None = None
    reason: AppointmentCancelReason | None = None
    money: Money | None = None
    attachment: AppointmentFile | None = None

    @property
    def takes_time(self) -> bool:
        """Whether the appointment may occupy time of the coach that was free before."""
        return self.change in {AppointmentChange.RESCHEDULED, AppointmentChange.REINSTATED}


@dataclass(frozen=True, slots=True)
class Appointment:
    """A reserved session with a coach. `sequence` grows with every change that calendar entries show (RFC 5545,
    3.8.7.4). `events` are the domain events that its transitions have recorded since it was loaded."""

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
    dispute: DisputeStatus | None = None
    """The status of disputes about its payment."""
    events: tuple[AppointmentEvent, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    def require_participant(self, user: User, forbidden: type[Forbidden] = AppointmentChangeForbidden) -> None:
        require_owner(user, self.client_id, self.coach_id, error=forbidden)

    def is_run_by(self, user: User) -> bool:
        """Whether the user may confirm and complete the session: its coach and admins. The client may only cancel."""
        return is_owner(user, self.coach_id)

    def reason_of_cancellation(self, user: User) -> AppointmentCancelReason:
        if user.id == self.client_id:
            return AppointmentCancelReason.BY_PERSON
        return AppointmentCancelReason.BY_COACH if user.id == self.coach_id else AppointmentCancelReason.BY_ORGANISER

    def require_transition(self, status: AppointmentStatus) -> None:
        if status not in TRANSITIONS[self.status]:
            raise InvalidTransition(f"Cannot change status from {self.status} to {status}")

    def booked(self) -> "Appointment":
        """Records the reservation by the client."""
        created = AppointmentChange.CREATED
        event = AppointmentEvent(change=created, before=None, after=self, at=self.created_at, by=self.client_id)
        return replace(self, events=(event,))

    def confirmed(self, now: datetime, *, by: UserId | None) -> "Appointment":
        """Confirmed by the coach. An appointment that is paid at a gateway is confirmed by its payment instead; one
        that is paid on site, without a hold, by the coach."""
        self.require_transition(AppointmentStatus.CONFIRMED)
        if self.payment_status in UNPAID and self.hold_until is not None:
            raise PaymentConfirms
        after = self._changed(now, status=AppointmentStatus.CONFIRMED)
        return self._recorded(AppointmentChange.CONFIRMED, after, now, by=by)

    def completed(self, now: datetime, *, by: UserId | None) -> "Appointment":
        self.require_transition(AppointmentStatus.COMPLETED)
        after = replace(self, status=AppointmentStatus.COMPLETED, updated_at=now)
        return self._recorded(AppointmentChange.COMPLETED, after, now, by=by)

    def require_cancellable(self) -> None:
        if not self.is_live:
            raise NotCancellable

    def cancelled(
        self, now: datetime, reason: AppointmentCancelReason, *, by: UserId | None, refunded: bool = False
    ) -> "Appointment":
        """`refunded`: a refund of what was paid is requested together with the cancellation."""
        self.require_cancellable()
        after = self._changed(
            now,
            status=AppointmentStatus.CANCELLED,
            payment_status=PaymentStatus.REFUNDED if refunded else self.payment_status,
            cancelled_at=now,
            cancel_reason=reason,
            hold_until=None,
        )
        return self._recorded(AppointmentChange.CANCELLED, after, now, by=by, reason=reason)

    def rescheduled_by_coach(self, session: Interval, busy: Interval, now: datetime, *, by: UserId) -> "Appointment":
        """Rescheduled by the coach or an admin. The client may then cancel for a full refund until the start."""
        after = replace(self._at(session, busy, now), refund_policy=RefundPolicy())
        return self._recorded(AppointmentChange.RESCHEDULED, after, now, by=by, reason=AppointmentCancelReason.BY_COACH)

    def rescheduled_by_client(self, session: Interval, busy: Interval, now: datetime, *, by: UserId) -> "Appointment":
        """Rescheduled by the client, only before the start, so that a past appointment cannot be used again. It does
        not increase the refund of a later cancellation."""
        if self.is_live and self.session.starts_at <= now:
            raise HasBegun
        after = self._at(session, busy, now)
        if self.payment_status is PaymentStatus.COMPLETED:
            percent = self.refund_policy.percent(now=now, starts_at=self.session.starts_at)
            after = replace(after, refund_policy=self.refund_policy.at_most(percent))
        return self._recorded(AppointmentChange.RESCHEDULED, after, now, by=by)

    def _at(self, session: Interval, busy: Interval, now: datetime) -> "Appointment":
        if not self.is_live:
            raise NotReschedulable
        longer = session.ends_at - session.starts_at != self.session.ends_at - self.session.starts_at
        if longer and not self.price.is_zero:
            raise PricedLengthFixed
        hold_until = min(self.hold_until, session.starts_at) if self.hold_until else None
        return self._changed(now, session=session, busy=busy, hold_until=hold_until)

    def with_notes(self, notes: str | None, now: datetime, *, by: UserId) -> "Appointment":
        return self._recorded(AppointmentChange.NOTES_CHANGED, replace(self, notes=notes, updated_at=now), now, by=by)

    def with_meeting_link(self, meeting_link: str, now: datetime) -> "Appointment":
        return self._recorded(AppointmentChange.LINKED, replace(self, meeting_link=meeting_link, updated_at=now), now)

    def with_attachment(self, file: AppointmentFile, now: datetime, *, by: UserId) -> "Appointment":
        return self._recorded(AppointmentChange.ATTACHMENT_ADDED, self, now, by=by, attachment=file)

    def without_attachment(self, file: AppointmentFile, now: datetime, *, by: UserId) -> "Appointment":
        return self._recorded(AppointmentChange.ATTACHMENT_REMOVED, self, now, by=by, attachment=file)

    def has_expired(self, now: datetime) -> bool:
        """Whether its hold has ended without a payment."""
        return (
            self.status is AppointmentStatus.PENDING
            and self.payment_status in UNPAID
            and self.hold_until is not None
            and self.hold_until <= now
        )

    def paid(self, now: datetime, money: Money, *, by: UserId | None = None) -> "Appointment":
        """Records the payment, which confirms a pending appointment."""
        status = AppointmentStatus.CONFIRMED if self.status is AppointmentStatus.PENDING else self.status
        after = self._changed(now, status=status, payment_status=PaymentStatus.COMPLETED, hold_until=None)
        return self._recorded(AppointmentChange.PAID, after, now, by=by, money=money)

    def payment_failed(self, now: datetime, money: Money, *, by: UserId | None = None) -> "Appointment":
        after = replace(self, payment_status=PaymentStatus.FAILED, updated_at=now)
        return self._recorded(AppointmentChange.PAYMENT_FAILED, after, now, by=by, money=money)

    def reinstated(self, now: datetime, money: Money) -> "Appointment":
        """Restores the appointment for a payment that arrived after its time was released. The time is still free."""
        after = self._changed(
            now,
            status=AppointmentStatus.CONFIRMED,
            payment_status=PaymentStatus.COMPLETED,
            cancelled_at=None,
            cancel_reason=None,
        )
        return self._recorded(AppointmentChange.REINSTATED, after, now, money=money)

    def refunded(self, now: datetime, *, by: UserId | None = None) -> "Appointment":
        after = replace(self, payment_status=PaymentStatus.REFUNDED, updated_at=now)
        return self._recorded(AppointmentChange.REFUNDED, after, now, by=by)

    def dispute_opened(self, now: datetime, money: Money, *, of_payment: DisputeStatus | None) -> "Appointment":
        """The payer disputes `money` at the bank. `of_payment`: the status of all disputes about the payment."""
        after = replace(self, dispute=of_payment, updated_at=now)
        return self._recorded(AppointmentChange.DISPUTE_OPENED, after, now, money=money)

    def dispute_won(self, now: datetime, money: Money, *, of_payment: DisputeStatus | None) -> "Appointment":
        after = replace(self, dispute=of_payment, updated_at=now)
        return self._recorded(AppointmentChange.DISPUTE_WON, after, now, money=money)

    def dispute_lost(
        self, now: datetime, money: Money, *, of_payment: DisputeStatus | None, is_returned: bool
    ) -> "Appointment":
        """`is_returned`: nothing is left of the payment, which counts as refunded."""
        payment_status = PaymentStatus.REFUNDED if is_returned else self.payment_status
        after = replace(self, dispute=of_payment, payment_status=payment_status, updated_at=now)
        return self._recorded(AppointmentChange.DISPUTE_LOST, after, now, money=money)

    def _changed(self, now: datetime, **fields: object) -> "Appointment":
        return replace(self, sequence=self.sequence + 1, updated_at=now, **fields)  # type: ignore[arg-type]

    def _recorded(self, change: AppointmentChange, after: "Appointment", now: datetime, **facts: Any) -> "Appointment":
        before, after = replace(self, events=()), replace(after, events=())
        event = AppointmentEvent(change=change, before=before, after=after, at=now, **facts)
        return replace(after, events=(*self.events, event))
