"""Administration of accounts by operators and admins: roles, deactivation."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeAlias

from application.accounts.access import end_access
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import LastAdmin, OwnAccountProtected, Role, RoleNotRequested, User, UserId, UserNotFound
from domain.authorization import is_admin
from domain.credentials import AccessEnd
from domain.erasure import ErasureInProgress
from domain.errors import Errors

AccountRef: TypeAlias = UserId | str
"""An account by its id or by its normalised e-mail address."""


@use_case
class GrantRole:
    """Sets a user's role. Every login of the account ends, and a pending request for a role is closed. The last active
    admin keeps the role, and admins do not change their own."""

    raises: ClassVar[Errors] = (UserNotFound, OwnAccountProtected, LastAdmin)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, account: AccountRef, *, role: Role, by: User | None = None) -> User:
        """`by` is None for an operator."""
        async with self.open_work() as work:
            user, needed = await locked_to_change(work, account, by)
            changed = await _with_role(work, user, role, self.clock.now())
            require_admin(changed, needed=needed)
            await work.commit()
        return changed


@use_case
class ApproveFacilitator:
    """Approves an account as a facilitator, as its owner requested when registering. Every login of the account ends,
    and the owner receives a mail."""

    raises: ClassVar[Errors] = (UserNotFound, RoleNotRequested)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, account: AccountRef) -> User:
        async with self.open_work() as work:
            user = await _locked(work, account)
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


@use_case
class SetAccountActive:
    """Deactivates or activates an account. Every login ends, and the secret address of the calendar feed is revoked.

    - The events of a deactivated facilitator are not listed, booked or paid, and their time cannot be booked.
    - Unpaid holds expire as if their payment had not arrived in time. Paid and free bookings stay.
    - Activating the account makes the events available again, and withdraws a requested erasure that is not due yet.
    - The last active admin is not deactivated, and admins do not deactivate themselves.
    """

    raises: ClassVar[Errors] = (UserNotFound, OwnAccountProtected, ErasureInProgress, LastAdmin)

    open_work: OpenUnitOfWork
    expire_holds: Sequence[Callable[[], Awaitable[int]]]
    clock: Clock

    async def __call__(self, account: AccountRef, *, active: bool, by: User | None = None) -> User:
        """`by` is None for an operator."""
        async with self.open_work() as work:
            user, needed = await locked_to_change(work, account, by)
            now = self.clock.now()
            if active and (erasure := await work.erasures.find(user.id)) is not None:
                erasure.require_withdrawable(now)
                await work.erasures.withdraw(user.id)
            why = AccessEnd.ACTIVATED if active else AccessEnd.DEACTIVATED
            changed = await end_access(work, replace(user, is_active=active), why, now)
            require_admin(changed, needed=needed)
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


@use_case
class ResetSecondFactors:
    """Removes the second factors and the recovery codes of an account whose owner has lost them, as an operator. Every
    login and API key ends, and the owner receives a mail."""

    raises: ClassVar[Errors] = (UserNotFound,)

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, account: AccountRef) -> User:
        async with self.open_work() as work:
            user = await _locked(work, account)
            changed = await end_access(work, user, AccessEnd.SECOND_FACTORS_RESET, self.clock.now())
            await work.messages.enqueue_second_factor_changed(user.id)
            await work.commit()
        self.wake_ups.notify()
        return changed


async def locked_to_change(work: UnitOfWork, account: AccountRef, by: User | None) -> tuple[User, bool]:
    """The account, and whether it is the last active admin. Locks the admins first, so that of two concurrent changes
    one finds the last admin. Raises `UserNotFound`, `OwnAccountProtected`."""
    admins = await work.users.lock_active(Role.ADMIN)
    user = await _locked(work, account)
    if by is not None and by.id == user.id:
        raise OwnAccountProtected
    return user, set(admins) == {user.id}


def require_admin(changed: User, *, needed: bool) -> None:
    """Raises `LastAdmin`."""
    if needed and not (changed.is_active and is_admin(changed)):
        raise LastAdmin


async def _locked(work: UnitOfWork, account: AccountRef) -> User:
    """Raises `UserNotFound`."""
    if not isinstance(account, str):
        return await work.users.get_locked(account)
    credentials = await work.users.find_credentials(account)
    if credentials is None:
        raise UserNotFound
    return await work.users.get_locked(credentials.user.id)
