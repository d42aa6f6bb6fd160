"""Invitations: a facilitator adds participants by hand, and seats are held until they confirm."""

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from application.bookings.ports import InvitationQueries, InvitationTokens, ShownInvitation
from application.events.ports import EventQueries
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, Page, PageRequest, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import MAX_NAME, EmailTaken, User, check_mailable
from domain.authorization import require_organiser
from domain.errors import Conflict, Errors, TooManyRequests, Unavailable
from domain.events import (
    AlreadyBooked,
    Event,
    EventCancelled,
    EventForbidden,
    EventFull,
    EventId,
    EventNotFound,
    EventStarted,
)
from domain.external_identity import AccountDeactivated
from domain.invitations import (
    AlreadyInvited,
    HasBooking,
    Invitation,
    InvitationId,
    InvitationNotFound,
    InvitationOver,
    InvitationStatus,
    answer_until,
)
from domain.text import line

INVITATIONS_PER_SENDER = Limit("invitations-sender", times=200, per=timedelta(days=1))
INVITATIONS_PER_RECIPIENT = Limit("invitations-recipient", times=10, per=timedelta(days=1))
TRIES = 3
AT_ONCE = 100


@use_case
class InviteParticipant:
    """Adds a participant to an event of the calling facilitator by hand.

    - The seat is reserved immediately and held until the person confirms by the link in a mail, for at most 72 hours
      and at most until the start. A declined or expired invitation releases it.
    - The response and the stored data are the same whether or not an account with the address exists. The account is
      looked up, or created, when the person confirms.
    - The booking is free of charge: facilitators settle payments of such participants outside Convene.
    - A sender has 200 invitations a day, an address 10. Rejected ones do not count.
    """

    raises: ClassVar[Errors] = (
        EventNotFound,
        EventForbidden,
        AlreadyInvited,
        HasBooking,
        EventFull,
        EventCancelled,
        EventStarted,
        TooManyRequests,
    )

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock
    smtputf8: bool = False

    async def __call__(self, user: User, event_id: EventId, *, name: str, email: str) -> Invitation:
        if (made := recorded_result()) is not None:
            async with self.open_work() as work:
                return await work.invitations.get(InvitationId(UUID(made)))
        name = line("name", name, at_most=MAX_NAME)
        check_mailable(email, smtputf8=self.smtputf8)
        async with self.open_work() as work:
            (await work.events.get(event_id)).require_manager(user)
        await self.limiter.take(INVITATIONS_PER_SENDER, str(user.id))
        try:
            await self.limiter.take(INVITATIONS_PER_RECIPIENT, email)
            try:
                invitation = await self._hold(user, event_id, name, email)
            except Conflict:
                await self.limiter.give_back(INVITATIONS_PER_RECIPIENT, email)
                raise
        except (Conflict, TooManyRequests):
            await self.limiter.give_back(INVITATIONS_PER_SENDER, str(user.id))
            raise
        self.wake_ups.notify()
        return invitation

    async def _hold(self, user: User, event_id: EventId, name: str, email: str) -> Invitation:
        now = self.clock.now()
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            if await work.invitations.has_pending(event_id, email):
                raise AlreadyInvited
            if await work.invitations.has_booking(event_id, email):
                raise HasBooking
            event.refuse_booking(now, already_booked=False)
            until = answer_until(now, event.details.interval.starts_at)
            invitation = await work.invitations.add(
                event_id, name=name, email=email, by=user.id, now=now, expires_at=until
            )
            await work.events.occupy_seat(event_id)
            await work.messages.enqueue_invitation(invitation.id)
            await work.commit(made=str(invitation.id))
        return invitation


