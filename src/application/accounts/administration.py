"""Administration of accounts by operators: roles, deactivation."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from application.accounts.access import end_access
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import Role, RoleNotRequested, User
from domain.credentials import AccessEnd


@dataclass(frozen=True, slots=True)
class GrantRole:
    """Sets a user's role, as an operator. Every login of the account ends. A pending request for a role is closed."""

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, *, email: str, role: Role) -> User | None:
        async with self.open_work() as work:
            user = await _locked(work, email)
            if user is None:
                return None
            changed = await _with_role(work, user, role, self.clock.now())
            await work.commit()
        return changed


@dataclass(frozen=True, slots=True)
class ApproveFacilitator:
    """Approves an account as a facilitator, as its owner requested when registering. Every login of the account ends,
    and the owner receives a mail. Raises `RoleNotRequested`."""

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, *, email: str) -> User | None:
        """Returns None if there is no such account."""
        async with self.open_work() as work:
            user = await _locked(work, email)
            if user is None:
                return None
            if user.requested_role is None:
                raise RoleNotRequested
            changed = await _with_role(work, user, user.requested_role, self.clock.now())
            await work.messages.enqueue_facilitator_approved(user.id)
            await work.commit()
        return changed


async def _with_role(work: UnitOfWork, user: User, role: Role, now: datetime) -> User:
    changed = await end_access(work, replace(user, role=role, requested_role=None), AccessEnd.ROLE_CHANGED, now)
    if role is Role.FACILITATOR:
        await work.profiles.add(user.id, bio=None, specialization=None)
    return changed


@dataclass(frozen=True, slots=True)
class SetAccountActive:
    """Deactivates or activates an account, as an operator. Every login ends, and the secret address of the calendar
    feed is revoked.

    - The events of a deactivated facilitator are not listed, booked or paid, and their time cannot be booked.
    - Unpaid holds expire as if their payment had not arrived in time. Paid and free bookings stay.
    - Activating the account makes the events available again.
    """

    open_work: OpenUnitOfWork
    expire_holds: Sequence[Callable[[], Awaitable[int]]]
    clock: Clock

    async def __call__(self, *, email: str, active: bool) -> User | None:
        async with self.open_work() as work:
            user = await _locked(work, email)
            if user is None:
                return None
            now = self.clock.now()
            why = AccessEnd.ACTIVATED if active else AccessEnd.DEACTIVATED
            changed = await end_access(work, replace(user, is_active=active), why, now)
            await work.events.set_facilitator_active(user.id, active=active)
            if not active:
                await work.bookings.end_holds(user.id, now)
                await work.appointments.end_holds(user.id, now)
            await work.commit()
        if not active:
            for expire in self.expire_holds:
                while await expire():
                    pass
        return changed


async def _locked(work: UnitOfWork, email: str) -> User | None:
    credentials = await work.users.find_credentials(email)
    return await work.users.get_locked(credentials.user.id) if credentials else None
