"""Writes outbox messages, in the transaction of the change that they are about."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from application.payments.ports.records import Refund
from domain.accounts import User, UserId
from domain.calendars import ConnectionId
from domain.change_mails import MERGED
from domain.events import EventId, VisibleDetails
from domain.ids import AppointmentId, BookingId
from domain.invitations import InvitationId
from domain.money import Money
from domain.outbox import NOT_TO_CLIENTS, Destination, MessageType, Routes, mails_facilitator
from domain.participant_messages import ParticipantMessage
from domain.payments import Payment
from domain.time import Interval
from infrastructure.postgres.appointments import messages
from infrastructure.postgres.outbox import payloads
from infrastructure.postgres.outbox.held import RELEASE_OF_ADDRESS
from infrastructure.postgres.tables import OutboxRow

# A mail that waits for further changes of the event compares with what other mails have shown.
_SHOWN = f"""
WITH shown AS (
    UPDATE change_mails SET shown = {payloads.VISIBLE_DETAILS} FROM bookings b JOIN events e ON e.id = b.event_id
    WHERE change_mails.booking_id = b.id AND ({{which}})
)"""  # noqa: S608 (composed of constants)
_THESE_BOOKINGS = "b.id = ANY(CAST(:bookings AS bigint[]))"


class PostgresMessages:
    def __init__(self, session: AsyncSession, routes: Routes, *, now: datetime, request_id: str | None) -> None:
        self._session = session
        self._routes = routes
        self._when: dict[str, Any] = {"now": now, "request_id": request_id}

    async def release_held(self, address: str) -> None:
        await self._session.execute(text(RELEASE_OF_ADDRESS), {"address": address})

    async def enqueue_for_bookings(
        self,
        message_type: MessageType,
        bookings: Sequence[BookingId],
        *,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        await self._enqueue_for_bookings(message_type, _THESE_BOOKINGS, reason=reason, money=money, bookings=bookings)

    async def enqueue_booking_refunded(self, booking_id: BookingId, *, reason: str, money: Money) -> None:
        await self.enqueue_for_bookings(MessageType.BOOKING_REFUNDED, [booking_id], reason=reason, money=money)

    async def enqueue_event_changed(
        self, bookings: Sequence[BookingId], *, before: VisibleDetails, reason: str | None, request_id: str | None
    ) -> None:
        """The mails about changes whose wait has ended."""
        about: dict[str, Any] = {"bookings": bookings, "request_id": request_id}
        await self._enqueue_for_bookings(
            MessageType.BOOKING_MOVED, _THESE_BOOKINGS, reason=reason, before=before, **about
        )

    async def enqueue_for_participants(self, event_id: EventId, message: ParticipantMessage) -> int:
        # An unpaid booking whose seat is held for a limited time is not confirmed yet.
        which = """b.event_id = :event_id AND b.status IN ('confirmed', 'completed')
            AND (b.hold_until IS NULL OR b.payment_status NOT IN ('pending', 'failed'))"""
        written = json.dumps({"subject": message.subject, "text": message.text})
        return await self._enqueue_for_bookings(
            MessageType.PARTICIPANT_MESSAGE, which, reason=None, written=written, event_id=event_id
        )

    async def enqueue_email_verification(self, user_id: UserId) -> None:
        await self._enqueue_for_account(MessageType.EMAIL_VERIFICATION, user_id)

    async def enqueue_password_reset(self, email: str) -> None:
        requested, key = MessageType.PASSWORD_RESET_REQUESTED, f"password_reset:{uuid4()}"
        await self._enqueue(Destination.EMAIL, requested, key, {"email": email})

    async def enqueue_password_changed(self, user_id: UserId) -> None:
        await self._enqueue_for_account(MessageType.PASSWORD_CHANGED, user_id)

    async def enqueue_email_change(self, user: User, *, new_email: str, request: UUID) -> None:
        about = {"request": str(request)}
        await self._enqueue_to_address(MessageType.EMAIL_CHANGE_REQUESTED, user, user.email, **about)
        await self._enqueue_to_address(MessageType.EMAIL_CHANGE_CONFIRMATION, user, new_email, **about)

    async def enqueue_email_changed(self, user: User) -> None:
        await self._enqueue_to_address(MessageType.EMAIL_CHANGED, user, user.email)

    async def enqueue_login_from_new_network(self, user: User, network: str) -> None:
        login = {"network": network, "timezone": user.timezone}
        await self._enqueue_to_address(MessageType.LOGIN_FROM_NEW_NETWORK, user, user.email, **login)

    async def enqueue_erasure_requested(self, user: User, due_at: datetime) -> None:
        about = {"due_at": due_at.isoformat(), "timezone": user.timezone}
        await self._enqueue_to_address(MessageType.ERASURE_REQUESTED, user, user.email, **about)

    async def _enqueue_to_address(self, message_type: MessageType, user: User, email: str, **about: str | None) -> None:
        """The ordering key is of this message alone: a server that rejects one address delays no mail to another."""
        person = {"id": user.id, "name": user.name, "email": email}
        key = f"{message_type}:{uuid4()}"
        await self._enqueue(Destination.EMAIL, message_type, key, {"person": person, **about})

    async def enqueue_second_factor_changed(self, user_id: UserId) -> None:
        await self._enqueue_for_account(MessageType.SECOND_FACTOR_CHANGED, user_id)

    async def enqueue_facilitator_approved(self, user_id: UserId) -> None:
        await self._enqueue_for_account(MessageType.FACILITATOR_APPROVED, user_id)

    async def _enqueue_for_account(self, message_type: MessageType, user_id: UserId) -> None:
        statement = f"""
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, 'user:' || u.id, '{message_type}',
                   jsonb_build_object('person', jsonb_build_object('id', u.id, 'name', u.name, 'email', u.email)),
                   :request_id, :now
            FROM users u, {payloads.destinations(self._routes[message_type])}
            WHERE u.id = :user_id"""  # noqa: S608 (composed of constants)
        await self._session.execute(text(statement), {**self._when, "user_id": user_id})

    async def enqueue_invitation(self, invitation_id: InvitationId) -> None:
        statement = f"""
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, 'invitation:' || i.id, '{MessageType.BOOKING_INVITATION}',
                   {payloads.event_payload()} || jsonb_build_object('invitation', jsonb_build_object(
                       'id', i.id, 'name', i.name, 'email', i.email, 'expires_at', i.expires_at)), :request_id, :now
            FROM invitations i JOIN events e ON e.id = i.event_id JOIN users f ON f.id = e.facilitator_id,
                 {payloads.destinations(self._routes[MessageType.BOOKING_INVITATION])}
            WHERE i.id = :invitation_id"""  # noqa: S608 (composed of constants)
        await self._session.execute(text(statement), {**self._when, "invitation_id": invitation_id})

    async def enqueue_for_event(self, message_type: MessageType, event_id: EventId) -> None:
        destinations = payloads.destinations(
            self._routes[message_type], facilitator=mails_facilitator(message_type, None)
        )
        statement = f"""
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, {payloads.EVENT_ORDERING_KEY} || {payloads.FOR_RECIPIENT}, '{message_type}',
                   {payloads.event_payload()} || {payloads.RECIPIENT}, :request_id, :now
            FROM events e JOIN users f ON f.id = e.facilitator_id, {destinations}
            WHERE e.id = :event_id AND {payloads.TO_RECIPIENT}"""  # noqa: S608 (composed of constants)
        await self._session.execute(text(statement), {**self._when, "event_id": event_id})

    async def enqueue_calendar_revoked(self, connection_id: ConnectionId) -> None:
        await messages.enqueue_calendar_revoked(self._session, self._routes, self._when, connection_id)

    async def enqueue_checkout_close(self, payment: Payment) -> None:
        await self._enqueue_payment_jobs(
            MessageType.CHECKOUT_ENDED, f"payment:{payment.id}", {"payment_id": payment.id}
        )

    async def enqueue_checkout_closes_of(self, event_id: EventId) -> None:
        statement = """
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT :destination, 'payment:' || p.id, :fact, jsonb_build_object('payment_id', p.id), :request_id, :now
            FROM payments p JOIN bookings b ON b.id = p.booking_id
            WHERE b.event_id = :event_id AND b.status = 'confirmed' AND p.status IN ('pending', 'failed')
              AND p.gateway_reference IS NOT NULL"""
        values = {"destination": Destination.PAYMENTS, "fact": MessageType.CHECKOUT_ENDED, "event_id": event_id}
        await self._session.execute(text(statement), {**self._when, **values})

    async def enqueue_refunds(self, refunds: Sequence[Refund]) -> None:
        if not refunds:
            return
        statement = """
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT :destination, 'payment:' || payment_id, :fact, jsonb_build_object('refund_id', id), :request_id, :now
            FROM unnest(CAST(:ids AS uuid[]), CAST(:payment_ids AS uuid[])) AS refund (id, payment_id)"""
        values = {
            "destination": Destination.PAYMENTS,
            "fact": MessageType.REFUND_REQUESTED,
            "ids": [refund.id for refund in refunds],
            "payment_ids": [refund.payment_id for refund in refunds],
        }
        await self._session.execute(text(statement), {**self._when, **values})

    async def enqueue_webhook(self, gateway: str, event_id: str) -> None:
        await self._enqueue_payment_jobs(
            MessageType.GATEWAY_EVENT, f"webhook:{gateway}:{event_id}", {"gateway": gateway, "event_id": event_id}
        )

    async def enqueue_for_appointments(
        self,
        message_type: MessageType,
        appointments: Sequence[AppointmentId],
        *,
        before: Interval | None = None,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        """Without the mails of `MERGED`, which wait for further changes."""
        merged = {Destination.EMAIL} if message_type in MERGED else set()
        await messages.enqueue_for_appointments(
            self._session,
            self._when,
            message_type,
            appointments,
            [each for each in self._routes[message_type] if each not in merged],
            before=before,
            reason=reason,
            money=money,
        )

    async def enqueue_appointment_moved(
        self, appointment_id: AppointmentId, *, before: Interval, reason: str | None, request_id: str | None
    ) -> None:
        """The mails about changes whose wait has ended."""
        await messages.enqueue_for_appointments(
            self._session,
            {**self._when, "request_id": request_id},
            MessageType.BOOKING_RESCHEDULED,
            [appointment_id],
            [Destination.EMAIL],
            before=before,
            reason=reason,
        )

    async def enqueue_appointment_refunded(self, appointment_id: AppointmentId, *, reason: str, money: Money) -> None:
        await self.enqueue_for_appointments(MessageType.BOOKING_REFUNDED, [appointment_id], reason=reason, money=money)

    async def enqueue_calendar_syncs_of(self, appointments: Sequence[AppointmentId]) -> None:
        await messages.enqueue_calendar_syncs_of(self._session, self._when, appointments)

    async def enqueue_calendar_syncs_for(self, user_id: UserId) -> None:
        await messages.enqueue_calendar_syncs_for(self._session, self._when, user_id)

    async def _enqueue_payment_jobs(
        self, message_type: MessageType, ordering_key: str, payload: dict[str, Any]
    ) -> None:
        texts = {name: str(value) for name, value in payload.items()}
        await self._enqueue(Destination.PAYMENTS, message_type, ordering_key, texts)

    async def _enqueue(
        self, destination: Destination, message_type: MessageType, ordering_key: str, payload: dict[str, Any]
    ) -> None:
        self._session.add(
            OutboxRow(
                destination=destination,
                ordering_key=ordering_key,
                message_type=message_type,
                payload=payload,
                request_id=self._when["request_id"],
                occurred_at=self._when["now"],
            )
        )
        await self._session.flush()

    async def _enqueue_for_bookings(
        self,
        message_type: MessageType,
        which: str,
        *,
        reason: str | None,
        money: Money | None = None,
        before: VisibleDetails | None = None,
        written: str | None = None,
        **values: Any,
    ) -> int:
        """Returns the number of messages, which is that of bookings for a message type with one destination."""
        payload = payloads.booking_payload(reason="CAST(:reason AS text)", money="CAST(:money AS jsonb)")
        not_mailed = {Destination.EMAIL} if message_type in NOT_TO_CLIENTS else set()
        destinations = [each for each in self._routes[message_type] if each not in not_mailed]
        facilitator = mails_facilitator(message_type, reason)
        statement = f"""
            {_SHOWN.format(which=which) if Destination.EMAIL in destinations else ""}
            INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
            SELECT d.name, {payloads.BOOKING_ORDERING_KEY} || {payloads.FOR_RECIPIENT}, '{message_type}',
                   {payload} || {payloads.RECIPIENT} || jsonb_build_object('before', CAST(:before AS jsonb))
                       || jsonb_strip_nulls(jsonb_build_object('written', CAST(:written AS jsonb))), :request_id, :now
            FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
                 JOIN users f ON f.id = e.facilitator_id, {payloads.destinations(destinations, facilitator=facilitator)}
            WHERE ({which}) AND {payloads.TO_RECIPIENT}
            ORDER BY b.id"""  # noqa: S608 (composed of constants)
        about = {"reason": reason, "money": payloads.money_json(money), "before": payloads.details_json(before)}
        parameters = {**self._when, **about, **values, "written": written}
        return cast("CursorResult[Any]", await self._session.execute(text(statement), parameters)).rowcount