@use_case
class AnswerInvitation:
    """Shows an invitation and records the answer, by the secret in the link. An invitation is answered once.

    - Confirming turns the held seat into a booking, free of charge, of the account with the address. If there is none,
      an account without a password is created; the link has proven its address.
    - Declining releases the seat.
    """

    open_work: OpenUnitOfWork
    reader: InvitationQueries
    tokens: InvitationTokens
    wake_ups: WakeUps
    clock: Clock

    async def show(self, token: str) -> ShownInvitation:
        """Raises `InvitationNotFound`."""
        return await self.reader.show(self.tokens.read(token), self.clock.now())

    async def confirm(self, token: str) -> None:
        """Raises `InvitationNotFound`, `InvitationOver`, `AccountDeactivated`; `AlreadyBooked` if the account has
        booked the event meanwhile, and then the held seat is released."""
        invitation_id = self.tokens.read(token)
        for _ in range(TRIES):
            try:
                has_seat = await self._confirm(invitation_id)
            except EmailTaken:
                continue  # a concurrent request has created the account
            self.wake_ups.notify()
            if not has_seat:
                raise AlreadyBooked
            return
        raise Unavailable

    async def decline(self, token: str) -> None:
        """Raises `InvitationNotFound`, `InvitationOver`."""
        await decline(self.open_work, self.tokens.read(token), self.clock.now())

    async def _confirm(self, invitation_id: InvitationId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            event, invitation = await _locked(work, invitation_id)
            invitation.require_open(event, now)
            credentials = await work.users.find_credentials(invitation.email)
            if credentials is None:
                user = await work.users.add_without_password(email=invitation.email, name=invitation.name, now=now)
            else:
                user = credentials.user
            if not user.is_active:
                raise AccountDeactivated
            has_seat = not await work.bookings.has_live_booking(event.id, user.id)
            if has_seat:
                booking_id = await work.bookings.add_invited(event.id, user.id, now)
                await work.invitations.save(invitation.confirmed(now, booking_id))
            else:
                await release(work, event, invitation.withdrawn(now))
            await work.commit()
        return has_seat


@use_case
class WithdrawInvitation:
    """Withdraws a pending invitation of the calling facilitator and releases its seat."""

    raises: ClassVar[Errors] = (InvitationNotFound, EventForbidden, InvitationOver)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, user: User, invitation_id: InvitationId) -> Invitation:
        if recorded_result() is not None:
            async with self.open_work() as work:
                return await work.invitations.get(invitation_id)
        async with self.open_work() as work:
            event, invitation = await _locked(work, invitation_id)
            event.require_manager(user)
            withdrawn = invitation.withdrawn(self.clock.now())
            await release(work, event, withdrawn)
            await work.commit(made=True)
        return withdrawn


@use_case
class ListInvitations:
    """The invitations to an event with their status, newest first. For its facilitator and admins."""

    raises: ClassVar[Errors] = (EventNotFound, EventForbidden)

    events: EventQueries
    reader: InvitationQueries

    async def __call__(self, user: User, event_id: EventId, page: PageRequest) -> Page[Invitation]:
        event = await self.events.get(event_id)
        require_organiser(user, event.facilitator_id, error=EventForbidden)
        return await self.reader.list_of_event(event_id, page)


@use_case
class ExpireInvitations:
    """Expires invitations that were not answered in time, and releases their seats."""

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self) -> int:
        """Returns the number of invitations."""
        now = self.clock.now()
        async with self.open_work() as work:
            due = await work.invitations.find_expired(now, limit=AT_ONCE)
        return sum([await self._expire(invitation_id) for invitation_id in due])

    async def _expire(self, invitation_id: InvitationId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            event, invitation = await _locked(work, invitation_id)
            is_due = min(invitation.expires_at, event.details.interval.starts_at) <= now
            if invitation.status is not InvitationStatus.PENDING or not is_due:
                return False
            await release(work, event, invitation.expired(now))
            await work.commit()
        return True


async def decline(open_work: OpenUnitOfWork, invitation_id: InvitationId, now: datetime) -> None:
    """Declines a pending invitation and releases its seat. Raises `InvitationNotFound`, `InvitationOver`."""
    async with open_work() as work:
        event, invitation = await _locked(work, invitation_id)
        await release(work, event, invitation.declined(now))
        await work.commit()


async def release(work: UnitOfWork, event: Event, ended: Invitation) -> None:
    """Stores a pending invitation that ended without a booking and releases its seat. The cancellation of an event
    withdraws its invitations, so none is pending afterwards."""
    await work.invitations.save(ended)
    await work.events.release_seat(event.id)


async def _locked(work: UnitOfWork, invitation_id: InvitationId) -> tuple[Event, Invitation]:
    """The invitation and its event, both locked, the event first, as with bookings."""
    event = await work.events.get_including_deleted(await work.invitations.find_event_id(invitation_id))
    return event, await work.invitations.get(invitation_id)
