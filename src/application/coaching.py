"""Coaching: reserving a coach's time, moving it, giving it back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from application.coaching_payments import CoachingPayment
from application.ports.coaching import BusyTimes, CoachingReader, CoachingView
from application.ports.idempotency import made_before
from application.ports.ledger import Refund
from application.ports.messaging import WakeUps
from application.ports.payments import PaymentGateway
from application.ports.persistence import OpenUnitOfWork, UnitOfWork
from application.ports.system import Clock
from application.purchases import expire_coaching_hold
from application.refunds import Refunds
from domain.availability import SlotUnavailable
from domain.bookings import MAX_NOTES
from domain.coaching import (
    Change,
    Coach,
    Coaching,
    CoachingCancelReason,
    CoachingId,
    CoachingStatus,
    NewCoaching,
    NotYoursToChange,
    OnlyClientsBook,
    OnlyCoachDecides,
    SeriesId,
    session,
)
from domain.errors import Invalid
from domain.holds import DEFAULT_LIMITS, HoldLimits
from domain.messages import Fact
from domain.payments import UNPAID, hold_end
from domain.texts import prose
from domain.times import Interval
from domain.users import Role, User


@dataclass(frozen=True, slots=True)
class BookedCoaching:
    coaching: CoachingView
    payment_url: str | None


@dataclass(frozen=True, slots=True)
class ReserveTime:
    """Takes a coach's time inside a unit of work, as pending.

    - Whether the time is in the coach's hours is asked of the domain; whether it is free is decided by the database.
    - What costs something is held for its payment, where it is paid at a gateway, and never beyond its start.
    - The booking, its payment, its history and what it owes are written together.
    """

    gateway: PaymentGateway
    hold_for: timedelta
    clock: Clock
    hold_limits: HoldLimits = DEFAULT_LIMITS

    async def require_hold(
        self, work: UnitOfWork, coach: Coach, client: User, length: timedelta, *, series: bool = False
    ) -> None:
        """Before sessions of that length are reserved, once for all of a series. Raises `TooManyUnpaidHolds`."""
        if self.gateway.holds_places and not coach.price_of(length).is_zero:
            in_all, with_coach = await work.coachings.count_unpaid_holds(client.id, coach.user.id)
            self.hold_limits.require_another(in_all, with_coach, series=series)

    async def __call__(
        self,
        work: UnitOfWork,
        coach: Coach,
        client: User,
        wanted: Interval,
        busy: Sequence[Interval],
        notes: str | None,
        *,
        series_id: SeriesId | None = None,
    ) -> Coaching:
        """`busy` is what the coach does around then. Raises `SlotUnavailable`."""
        now = self.clock.now()
        coach.availability.refuse(wanted, busy, now)
        price = coach.price_of(wanted.ends_at - wanted.starts_at)
        held = self.gateway.holds_places and not price.is_zero
        new = NewCoaching(
            client_id=client.id,
            coach_id=coach.user.id,
            session=wanted,
            busy=coach.availability.with_buffers(wanted),
            price=price,
            refund_policy=coach.refund_policy,
            notes=notes,
            hold_until=hold_end(now, self.hold_for, starts_at=wanted.starts_at) if held else None,
            series_id=series_id,
        )
        coaching = await work.coachings.add(new, now)
        if coaching is None:
            raise SlotUnavailable
        if not price.is_zero:
            await work.coachings.ask_payment(coaching, self.gateway.name, now)
        await work.coachings.record(coaching, Change.CREATED, by=client.id, before=None, now=now)
        await work.messages.owe_for_coaching(Fact.BOOKING_CREATED, coaching.id)
        await work.messages.owe_calendars_of(coaching.id)
        await work.reminders.align_coaching(coaching.id)
        return coaching


@dataclass(frozen=True, slots=True)
class BookCoaching:
    """Reserves a coach's time for a client, as pending.

    - The session begins in the future, takes 15 to 480 minutes, and lies in hours the coach offers.
    - A coach is never booked twice, however requests race; their events and connected calendars keep them busy, too.
    - A free session waits for the coach to confirm it, any other for its payment; unpaid time is held for a while.
    - One client holds only so many unpaid bookings at a time, and fewer with one coach.
    - The booking and what it owes to the CRM, by mail and to calendars are written together or not at all.
    """

    open_work: OpenUnitOfWork
    reserve: ReserveTime
    busy_times: BusyTimes
    payment: CoachingPayment
    reader: CoachingReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(
        self,
        client: User,
        coach_uuid: UUID,
        starts_at: datetime,
        length: timedelta,
        notes: str | None,
        *,
        return_url: str | None = None,
    ) -> BookedCoaching:
        """`return_url`: where the client goes after the checkout, an allowed address."""
        self.payment.require_allowed(return_url)
        if (made := made_before()) is not None:
            return await self._show(CoachingId(UUID(made)), return_url)
        wanted = upcoming(client, starts_at, length, self.clock.now())
        notes = prose("notes", notes, at_most=MAX_NOTES) if notes is not None else None
        await self.busy_times.refresh(coach_uuid)
        async with self.open_work() as work:
            coach = await work.coaches.get_to_book(coach_uuid)
            coach.require_bookable()
            await work.coaches.keep_events_out(coach.user.id)
            busy = await work.coaches.busy(coach.user.id, coach.availability.with_buffers(wanted))
            await self.reserve.require_hold(work, coach, client, length)
            coaching = await self.reserve(work, coach, client, wanted, busy, notes)
            await work.commit(made=str(coaching.id))
        self.wake_ups.nudge()
        return await self._show(coaching.id, return_url)

    async def _show(self, coaching_id: CoachingId, return_url: str | None) -> BookedCoaching:
        coaching = await self.reader.get(coaching_id)
        [payment_url] = await self.payment.open([coaching], return_url=return_url)
        return BookedCoaching(coaching, payment_url)


def upcoming(client: User, starts_at: datetime, length: timedelta, now: datetime) -> Interval:
    """The session a client asks for. Raises `OnlyClientsBook`, and `Invalid` for a nonsensical or a past one."""
    if client.role is not Role.USER:
        raise OnlyClientsBook
    wanted = session(starts_at, length)
    if wanted.starts_at <= now:
        raise Invalid({"session_datetime": "Session must be scheduled in the future"})
    return wanted


@dataclass(frozen=True, slots=True)
class MoveCoaching:
    """Moves a session to another time, keeping its status and its payment.

    - The client moves it, before it has begun, into hours that the coach offers; the coach and admins anywhere that is
      free.
    - The length of a session that costs something stays, and a client's move brings back nothing that a cancellation
      would not give back any more. After a move by the coach or an admin the client may cancel for a full refund.
    - Both people, the CRM and connected calendars hear of it. Moved to where it is, nothing happens.
    """

    open_work: OpenUnitOfWork
    busy_times: BusyTimes
    reader: CoachingReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(
        self, user: User, coaching_id: CoachingId, starts_at: datetime, length: timedelta | None
    ) -> CoachingView:
        view = await self.reader.get(coaching_id)
        view.require_participant(user, NotYoursToChange)
        if made_before() is not None:
            return view
        await self.busy_times.refresh(view.coach_uuid)
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            wanted = session(starts_at, length or before.session.ends_at - before.session.starts_at)
            if wanted.starts_at <= now:
                raise Invalid({"session_datetime": "Session must be scheduled in the future"})
            if before.is_live and wanted == before.session:
                return await self.reader.get(coaching_id)
            coach = await work.coaches.get_by_id(before.coach_id)
            blocked = coach.availability.with_buffers(wanted)
            move = before.moved_by_coach if before.is_run_by(user) else before.moved_by_client
            moved = move(wanted, blocked, now)
            await work.coaches.keep_events_out(before.coach_id)
            busy = await work.coaches.busy(before.coach_id, blocked, apart_from=coaching_id)
            if not before.is_run_by(user):
                coach.require_bookable()
                coach.availability.refuse(wanted, busy, now)
            elif busy:
                raise SlotUnavailable
            await work.coachings.save_time(moved)
            await work.coachings.record(moved, Change.RESCHEDULED, by=user.id, before=before, now=now)
            reason = CoachingCancelReason.BY_COACH if before.is_run_by(user) else None
            await work.messages.owe_for_coaching(
                Fact.BOOKING_RESCHEDULED, coaching_id, before=before.session, reason=reason
            )
            await work.messages.owe_calendars_of(coaching_id)
            await work.reminders.align_coaching(coaching_id)
            await work.commit(made=str(coaching_id))
        self.wake_ups.nudge()
        return await self.reader.get(coaching_id)


@dataclass(frozen=True, slots=True)
class CancelCoaching:
    """Gives up a session that is pending or confirmed; the time is free for the next client at once.

    - The client gets back what the coach's refund policy says, everything when the coach or an admin cancels.
    - A checkout that is still open is closed.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, coaching_id: CoachingId) -> None:
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            before.require_participant(user)
            await self.within(work, before, user)
            await work.commit()
        self.wake_ups.nudge()

    async def within(self, work: UnitOfWork, before: Coaching, user: User) -> Refund | None:
        now = self.clock.now()
        reason = before.reason_of_cancellation(user)
        cancelled = before.cancelled(now, reason)
        refund = None
        payment = await work.payments.find_of_booking(before.id)
        if payment is not None:
            back = payment.refundable
            if reason is CoachingCancelReason.BY_PERSON:
                back = before.refund_policy.refund_of(back, now=now, starts_at=before.session.starts_at)
            if not back.is_zero:
                refund = await self.refunds.promise(work, payment, back, reason=Fact.BOOKING_CANCELLED, by=user.id)
                cancelled = cancelled.refunded(now)
            elif payment.order_id is not None and payment.status in UNPAID:
                await work.messages.owe_checkout_end(payment)
        await work.coachings.save(cancelled)
        await work.coachings.record(cancelled, Change.CANCELLED, by=user.id, before=before, now=now)
        await work.messages.owe_for_coaching(Fact.BOOKING_CANCELLED, before.id, reason=reason)
        await work.messages.owe_calendars_of(before.id)
        await work.reminders.align_coaching(before.id)
        return refund


