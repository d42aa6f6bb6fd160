"""Bookings of seats in events."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from domain.accounts import User, UserId
from domain.authorization import require_owner
from domain.disputes import DisputeStatus
from domain.errors import Conflict, Forbidden, NotFound
from domain.events import Event, EventId
from domain.ids import BookingId
from domain.money import Money
from domain.payments import UNPAID, PaymentStatus
from domain.refunds import RefundPolicy

MAX_NOTES = 2_000


class BookingStatus(StrEnum):
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class CancelReason(StrEnum):
    """Why a booking was cancelled; all but the first are also in messages."""

    BY_PERSON = "by_person"
    BY_ORGANISER = "by_organiser"
    EVENT_CANCELLED = "event_cancelled"
    PAYMENT_EXPIRED = "payment_expired"


def shows_join_link(status: str, payment_status: str) -> bool:
    """Whether a booking in these states grants access to the link to join the event: not cancelled, and paid or
    free."""
    return status != BookingStatus.CANCELLED and payment_status not in UNPAID


class BookingNotFound(NotFound):
    code = "booking_not_found"
    message = "Booking not found"


class BookingForbidden(Forbidden):
    code = "not_your_booking"
    message = "You can only access your own bookings"


class BookingAlreadyCancelled(Conflict):
    code = "booking_already_cancelled"
    message = "Booking is already cancelled"


class BookingOver(Conflict):
    code = "booking_over"
    message = "The event has already started"


class BookingIsCancelled(Conflict):
    code = "booking_cancelled"
    message = "Booking is cancelled"


class BookingChange(StrEnum):
    """A kind of change of a booking after its seat was reserved."""

    INVITED = "invited"
    """Added for a person who has accepted an invitation."""
    CANCELLED = "cancelled"
    EVENT_CANCELLED = "event_cancelled"
    """Cancelled with its event, whose row then counts no seats."""
    COMPLETED = "completed"
    """Its event has ended."""
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    REINSTATED = "reinstated"
    REFUNDED = "refunded"
    DISPUTE_OPENED = "dispute_opened"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BookingEvent:
    """A domain event: one transition of a booking with the result `after`. `domain.booking_effects` defines its
    effects, which are written when the booking is saved. `money` goes into the messages about it."""

    change: BookingChange
    after: "Booking"
    money: Money | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """`reference` is the booking's name for people: `BK`, the year of the booking, its number (`BK2026000123`).

    `price` and `refund_policy` are those of the time of booking; later changes of the event do not affect them.
    `schedule_revision` is the event's revision at that time: it is lower than the event's after a change of time or
    location.
    """

    id: BookingId
    reference: str
    event_id: EventId
    user_id: UserId
    status: BookingStatus
    payment_status: PaymentStatus
    notes: str | None
    created_at: datetime
    cancelled_at: datetime | None
    price: Money
    refund_policy: RefundPolicy
    schedule_revision: int = 0
    cancel_reason: CancelReason | None = None
    cancelled_by: UserId | None = None
    hold_until: datetime | None = None
    dispute: DisputeStatus | None = None
    """The status of disputes about its payment."""
    events: tuple[BookingEvent, ...] = field(default=(), compare=False, repr=False)
    """The domain events that its transitions have recorded since it was loaded."""

    def require_owner(self, user: User) -> None:
        require_owner(user, self.user_id, error=BookingForbidden)

    def policy_of_cancellation(self, event: Event, by: UserId) -> RefundPolicy:
        """The booking's refund policy; a full refund if the organiser cancels, or after a change of the event's time or
        location."""
        if by != self.user_id or self.schedule_revision < event.schedule_revision:
            return RefundPolicy()
        return self.refund_policy

    def cancelled(self, now: datetime, *, event_starts_at: datetime, by: UserId) -> "Booking":
        """Cancelled by its owner, or by an admin on behalf of the organiser."""
        reason = CancelReason.BY_PERSON if by == self.user_id else CancelReason.BY_ORGANISER
        return self._ended(now, reason, event_starts_at=event_starts_at, by=by)

    def cancelled_by_organiser(self, now: datetime, *, event_starts_at: datetime, by: UserId) -> "Booking":
        """Cancelled on behalf of the organiser, also if the facilitator owns the booking."""
        return self._ended(now, CancelReason.BY_ORGANISER, event_starts_at=event_starts_at, by=by)

    def has_expired(self, now: datetime) -> bool:
        """Whether its hold has ended without a payment."""
        return (
            self.status is BookingStatus.CONFIRMED
            and self.payment_status in UNPAID
            and self.hold_until is not None
            and self.hold_until <= now
        )

    def expired(self, now: datetime) -> "Booking":
        return self._cancelled(now, CancelReason.PAYMENT_EXPIRED, by=None)

    def paid(self, money: Money) -> "Booking":
        return self._recorded(BookingChange.PAID, self._paid(), money)

    def payment_failed(self, money: Money) -> "Booking":
        """Records a failed payment attempt. The seat stays held, and another attempt may succeed."""
        return self._recorded(BookingChange.PAYMENT_FAILED, replace(self, payment_status=PaymentStatus.FAILED), money)

    def reinstated(self, money: Money) -> "Booking":
        """Restores the booking for a payment that arrived after its seat was released. A seat is free again."""
        confirmed = replace(self._paid(), status=BookingStatus.CONFIRMED)
        after = replace(confirmed, cancelled_at=None, cancel_reason=None, cancelled_by=None)
        return self._recorded(BookingChange.REINSTATED, after, money)

    def refunded(self) -> "Booking":
        return self._recorded(BookingChange.REFUNDED, replace(self, payment_status=PaymentStatus.REFUNDED))

    def dispute_opened(self, money: Money, *, of_payment: DisputeStatus | None) -> "Booking":
        """The payer disputes `money` at the bank. `of_payment`: the status of all disputes about the payment."""
        return self._recorded(BookingChange.DISPUTE_OPENED, replace(self, dispute=of_payment), money)

    def dispute_won(self, money: Money, *, of_payment: DisputeStatus | None) -> "Booking":
        return self._recorded(BookingChange.DISPUTE_WON, replace(self, dispute=of_payment), money)

    def dispute_lost(self, money: Money, *, of_payment: DisputeStatus | None, is_returned: bool) -> "Booking":
        """`is_returned`: nothing is left of the payment, which counts as refunded."""
        payment_status = PaymentStatus.REFUNDED if is_returned else self.payment_status
        after = replace(self, dispute=of_payment, payment_status=payment_status)
        return self._recorded(BookingChange.DISPUTE_LOST, after, money)

    def _paid(self) -> "Booking":
        return replace(self, payment_status=PaymentStatus.COMPLETED, hold_until=None)

    def _ended(self, now: datetime, reason: CancelReason, *, event_starts_at: datetime, by: UserId) -> "Booking":
        if self.status is BookingStatus.CANCELLED:
            raise BookingAlreadyCancelled
        if self.status is BookingStatus.COMPLETED or event_starts_at <= now:
            raise BookingOver
        return self._cancelled(now, reason, by=by)

    def _cancelled(self, now: datetime, reason: CancelReason, *, by: UserId | None) -> "Booking":
        after = replace(
            self,
            status=BookingStatus.CANCELLED,
            cancelled_at=now,
            cancel_reason=reason,
            cancelled_by=self.cancelled_by if by is None else by,
            hold_until=None,
        )
        return self._recorded(BookingChange.CANCELLED, after)

    def _recorded(self, change: BookingChange, after: "Booking", money: Money | None = None) -> "Booking":
        event = BookingEvent(change=change, after=replace(after, events=()), money=money)
        return replace(after, events=(*self.events, event))
