"""Requests for the erasure of an account."""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from application.accounts.access import end_access
from application.accounts.administration import AccountRef, locked_to_change, require_admin
from application.accounts.owner import ConfirmOwner
from application.accounts.sessions import Actor
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import (
    InvalidCredentials,
    LastAdmin,
    RecentSignInRequired,
    UserNotFound,
)
from domain.credentials import AccessEnd
from domain.erasure import Erasure
from domain.errors import Errors, TooManyRequests


@use_case
class RequestErasure:
    """Requests the erasure of an account, as an operator. The account is deactivated, its access ends, and its owner
    receives a mail. The worker erases it after the grace period.

    - The account cannot log in meanwhile. An operator who activates it in the grace period withdraws the request.
    - The last active admin is not erased.
    - A request for an account whose erasure is requested already changes nothing.
    """

    raises: ClassVar[Errors] = (UserNotFound, LastAdmin)

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock
    grace: timedelta = timedelta(0)

    async def __call__(self, account: AccountRef) -> Erasure:
        now = self.clock.now()
        async with self.open_work() as work:
            user, needed = await locked_to_change(work, account, by=None)
            if (present := await work.erasures.find(user.id)) is not None:
                return present
            changed = await end_access(work, replace(user, is_active=False), AccessEnd.ERASURE_REQUESTED, now)
            require_admin(changed, needed=needed)
            await work.events.set_facilitator_active(user.id, active=False)
            await work.bookings.end_holds(user.id, now)
            await work.appointments.end_holds(user.id, now)
            erasure = await work.erasures.add(user.id, now, due_at=now + self.grace)
            await work.messages.enqueue_erasure_requested(user, erasure.due_at)
            await work.commit()
        self.wake_ups.notify()
        return erasure


@use_case
class EraseOwnAccount:
    """Requests the erasure of the calling account. It is deactivated and every login ends at once; the worker erases
    it after the grace period that the operator has set, which is usually none.

    - Future bookings and appointments are cancelled by their refund policies, future events of a facilitator with full
      refunds. Everyone concerned is notified.
    - Then the personal data is deleted or replaced, in the CRM too. Payments and refunds are kept without a name.
    - The owner receives a mail.
    - The last active admin is not erased.
    """

    raises: ClassVar[Errors] = (InvalidCredentials, RecentSignInRequired, LastAdmin, TooManyRequests)

    confirm_owner: ConfirmOwner
    request: RequestErasure

    async def __call__(self, actor: Actor, *, password: str | None, address: str) -> Erasure:
        await self.confirm_owner(actor, password=password, address=address)
        return await self.request(actor.user.id)