@dataclass(frozen=True, slots=True)
class ChangeCoachingStatus:
    """Confirms, completes or cancels a session: from pending to confirmed or cancelled, from confirmed to completed or
    cancelled, and never else.

    - The coach confirms and completes; so do admins. The client may only cancel.
    - What is to be paid at a gateway is confirmed by its payment and by nobody's word.
    """

    open_work: OpenUnitOfWork
    cancel: CancelCoaching
    reader: CoachingReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, coaching_id: CoachingId, status: CoachingStatus) -> CoachingView:
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            before.require_participant(user)
            before.require_transition(status)
            if status is CoachingStatus.CANCELLED:
                await self.cancel.within(work, before, user)
            else:
                await self._decide(work, before, user, status)
            await work.commit()
        self.wake_ups.nudge()
        return await self.reader.get(coaching_id)

    async def _decide(self, work: UnitOfWork, before: Coaching, user: User, status: CoachingStatus) -> None:
        if not before.is_run_by(user):
            raise OnlyCoachDecides
        now = self.clock.now()
        after, change, fact = _DECISIONS[status](before, now)
        await work.coachings.save(after)
        await work.coachings.record(after, change, by=user.id, before=before, now=now)
        await work.messages.owe_for_coaching(fact, before.id)
        if status is CoachingStatus.CONFIRMED:
            await work.messages.owe_calendars_of(before.id)


