"""Enqueued messages in memory."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from application.payments.ports.records import Refund
from application.ports import Clock
from domain.accounts import User, UserId
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.calendars import ConnectionId
from domain.change_mails import MERGED
from domain.events import EventId, VisibleDetails
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef, PayableRef
from domain.invitations import InvitationId
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, NOT_TO_CLIENTS, Destination, MessageType, Routes, mails_facilitator, routes_for
from domain.participant_messages import ParticipantMessage
from domain.payments import UNPAID, Payment
from domain.time import Interval
from tests.support.memory.claims import add_to_outbox, release_held
from tests.support.memory.rows import (
    StoredConnection,
    appointment_in,
    appointments_in,
    booking_in,
    bookings_of,
    change_mails_in,
    connections_in,
    event_in,
    payments_in,
    user_in,
)
from tests.support.memory.store import Transaction

_ROUTES = routes_for(ALWAYS_SERVED)


class MemoryMessages:
    """Each message is enqueued once for each destination of its type. Its payload has the facts that the caller gave,
    not the whole state of the booking."""

    def __init__(self, transaction: Transaction, clock: Clock, routes: Routes | None = None) -> None:
        self._transaction = transaction
        self._clock = clock
        self._routes = routes or _ROUTES

    def enqueue(self, message_type: MessageType, ordering_key: str, **payload: Any) -> None:
        self._enqueue(message_type, ordering_key, set(Destination), **payload)

    def _enqueue(
        self, message_type: MessageType, ordering_key: str, among: Container[Destination], **payload: Any
    ) -> None:
        for destination in self._routes[message_type]:
            if destination not in among:
                continue
            self._add(destination, message_type, ordering_key, payload)

    def _add(
        self, destination: Destination, message_type: MessageType, ordering_key: str, payload: dict[str, Any]
    ) -> None:
        add_to_outbox(
            self._transaction.store,
            self._transaction.tables,
            destination=destination,
            ordering_key=ordering_key,
            message_type=message_type,
            payload=payload,
            now=self._clock.now(),
        )

    async def release_held(self, address: str) -> None:
        release_held(self._transaction.tables, {address}, self._clock.now())

    async def enqueue_for_bookings(
        self,
        message_type: MessageType,
        bookings: Iterable[BookingId],
        *,
        reason: str | None = None,
        money: Money | None = None,
        **more: Any,
    ) -> None:
        for booking_id in sorted(bookings):
            booking = booking_in(self._transaction.tables, booking_id)
            state: dict[str, Any] = {"status": booking.status, "payment_status": booking.payment_status}
            details = event_in(self._transaction.tables, booking.event_id).details
            state |= {"dispute": booking.dispute, "reason": reason, "shows": details.visible}
            not_mailed = {Destination.EMAIL} if message_type in NOT_TO_CLIENTS else set()
            key, among = f"booking:{booking_id}", set(Destination) - not_mailed
            self._enqueue(message_type, key, among, **state, money=money, **more)
            if mails_facilitator(message_type, reason):
                self._enqueue_for_facilitator(message_type, key, booking.event_id, **state, money=money, **more)
            if Destination.EMAIL in set(self._routes[message_type]) & among:
                self._shown(BookingRef(booking_id), details.visible)

    async def enqueue_booking_refunded(self, booking_id: BookingId, *, reason: str, money: Money) -> None:
        await self.enqueue_for_bookings(MessageType.BOOKING_REFUNDED, [booking_id], reason=reason, money=money)

    def _shown(self, about: PayableRef, state: object) -> None:
        """Another mail than the waiting one shows this state."""
        rows = change_mails_in(self._transaction.tables)
        if about in rows:
            rows[about] = replace(rows[about], shown=state)

    async def enqueue_event_changed(
        self, bookings: Iterable[BookingId], *, before: VisibleDetails, reason: str | None
    ) -> None:
        await self.enqueue_for_bookings(MessageType.BOOKING_MOVED, bookings, reason=reason, before=before)

    async def enqueue_for_participants(self, event_id: EventId, message: ParticipantMessage) -> int:
        participants = [
            booking.id
            for booking in bookings_of(self._transaction.tables, event_id)
            if booking.status is not BookingStatus.CANCELLED
            and (booking.hold_until is None or booking.payment_status not in UNPAID)
        ]
        await self.enqueue_for_bookings(MessageType.PARTICIPANT_MESSAGE, participants, written=message)
        return len(participants)

    async def enqueue_email_verification(self, user_id: UserId) -> None:
        self._enqueue_for_account(MessageType.EMAIL_VERIFICATION, user_id)

    async def enqueue_password_reset(self, email: str) -> None:
        self.enqueue(MessageType.PASSWORD_RESET_REQUESTED, f"password_reset:{uuid4()}", email=email)

    async def enqueue_password_changed(self, user_id: UserId) -> None:
        self._enqueue_for_account(MessageType.PASSWORD_CHANGED, user_id)

    async def enqueue_email_change(self, user: User, *, new_email: str, request: UUID) -> None:
        for message_type, email in (
            (MessageType.EMAIL_CHANGE_REQUESTED, user.email),
            (MessageType.EMAIL_CHANGE_CONFIRMATION, new_email),
        ):
            self._enqueue_to_address(message_type, user, email, request=str(request))

    async def enqueue_email_changed(self, user: User) -> None:
        self._enqueue_to_address(MessageType.EMAIL_CHANGED, user, user.email)

    async def enqueue_login_from_new_network(self, user: User, network: str) -> None:
        login = {"network": network, "timezone": user.timezone}
        self._enqueue_to_address(MessageType.LOGIN_FROM_NEW_NETWORK, user, user.email, **login)

    async def enqueue_erasure_requested(self, user: User, due_at: datetime) -> None:
        about = {"due_at": due_at.isoformat(), "timezone": user.timezone}
        self._enqueue_to_address(MessageType.ERASURE_REQUESTED, user, user.email, **about)

    def _enqueue_to_address(self, message_type: MessageType, user: User, email: str, **about: str | None) -> None:
        person = {"id": user.id, "name": user.name, "email": email}
        self.enqueue(message_type, f"{message_type}:{uuid4()}", person=person, **about)

    async def enqueue_second_factor_changed(self, user_id: UserId) -> None:
        self._enqueue_for_account(MessageType.SECOND_FACTOR_CHANGED, user_id)

    async def enqueue_facilitator_approved(self, user_id: UserId) -> None:
        self._enqueue_for_account(MessageType.FACILITATOR_APPROVED, user_id)

    def _enqueue_for_account(self, message_type: MessageType, user_id: UserId) -> None:
        user = user_in(self._transaction.tables, user_id)
        person = {"id": user.id, "name": user.name, "email": user.email}
        self.enqueue(message_type, f"user:{user_id}", person=person)

    async def enqueue_invitation(self, invitation_id: InvitationId) -> None:
        self.enqueue(MessageType.BOOKING_INVITATION, f"invitation:{invitation_id}")

    async def enqueue_for_event(self, message_type: MessageType, event_id: EventId) -> None:
        self.enqueue(message_type, f"event:{event_id}")
        if mails_facilitator(message_type, None):
            self._enqueue_for_facilitator(message_type, f"event:{event_id}", event_id)

    def _enqueue_for_facilitator(self, message_type: MessageType, key: str, event_id: EventId, **payload: Any) -> None:
        """If mail to the address is limited: the CRM mails the others."""
        tables = self._transaction.tables
        facilitator = user_in(tables, event_in(tables, event_id).facilitator_id)
        if facilitator.id in tables.of("limited_accounts") and not facilitator.is_verified:
            self._add(Destination.EMAIL, message_type, f"{key}:facilitator", payload | {"recipient": "facilitator"})

    async def enqueue_checkout_close(self, payment: Payment) -> None:
        self.enqueue(MessageType.CHECKOUT_ENDED, f"payment:{payment.id}", payment_id=str(payment.id))

    async def enqueue_checkout_closes_of(self, event_id: EventId) -> None:
        tables = self._transaction.tables
        confirmed = {
            BookingRef(booking.id)
            for booking in bookings_of(tables, event_id)
            if booking.status is BookingStatus.CONFIRMED
        }
        for row in payments_in(tables):
            payment = row.payment
            if payment.payable in confirmed and payment.status in UNPAID and payment.order_id is not None:
                await self.enqueue_checkout_close(payment)

    async def enqueue_refunds(self, refunds: Sequence[Refund]) -> None:
        for refund in refunds:
            self.enqueue(MessageType.REFUND_REQUESTED, f"payment:{refund.payment_id}", refund_id=str(refund.id))

    async def enqueue_webhook(self, gateway: str, event_id: str) -> None:
        key = f"webhook:{gateway}:{event_id}"
        self.enqueue(MessageType.GATEWAY_EVENT, key, gateway=gateway, event_id=event_id)

    async def enqueue_for_appointments(
        self,
        message_type: MessageType,
        appointments: Iterable[AppointmentId],
        *,
        before: Interval | None = None,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        """The client and the coach get a mail each; a failed payment is mailed to the client only. Without the mails of
        `MERGED`, which wait for further changes."""
        among = set(Destination) - ({Destination.EMAIL} if message_type in MERGED else set())
        await self._enqueue_for_appointments(
            message_type, appointments, among, before=before, reason=reason, money=money
        )

    async def enqueue_appointment_moved(
        self, appointment_id: AppointmentId, *, before: Interval, reason: str | None
    ) -> None:
        moved, only = MessageType.BOOKING_RESCHEDULED, {Destination.EMAIL}
        await self._enqueue_for_appointments(moved, [appointment_id], only, before=before, reason=reason, money=None)

    async def _enqueue_for_appointments(
        self,
        message_type: MessageType,
        appointments: Iterable[AppointmentId],
        among: set[Destination],
        *,
        before: Interval | None,
        reason: str | None,
        money: Money | None,
    ) -> None:
        not_mailed = {"coach"} if message_type is MessageType.PAYMENT_FAILED else set()
        if message_type in NOT_TO_CLIENTS:
            not_mailed = {"client"}
        appointments = list(appointments)
        series = appointments if len(appointments) > 1 else None
        mailed = among & {Destination.EMAIL}
        mails = [(each, set() if each in not_mailed else mailed) for each in ("client", "coach")]
        for appointment_id in appointments:
            appointment, key = appointment_in(self._transaction.tables, appointment_id), f"coaching:{appointment_id}"
            payload: dict[str, Any] = {
                "status": appointment.status,
                "payment_status": appointment.payment_status,
                "before": before,
                "shows": appointment.session,
            }
            payload |= {"dispute": appointment.dispute, "reason": reason, "money": money}
            self._enqueue(message_type, key, among - {Destination.EMAIL}, **payload)
            if series is not None and appointment_id != series[0]:
                continue
            if appointment.series_id is not None:
                key = f"coaching_series:{appointment.series_id}"
            if series is not None:
                payload |= {"series": series}
            for recipient, destinations in mails:
                self._enqueue(message_type, f"{key}:{recipient}", destinations, **payload, recipient=recipient)
            if mailed & set(self._routes[message_type]):
                self._shown(AppointmentRef(appointment_id), appointment.session)

    async def enqueue_appointment_refunded(self, appointment_id: AppointmentId, *, reason: str, money: Money) -> None:
        refunded = MessageType.BOOKING_REFUNDED
        await self.enqueue_for_appointments(refunded, [appointment_id], reason=reason, money=money)

    async def enqueue_calendar_syncs_of(self, appointments: Sequence[AppointmentId]) -> None:
        """One job for each connected calendar of the client and the coach."""
        tables = self._transaction.tables
        for appointment_id in appointments:
            appointment = appointment_in(tables, appointment_id)
            for connection in connections_in(tables):
                if connection.is_active and connection.user_id in {appointment.client_id, appointment.coach_id}:
                    self._enqueue_calendar_sync(connection, appointment_id)

    async def enqueue_calendar_syncs_for(self, user_id: UserId) -> None:
        """Also for cancelled appointments, whose entries may exist from an earlier connection."""
        tables = self._transaction.tables
        for appointment in appointments_in(tables):
            is_ahead = appointment.session.ends_at > self._clock.now()
            if not is_ahead or appointment.status is AppointmentStatus.COMPLETED:
                continue
            for connection in connections_in(tables):
                is_own = connection.user_id in {appointment.client_id, appointment.coach_id} & {user_id}
                if connection.is_active and is_own:
                    self._enqueue_calendar_sync(connection, appointment.id)

    def _enqueue_calendar_sync(self, connection: StoredConnection, appointment_id: AppointmentId) -> None:
        key = f"calendar:{connection.id}:{appointment_id}"
        ids = {"connection_id": str(connection.id), "booking_id": str(appointment_id)}
        self.enqueue(MessageType.CALENDAR_OUTDATED, key, **ids)

    async def enqueue_calendar_revoked(self, connection_id: ConnectionId) -> None:
        (connection,) = [each for each in connections_in(self._transaction.tables) if each.id == connection_id]
        user = user_in(self._transaction.tables, connection.user_id)
        person = {"name": user.name, "email": user.email}
        key = f"calendar:{connection_id}"
        self.enqueue(MessageType.CALENDAR_REVOKED, key, person=person, provider=str(connection.provider))
