"""The use cases of appointments over adapters in memory, with those of bookings and payments."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from application.appointments.attachments import Attach, DeleteAttachment, DownloadAttachment, ListAttachments
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from application.appointments.booking import BookAppointment, BookedAppointment, ReserveTime
from application.appointments.changes import (
    CancelAppointment,
    ChangeAppointmentStatus,
    RescheduleAppointment,
    UpdateAppointmentNotes,
)
from application.appointments.hold_expiry import ExpireAppointmentHolds
from application.appointments.payment import AppointmentPayment, RecordAppointmentPayment
from application.appointments.ports import HistoryEntry
from application.appointments.queries import ListAppointments, ShowAppointment
from application.appointments.series import BookedSeries, BookSeries
from application.appointments.statistics import ShowCoachStatistics
from application.ports import PageRequest
from domain.accounts import Role, User, UserId
from domain.appointments import Appointment, AppointmentChange, AppointmentStatus
from domain.availability import MINUTES_A_DAY, Availability, Hours
from domain.calendars import ConnectionId
from domain.ids import AppointmentId, AppointmentRef
from domain.money import Money
from domain.payments import Payment
from domain.time import Interval
from infrastructure.recurrence_rules import RecurrenceRules
from tests.application.booking_application import DAY, HOLD, HOUR, BookingApplication, inr
from tests.support.memory.appointment_queries import (
    MemoryAppointmentQueries,
    MemoryAttachmentQueries,
    MemoryCoachStatistics,
)
from tests.support.memory.rows import StoredConnection, appointment_in, appointments_in, payments_of

ALL_DAY = Availability(weekly=dict.fromkeys(range(7), (Hours(0, MINUTES_A_DAY),)))
THE_DAY = datetime(2031, 3, 10, tzinfo=UTC)
"""A Monday, five days after the first moment of the tests."""


class CountedRefreshes:
    """Stands for the connected calendars: records which coach's busy times were read again."""

    def __init__(self) -> None:
        self.coaches: list[UUID] = []

    async def refresh(self, coach: UUID) -> None:
        self.coaches.append(coach)


