"""Who may see which coaching bookings."""

from dataclasses import dataclass
from uuid import UUID

from application.appointments.ports import CoachingPage, CoachingReader, CoachingView, HistoryEntry
from application.ports import Page, PageRequest
from domain.accounts import Role, User
from domain.appointments import CoachingId, CoachingStatus, NotForYourEyes, NotTheirsToList


@dataclass(frozen=True, slots=True)
class ShowCoaching:
    """A session, for its client, its coach and admins."""

    reader: CoachingReader

    async def __call__(self, user: User, coaching_id: CoachingId) -> CoachingView:
        view = await self.reader.get(coaching_id)
        view.require_participant(user, NotForYourEyes)
        return view

    async def history(self, user: User, coaching_id: CoachingId, page: PageRequest) -> Page[HistoryEntry]:
        """What happened to it, the oldest first."""
        await self(user, coaching_id)
        return await self.reader.history(coaching_id, page)


@dataclass(frozen=True, slots=True)
class ListCoachings:
    """The sessions that somebody has booked, or that are booked with them, for themselves and for admins; the latest
    session first."""

    reader: CoachingReader

    async def of_client(
        self, user: User, client: UUID, status: CoachingStatus | None, *, skip: int, page: PageRequest
    ) -> CoachingPage:
        _require_own(user, client)
        return await self.reader.list_of_client(client, status=status, skip=skip, page=page)

    async def of_coach(
        self, user: User, coach: UUID, status: CoachingStatus | None, *, skip: int, page: PageRequest
    ) -> CoachingPage:
        _require_own(user, coach)
        return await self.reader.list_of_coach(coach, status=status, skip=skip, page=page)


def _require_own(user: User, whose: UUID) -> None:
    if user.role is not Role.ADMIN and user.uuid != whose:
        raise NotTheirsToList
