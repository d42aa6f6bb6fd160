"""Queries about appointments in memory, about committed rows."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from application.appointments.ports import (
    AppointmentPage,
    AppointmentView,
    AttachmentView,
    CoachStatistics,
    CoachWeek,
    HistoryEntry,
    StoredFile,
)
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.appointments import Appointment, AppointmentNotFound, AppointmentStatus
from domain.attachments import AttachmentId
from domain.ids import AppointmentId, AppointmentRef
from domain.payments import PaymentStatus
from domain.time import Interval
from domain.weeks import Week, weeks_of
from infrastructure.postgres.pages import cursor_of, id_after, moment_and_uuid_after
from tests.support.memory.appointments import StoredAttachment, attachments_of, find_attachment
from tests.support.memory.rows import appointment_in, appointments_in, payments_in, payments_of, user_in
from tests.support.memory.store import Store


class MemoryAppointmentQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, appointment_id: AppointmentId) -> AppointmentView:
        if appointment_id not in self._store.tables.of("appointments"):
            raise AppointmentNotFound
        return self._view(appointment_in(self._store.tables, appointment_id))

    async def list(self, appointments: Sequence[AppointmentId]) -> Sequence[AppointmentView]:
        found = [each for each in appointments_in(self._store.tables) if each.id in appointments]
        return [self._view(each) for each in sorted(found, key=_key)]

    async def list_of_client(
        self, client: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        return self._page(lambda each: each.client_id, client, status, skip, page)

    async def list_of_coach(
        self, coach: UUID, *, status: AppointmentStatus | None, skip: int, page: PageRequest
    ) -> AppointmentPage:
        return self._page(lambda each: each.coach_id, coach, status, skip, page)

    def _page(
        self,
        person: Callable[[Appointment], UserId],
        uuid: UUID,
        status: AppointmentStatus | None,
        skip: int,
        page: PageRequest,
    ) -> AppointmentPage:
        tables = self._store.tables
        starts_at, last_id = moment_and_uuid_after(page.after)
        own = [
            each
            for each in sorted(appointments_in(tables), key=_key, reverse=True)
            if user_in(tables, person(each)).uuid == uuid and status in {None, each.status}
        ]
        rest = [each for each in own if starts_at is None or _key(each) < (starts_at, last_id)][skip:]
        shown = rest[: page.limit]
        following = cursor_of(*_key(shown[-1])) if len(rest) > len(shown) else None
        return AppointmentPage([self._view(each) for each in shown], len(own), following)

    async def history(self, appointment_id: AppointmentId, page: PageRequest) -> Page[HistoryEntry]:
        tables, after = self._store.tables, id_after(page.after) or 0
        rows = [
            (number, row)
            for number, row in tables.of("appointment_changes").items()
            if row.appointment_id == appointment_id and number > after
        ]
        entries = []
        for _, row in rows[: page.limit]:
            by = None if row.by is None else user_in(tables, row.by)
            name, uuid = (None, None) if by is None else (by.name, by.uuid)
            entries.append(HistoryEntry(row.change, row.at, uuid, name, row.before, row.after))
        return Page(entries, cursor_of(rows[page.limit - 1][0]) if len(rows) > page.limit else None)

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[AppointmentId]:
        due = [
            (each.hold_until, each.id)
            for each in appointments_in(self._store.tables)
            if each.hold_until is not None and each.has_expired(now)
        ]
        return [appointment_id for _, appointment_id in sorted(due)][:limit]

    def _view(self, appointment: Appointment) -> AppointmentView:
        tables = self._store.tables
        client, coach = user_in(tables, appointment.client_id), user_in(tables, appointment.coach_id)
        received = [
            (row.received_at, row.payment.id)
            for row in payments_of(tables, AppointmentRef(appointment.id))
            if row.payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED} and row.received_at is not None
        ]
        return AppointmentView(
            id=appointment.id,
            client_uuid=client.uuid,
            client_name=client.name,
            client_email=client.email,
            coach_uuid=coach.uuid,
            coach_name=coach.name,
            coach_email=coach.email,
            client_id=client.id,
            coach_id=coach.id,
            session=appointment.session,
            status=appointment.status,
            payment_status=appointment.payment_status,
            payment_id=max(received)[1] if received else None,
            price=appointment.price,
            notes=appointment.notes,
            meeting_link=appointment.meeting_link,
            series_id=appointment.series_id,
            sequence=appointment.sequence,
            hold_until=appointment.hold_until,
            created_at=appointment.created_at,
            updated_at=appointment.updated_at,
            dispute=appointment.dispute,
        )


def _key(appointment: Appointment) -> tuple[datetime, UUID]:
    return appointment.session.starts_at, appointment.id


class MemoryAttachmentQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, booking: AppointmentId, attachment: AttachmentId) -> AttachmentView:
        return self._view(find_attachment(self._store.tables, booking, attachment))

    async def content(self, booking: AppointmentId, attachment: AttachmentId) -> StoredFile:
        row = find_attachment(self._store.tables, booking, attachment)
        return StoredFile(row.attachment.filename, row.attachment.media_type, row.content)

    async def list(self, booking: AppointmentId) -> Sequence[AttachmentView]:
        return [self._view(row) for row in attachments_of(self._store.tables, booking)]

    def _view(self, row: StoredAttachment) -> AttachmentView:
        uploader = user_in(self._store.tables, row.attachment.uploaded_by)
        return AttachmentView(row.attachment, uploader.uuid, uploader.name)


class MemoryCoachStatistics:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def statistics(self, coach: UserId, window: Interval, zone: ZoneInfo) -> CoachStatistics:
        own = {
            each.id: each
            for each in appointments_in(self._store.tables)
            if each.coach_id == coach and window.starts_at <= each.session.starts_at < window.ends_at
        }
        revenue: dict[str, Decimal] = {}
        for row in payments_in(self._store.tables):
            payment = row.payment
            if payment.payable in {AppointmentRef(each) for each in own} and row.received_at is not None:
                currency, left = payment.price.currency, payment.price.amount - payment.refunded.amount
                revenue[currency] = revenue.get(currency, Decimal(0)) + left
        weeks = weeks_of(window, zone)
        return CoachStatistics(
            weeks=[_week(week, [each for each in own.values() if week == _week_of(each, zone)]) for week in weeks],
            clients=len({each.client_id for each in own.values() if each.status is not AppointmentStatus.CANCELLED}),
            revenue=dict(sorted(revenue.items())),
        )


def _week_of(appointment: Appointment, zone: ZoneInfo) -> Week:
    return Week.of(appointment.session.starts_at, zone)


def _week(week: Week, sessions: Sequence[Appointment]) -> CoachWeek:
    booked = [each for each in sessions if each.status is not AppointmentStatus.CANCELLED]
    return CoachWeek(
        begins_on=week.begins_on,
        bookings=len(booked),
        booked=sum((each.session.ends_at - each.session.starts_at for each in booked), timedelta(0)),
        completed=sum(each.status is AppointmentStatus.COMPLETED for each in booked),
        cancelled=len(sessions) - len(booked),
    )