class AppointmentApplication(BookingApplication):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.appointments = MemoryAppointmentQueries(self.store)
        self.busy_times = CountedRefreshes()
        attachments = MemoryAttachmentQueries(self.store)
        reading = (self.appointments, self.wake_ups, self.clock)
        self.reserve = ReserveTime(self.gateway, HOLD, self.clock)
        self.pay = AppointmentPayment(self.open_checkout, self.appointments)
        paid = (self.pay, *reading)
        self.book_appointment = BookAppointment(self.open_work, self.reserve, self.busy_times, *paid)
        self.book_series = BookSeries(self.open_work, self.reserve, self.busy_times, RecurrenceRules(), *paid)
        self.reschedule = RescheduleAppointment(self.open_work, self.busy_times, *reading)
        self.cancel = CancelAppointment(self.open_work, self.refunds, self.wake_ups, self.clock)
        self.change_status = ChangeAppointmentStatus(self.open_work, self.cancel, *reading)
        self.update_notes = UpdateAppointmentNotes(self.open_work, self.appointments, self.clock)
        self.record_payment = RecordAppointmentPayment(self.record_offline, self.appointments)
        self.expire_appointments = ExpireAppointmentHolds(self.open_work, *reading)
        self.show = ShowAppointment(self.appointments)
        self.list = ListAppointments(self.appointments)
        self.show_own_availability = ShowOwnAvailability(self.open_work)
        self.set_availability = SetAvailability(self.open_work, self.gateway, self.clock)
        self.show_slots = ShowSlots(self.open_work, self.busy_times, self.clock)
        self.show_statistics = ShowCoachStatistics(self.open_work, MemoryCoachStatistics(self.store), self.clock)
        self.attach = Attach(self.open_work, attachments, self.clock)
        self.list_attachments = ListAttachments(attachments, self.appointments)
        self.download_attachment = DownloadAttachment(attachments, self.appointments)
        self.delete_attachment = DeleteAttachment(self.open_work, self.clock)

    async def coach(self, *, price: Money | None = None, **terms: Any) -> User:
        """A coach who is available at any time, by default for 30 INR an hour. `terms`: fields of the availability, and
        `refund_policy`."""
        coach = await self.person(Role.FACILITATOR)
        policy = {"refund_policy": terms.pop("refund_policy")} if "refund_policy" in terms else {}
        hours = replace(ALL_DAY, **terms)
        await self.set_availability(
            coach, lambda old: replace(old, availability=hours, price_per_hour=price or inr(30), **policy)
        )
        return coach

    async def free_coach(self, **terms: Any) -> User:
        return await self.coach(price=inr(0), **terms)

    async def admin(self) -> User:
        return await self.person(Role.ADMIN)

    async def booked(
        self, coach: User | None = None, client: User | None = None, *, hour: float = 10, minutes: int = 60, **more: Any
    ) -> BookedAppointment:
        """A session that begins so many hours into `THE_DAY`."""
        coach, client = coach or await self.coach(), client or await self.person()
        notes = more.pop("notes", None)
        return await self.book_appointment(client, coach.uuid, at(hour), timedelta(minutes=minutes), notes, **more)

    async def appointment(self, coach: User | None = None, client: User | None = None, **more: Any) -> AppointmentId:
        return (await self.booked(coach, client, **more)).appointment.id

    async def paid_appointment(self, *given: Any, **more: Any) -> AppointmentId:
        appointment_id = await self.appointment(*given, **more)
        await self.receive(appointment_id)
        return appointment_id

    async def receive(self, appointment_id: AppointmentId) -> object:
        """The client pays at the gateway, whose update arrives."""
        update = self.gateway.pay(self.payment_of(appointment_id).id)
        return await self.settle(self.gateway.name, update)

    async def expired_appointment(self, *given: Any, **more: Any) -> AppointmentId:
        """A session whose time was released; its checkout is still open."""
        appointment_id = await self.appointment(*given, **more)
        self.clock.advance(HOLD)
        assert await self.expire_appointments() == 1
        return appointment_id

    async def in_status(self, status: AppointmentStatus, **terms: Any) -> AppointmentId:
        """A free session that has come to that status."""
        coach = await self.free_coach(**terms)
        appointment_id = await self.appointment(coach)
        confirmed, completed, cancelled = list(AppointmentStatus)[1:]
        steps = {confirmed: [confirmed], completed: [confirmed, completed], cancelled: [cancelled]}
        for step in steps.get(status, []):
            await self.change_status(coach, appointment_id, step)
        return appointment_id

    async def participants(self, appointment_id: AppointmentId) -> dict[str, User]:
        """Those who may change the appointment."""
        client, coach = self.client_of(appointment_id), self.coach_of(appointment_id)
        return {"client": client, "coach": coach, "admin": await self.admin()}

    async def series(self, coach: User, client: User | None = None, rule: str = "", **more: Any) -> BookedSeries:
        """By default three sessions of an hour, each a week after the one before."""
        usual: dict[str, Any] = {"timezone": None, "notes": None, "skip_conflicts": False}
        starts_at = more.pop("starts_at", at(10))
        rule = rule or "FREQ=WEEKLY;COUNT=3"
        length = more.pop("length", HOUR)
        client = client or await self.person()
        return await self.book_series(client, coach.uuid, starts_at, length, rule, **usual | more)

    def connect_calendar(self, user: User, *busy: Interval) -> None:
        connection_id = ConnectionId(UUID(int=self.store.next_id("calendar_connections")))
        row = StoredConnection(connection_id, user.id, busy=busy)
        self.store.tables.of("calendar_connections")[user.id, row.provider] = row

    def stored(self, appointment_id: AppointmentId) -> Appointment:
        return appointment_in(self.store.tables, appointment_id)

    def all_appointments(self) -> Sequence[Appointment]:
        return appointments_in(self.store.tables)

    def states(self, *appointments: AppointmentId) -> Sequence[str]:
        """Status and payment status of each."""
        found = [self.stored(each) for each in appointments]
        return [f"{each.status}, {each.payment_status}" for each in found]

    def client_of(self, appointment_id: AppointmentId) -> User:
        return self.user(self.stored(appointment_id).client_id)

    def coach_of(self, appointment_id: AppointmentId) -> User:
        return self.user(self.stored(appointment_id).coach_id)

    def payment_of(self, appointment_id: AppointmentId) -> Payment:
        """The latest payment of the appointment."""
        return payments_of(self.store.tables, AppointmentRef(appointment_id))[-1].payment

    async def history(self, appointment_id: AppointmentId) -> Sequence[HistoryEntry]:
        return (await self.appointments.history(appointment_id, PageRequest())).items

    async def changes(self, appointment_id: AppointmentId) -> Sequence[tuple[AppointmentChange, UserId | None]]:
        """Each change in the history, and the account that made it."""
        users = {user.uuid: user.id for user in self.store.tables.of("users").values()}
        return [
            (each.change, None if each.by_uuid is None else users[each.by_uuid])
            for each in await self.history(appointment_id)
        ]


def at(hour: float, *, days: int = 0) -> datetime:
    return THE_DAY + hour * HOUR + days * DAY