_Decision = Callable[[Coaching, datetime], tuple[Coaching, Change, Fact]]
_DECISIONS: Mapping[CoachingStatus, _Decision] = {
    CoachingStatus.CONFIRMED: lambda before, now: (before.confirmed(now), Change.CONFIRMED, Fact.BOOKING_CONFIRMED),
    CoachingStatus.COMPLETED: lambda before, now: (before.completed(now), Change.COMPLETED, Fact.BOOKING_COMPLETED),
}


@dataclass(frozen=True, slots=True)
class NoteCoaching:
    """Changes a session's notes, before and after it; its client and its coach write the same ones. The history keeps
    what stood there."""

    open_work: OpenUnitOfWork
    reader: CoachingReader
    clock: Clock

    async def __call__(self, user: User, coaching_id: CoachingId, notes: str | None) -> CoachingView:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            before.require_participant(user)
            if notes != before.notes:
                noted = before.noted(None if notes is None else prose("notes", notes, at_most=MAX_NOTES), now)
                await work.coachings.save(noted)
                await work.coachings.record(noted, Change.NOTES_CHANGED, by=user.id, before=before, now=now)
            await work.commit()
        return await self.reader.get(coaching_id)


@dataclass(frozen=True, slots=True)
class ExpireCoachingHolds:
    """Gives up the sessions whose payment did not come in time: cancelled, the time free at once, both people told, the
    checkout closed. Money that still comes is settled by the rules of a late payment."""

    open_work: OpenUnitOfWork
    reader: CoachingReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """How many; the rest is left for the next round."""
        due = await self.reader.expired_holds(self.clock.now(), limit=100)
        expired = [coaching_id for coaching_id in due if await self._expire(coaching_id)]
        if expired:
            self.wake_ups.nudge()
        return len(expired)

    async def _expire(self, coaching_id: CoachingId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            before = await work.coachings.get(coaching_id)
            if not before.has_expired(now):
                return False
            payment = await work.payments.find_of_booking(coaching_id)
            await expire_coaching_hold(work, before, now)
            if payment is not None and payment.order_id is not None:
                await work.messages.owe_checkout_end(payment)
            await work.commit()
        return True
