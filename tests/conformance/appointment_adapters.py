"""The adapters of appointments, and what their suites need often."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from application.appointments.ports import (
    AppointmentQueries,
    AttachmentQueries,
    CoachQueries,
    CoachStatisticsQueries,
)
from application.notifications.ports import BookedSessions, ReminderQueries
from application.outbox.ports import MessageFilter
from application.ports import PageRequest
from domain.accounts import Role, User
from domain.appointments import Appointment, AppointmentCancelReason, AppointmentStatus, NewAppointment
from domain.calendars import ConnectionId
from domain.ids import AppointmentId, AppointmentRef
from domain.outbox import Destination
from domain.payments import Payment
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.postgres.appointments.attachments import PostgresAttachmentQueries
from infrastructure.postgres.appointments.coach_queries import PostgresCoachQueries
from infrastructure.postgres.appointments.queries import PostgresAppointmentQueries
from infrastructure.postgres.appointments.statistics import PostgresCoachStatistics
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.booked_sessions import PostgresBookedSessions
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from tests.conformance.booking_adapters import (
    DAY,
    GATEWAY,
    HOLD,
    HOUR,
    NOW,
    BookingAdapters,
    in_memory,
    in_postgres,
    inr,
)
from tests.support.memory.appointment_queries import (
    MemoryAppointmentQueries,
    MemoryAttachmentQueries,
    MemoryCoachStatistics,
)
from tests.support.memory.coaches import DEFAULT_CURRENCY, MemoryCoachQueries
from tests.support.memory.reminders import MemoryReminderQueries
from tests.support.memory.rows import StoredConnection
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unverified_mail import MemoryBookedSessions

OFFSETS = (DAY, HOUR)
START = NOW + 7 * DAY
Connect = Callable[[User, Sequence[Interval]], Awaitable[None]]


@dataclass
class AppointmentAdapters(BookingAdapters):
    """`connect` adds a connected calendar with these busy times. Reminders are planned a day and an hour before."""

    appointments: AppointmentQueries
    attachments: AttachmentQueries
    coach_queries: CoachQueries
    statistics: CoachStatisticsQueries
    reminders: ReminderQueries
    sessions: BookedSessions
    connect: Connect

    async def coach(self) -> User:
        """With the profile that every facilitator has."""
        coach = await self.person(Role.FACILITATOR)
        async with self.changing() as work:
            await work.profiles.add(coach.id, bio="A bio", specialization="Careers")
        return coach

    async def wanted(self, coach: User | None = None, client: User | None = None, **changes: Any) -> NewAppointment:
        """A session of an hour. `hour`: its start after `START`; `busy`: the time around it, in hours."""
        coach, client = coach or await self.coach(), client or await self.person()
        hour: float = changes.pop("hour", 0)
        before, after = changes.pop("busy", (0, 0))
        starts_at = START + hour * HOUR
        usual: dict[str, Any] = {
            "client_id": client.id,
            "coach_id": coach.id,
            "session": Interval(starts_at, starts_at + HOUR),
            "busy": Interval(starts_at - before * HOUR, starts_at + HOUR + after * HOUR),
            "price": inr(30),
            "refund_policy": RefundPolicy.of([(24, 50)]),
            "notes": "A note",
            "hold_until": NOW + HOLD,
        }
        return NewAppointment(**usual | changes)

    async def added(self, *new: NewAppointment) -> Sequence[Appointment | None]:
        async with self.changing() as work:
            added = await work.appointments.add(new, NOW)
            priced = [each for each in added if each is not None and not each.price.is_zero]
            if priced:
                await work.payments.add_for_appointments(priced, GATEWAY, NOW)
        return added

    async def appointment(self, coach: User | None = None, client: User | None = None, **changes: Any) -> Appointment:
        [appointment] = await self.added(await self.wanted(coach, client, **changes))
        assert appointment is not None
        return appointment

    async def changed(
        self, appointment: Appointment, *transitions: Callable[[Appointment], Appointment]
    ) -> Appointment:
        """Each transition is saved on its own, in one unit of work."""
        async with self.changing() as work:
            present = await work.appointments.get(appointment.id)
            for transition in transitions:
                present = transition(present)
                await work.appointments.save(present)
        return present

    async def paid_appointment(self, *given: Any, **changes: Any) -> Appointment:
        """With a received payment."""
        appointment = await self.appointment(*given, **changes)
        async with self.changing() as work:
            payment = await work.payments.get_for(AppointmentRef(appointment.id))
            received = payment.received(order_id=f"order {payment.id}", gateway_id=f"pay {payment.id}")
            await work.payments.save(received, received_at=NOW)
        return await self.changed(appointment, lambda each: each.paid(NOW, each.price))

    async def in_status(self, status: AppointmentStatus, *given: Any, **changes: Any) -> Appointment:
        """A free session that has come to that status."""
        appointment = await self.appointment(*given, **{"price": inr(0), "hold_until": None} | changes)
        if status is AppointmentStatus.CANCELLED:
            return await self.changed(appointment, cancelled)
        steps = {
            AppointmentStatus.CONFIRMED: [confirmed],
            AppointmentStatus.COMPLETED: [confirmed, completed],
        }
        return await self.changed(appointment, *steps[status]) if status in steps else appointment

    async def stored(self, appointment_id: AppointmentId) -> Appointment:
        async with self.open_work() as work:
            return await work.appointments.get(appointment_id)

    async def payment_of(self, appointment: Appointment) -> Payment:
        async with self.open_work() as work:
            return await work.payments.get_for(AppointmentRef(appointment.id))

    async def changes(self, appointment: Appointment) -> list[str]:
        history = await self.appointments.history(appointment.id, PageRequest())
        return [each.change for each in history.items]

    async def sent(self, appointment: Appointment) -> list[tuple[str, str]]:
        """Type and destination of each message; the recipient of a mail in place of its destination."""
        key = f"coaching:{appointment.id}"
        page = await self.stored_messages.list(MessageFilter(), PageRequest(limit=100_000))
        own = [each for each in page.items if each.ordering_key.startswith(key)]
        mails = [each for each in own if each.ordering_key != key]
        assert {each.destination for each in mails} <= {Destination.EMAIL}
        found = [(each.message_type, str(each.destination)) for each in own if each not in mails]
        return sorted(found + [(each.message_type, each.ordering_key.rpartition(":")[2]) for each in mails])

    async def reminder_states(self, appointment: Appointment) -> list[tuple[str, str, float]]:
        """Person, status, and hours from `START` to the session of each reminder."""
        views = (await self.reminders.list_of(AppointmentRef(appointment.id), PageRequest())).items
        return sorted((view.user_name, view.status, (view.starts_at - START) / HOUR) for view in views)


def confirmed(appointment: Appointment) -> Appointment:
    return appointment.confirmed(NOW, by=appointment.coach_id)


def completed(appointment: Appointment) -> Appointment:
    return appointment.completed(NOW, by=appointment.coach_id)


def cancelled(appointment: Appointment) -> Appointment:
    return appointment.cancelled(NOW, AppointmentCancelReason.BY_PERSON, by=appointment.client_id)


def expired(appointment: Appointment) -> Appointment:
    return appointment.cancelled(NOW, AppointmentCancelReason.PAYMENT_EXPIRED, by=None)


def moved(hours: float) -> Callable[[Appointment], Appointment]:
    """By the client, without buffers."""

    def move(appointment: Appointment) -> Appointment:
        starts_at = START + timedelta(hours=hours)
        session = Interval(starts_at, starts_at + HOUR)
        return appointment.rescheduled_by_client(session, session, NOW, by=appointment.client_id)

    return move


def appointments_in_memory(
    clock: SettableClock | None = None, *, change_mail_window: timedelta = timedelta(0), store: Store | None = None
) -> AppointmentAdapters:
    store, numbers = store or Store(), count(1)

    async def connect(user: User, busy: Sequence[Interval]) -> None:
        row = StoredConnection(ConnectionId(UUID(int=next(numbers))), user.id, busy=tuple(busy))
        store.tables.of("calendar_connections")[row.id] = row

    return AppointmentAdapters(
        **vars(in_memory(store, clock, reminder_offsets=OFFSETS, change_mail_window=change_mail_window)),
        appointments=MemoryAppointmentQueries(store),
        attachments=MemoryAttachmentQueries(store),
        coach_queries=MemoryCoachQueries(store),
        statistics=MemoryCoachStatistics(store),
        reminders=MemoryReminderQueries(store),
        sessions=MemoryBookedSessions(store),
        connect=connect,
    )


def appointments_in_postgres(
    database: Database, clock: SettableClock | None = None, *, change_mail_window: timedelta = timedelta(0)
) -> AppointmentAdapters:
    async def connect(user: User, busy: Sequence[Interval]) -> None:
        async with database.connection() as connection:
            number = await connection.fetchval(
                """INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
                   VALUES ($1, 'google', 'active', '', now(), now()) RETURNING id""",
                user.id,
            )
            rows = [(number, each.starts_at, each.ends_at) for each in busy]
            await connection.executemany("INSERT INTO calendar_busy VALUES ($1, $2, $3)", rows)

    return AppointmentAdapters(
        **vars(in_postgres(database, clock, reminder_offsets=OFFSETS, change_mail_window=change_mail_window)),
        appointments=PostgresAppointmentQueries(database),
        attachments=PostgresAttachmentQueries(database),
        coach_queries=PostgresCoachQueries(database, DEFAULT_CURRENCY),
        statistics=PostgresCoachStatistics(database),
        reminders=PostgresReminderQueries(database),
        sessions=PostgresBookedSessions(database),
        connect=connect,
    )


def of_kind(request: pytest.FixtureRequest) -> AppointmentAdapters:
    """For a fixture with the parameters `memory` and `postgres`."""
    if request.param == "memory":
        return appointments_in_memory()
    return appointments_in_postgres(request.getfixturevalue("postgres_database"))
