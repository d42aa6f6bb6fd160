"""Rows of the tables in memory: entities, and what the database stores beside them. Rows are replaced, not changed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from application.payments.ports.records import Refund, StoredUpdate
from domain.accounts import User, UserId
from domain.appointments import Appointment
from domain.bookings import Booking
from domain.calendars import ConnectionId, ConnectionStatus, Provider
from domain.disputes import Dispute
from domain.events import Event, EventId
from domain.ids import AppointmentId, BookingId, BookingRef, PayableRef
from domain.outbox import MessageId
from domain.payments import GatewayUpdate, Payment, PaymentId
from domain.reminders import ReminderId, ReminderStatus, SkipReason
from domain.time import Interval
from tests.support.memory.claims import OutboxRow
from tests.support.memory.store import Tables

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class ConstraintViolated(AssertionError):
    """A violated constraint without an error of its own in `infrastructure.postgres.constraints`: a programming error,
    an IntegrityError on PostgreSQL."""


@dataclass(frozen=True, slots=True)
class StoredPayment:
    payment: Payment
    created_at: datetime
    received_at: datetime | None = None
    checkout_url: str | None = None
    return_url: str | None = None
    looked_up_at: datetime | None = None
    look_ups: int = 0


@dataclass(frozen=True, slots=True)
class StoredRefund:
    refund: Refund
    requested_at: datetime
    requested_by: UserId | None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredDispute:
    payment_id: PaymentId
    dispute: Dispute
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    report: StoredUpdate | None
    received_at: datetime
    outcome: str | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredMismatch:
    gateway: str
    order_id: str
    why: str
    payment_id: PaymentId | None
    report: GatewayUpdate


@dataclass(frozen=True, slots=True)
class StoredReminder:
    about: PayableRef
    user_id: UserId
    before: timedelta
    starts_at: datetime
    id: ReminderId
    status: ReminderStatus = ReminderStatus.PLANNED
    reason: SkipReason | None = None
    settled_at: datetime | None = None
    message_id: MessageId | None = None

    @property
    def due_at(self) -> datetime:
        return self.starts_at - self.before


@dataclass(frozen=True, slots=True)
class StoredChangeMail:
    """A mail about changes that waits. Its row has the booking or the appointment as key. States are `VisibleDetails`
    of an event or the `Interval` of an appointment."""

    before: Any
    reason: str | None
    since: datetime
    due_at: datetime
    shown: Any = None


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """A connected calendar, with the busy times that were read from it. Its row has the account and the provider as
    key."""

    id: ConnectionId
    user_id: UserId
    provider: Provider = Provider.GOOGLE
    status: ConnectionStatus = ConnectionStatus.ACTIVE
    access_token: str = "access"
    refresh_token: str = "refresh"
    expires_at: datetime = LONG_AGO
    refreshing_until: datetime | None = None
    connected_at: datetime = LONG_AGO
    busy_read_at: datetime | None = None
    busy_due_at: datetime = LONG_AGO
    last_error: str | None = None
    busy: tuple[Interval, ...] = ()
    can_be_decrypted: bool = True

    @property
    def is_active(self) -> bool:
        return self.status is ConnectionStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """The entry of an appointment in a connected calendar. Its row has the connection and the appointment as key."""

    entry_id: str
    session: Interval
    link: str | None
    sequence: int


def user_in(tables: Tables, user_id: UserId) -> User:
    """Raises `ConstraintViolated` for a reference to an unknown account."""
    user: User | None = tables.of("users").get(user_id)
    if user is None:
        raise ConstraintViolated(f"there is no user {user_id}")
    return user


def change_mails_in(tables: Tables) -> dict[PayableRef, StoredChangeMail]:
    return tables.of("change_mails")


def event_in(tables: Tables, event_id: EventId) -> Event:
    """With `facilitator_active` as the row and the account have it."""
    event: Event = tables.of("events")[event_id]
    return event


def booking_in(tables: Tables, booking_id: BookingId) -> Booking:
    booking: Booking = tables.of("bookings")[booking_id]
    return booking


def appointment_in(tables: Tables, appointment_id: AppointmentId) -> Appointment:
    appointment: Appointment = tables.of("appointments")[appointment_id]
    return appointment


def appointments_in(tables: Tables) -> list[Appointment]:
    return list(tables.of("appointments").values())


def connections_in(tables: Tables) -> list[StoredConnection]:
    return list(tables.of("calendar_connections").values())


def events_in(tables: Tables) -> list[Event]:
    return list(tables.of("events").values())


def bookings_in(tables: Tables) -> list[Booking]:
    return list(tables.of("bookings").values())


def bookings_of(tables: Tables, event_id: EventId) -> list[Booking]:
    return [booking for booking in bookings_in(tables) if booking.event_id == event_id]


def payments_in(tables: Tables) -> list[StoredPayment]:
    """In the order of their ids."""
    return list(tables.of("payments").values())


def payments_of(tables: Tables, payable: PayableRef) -> list[StoredPayment]:
    """The latest is the last."""
    return [row for row in payments_in(tables) if row.payment.payable == payable]


def event_of_booking(tables: Tables, payable: BookingRef) -> Event:
    return event_in(tables, booking_in(tables, payable.id).event_id)


def refunds_in(tables: Tables) -> list[StoredRefund]:
    return list(tables.of("refunds").values())


def messages_in(tables: Tables) -> list[OutboxRow]:
    """In the order in which they were enqueued."""
    return list(tables.of("outbox").values())
