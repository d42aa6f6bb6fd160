"""Queries about appointments, with their authorisation."""

from typing import ClassVar
from uuid import UUID

from application.appointments.ports import AppointmentPage, AppointmentQueries, AppointmentView, HistoryEntry
from application.ports import Page, PageRequest
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import (
    AppointmentListForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    AppointmentViewForbidden,
)
from domain.authorization import require_owner
from domain.errors import Errors
from domain.ids import AppointmentId


@use_case
class ShowAppointment:
    """One session. For its client, its coach and admins."""

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentViewForbidden)

    reader: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId) -> AppointmentView:
        view = await self.reader.get(appointment_id)
        view.require_participant(user, AppointmentViewForbidden)
        return view

    async def history(self, user: User, appointment_id: AppointmentId, page: PageRequest) -> Page[HistoryEntry]:
        """Its history, oldest change first."""
        await self(user, appointment_id)
        return await self.reader.history(appointment_id, page)


@use_case
class ListAppointments:
    """Appointments of a client or a coach, for that account and for admins; the latest
    session first."""

    raises: ClassVar[Errors] = (AppointmentListForbidden,)

    reader: AppointmentQueries

    async def of_client(
        self, user: User, client: UUID, status: AppointmentStatus | None, *, skip: int, page: PageRequest
    ) -> AppointmentPage:
        require_owner(user, client, error=AppointmentListForbidden)
        return await self.reader.list_of_client(client, status=status, skip=skip, page=page)

    async def of_coach(
        self, user: User, coach: UUID, status: AppointmentStatus | None, *, skip: int, page: PageRequest
    ) -> AppointmentPage:
        require_owner(user, coach, error=AppointmentListForbidden)
        return await self.reader.list_of_coach(coach, status=status, skip=skip, page=page)
