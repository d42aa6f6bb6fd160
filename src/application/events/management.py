"""Creating, changing, cancelling and deleting events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from application.accounts.access import require_access
from application.events.ports import EventQueries, EventView
from application.idempotency import made_before
from application.outbox.ports import WakeUps
from application.payments.checkout import refuse_unpayable
from application.payments.ports.gateways import PaymentGateway
from application.payments.ports.records import Refund
from application.payments.refunds import Refunds
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import User, UserId
from domain.errors import Forbidden
from domain.events import RESCHEDULED, Event, EventDetails, EventId, EventStatus, refuse_past
from domain.money import Money
from domain.outbox import MessageType


class OnlyFacilitatorsCreate(Forbidden):
    code = "facilitator_required"
    message = "Only facilitators can create events"


@dataclass(frozen=True, slots=True)
class CreateEvent:
    """Creates an event of the calling facilitator.

    - It starts in the future, ends after its start, and the configured gateway accepts its price.
    - The time is busy for appointments from then on. Creating an event never fails because of an existing
      appointment; the coach reschedules or cancels it.
    """

    open_work: OpenUnitOfWork
    gateway: PaymentGateway
    reader: EventQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, details: EventDetails) -> EventView:
        if not user.can_facilitate:
            raise OnlyFacilitatorsCreate
        if (made := made_before()) is not None:
            return await self.reader.get(EventId(made))
        now, details = self.clock.now(), details.entered()
        refuse_past(details.interval, now)
        refuse_unpayable(details.price, self.gateway)
        async with self.open_work() as work:
            await require_access(work, user)
            await work.coaches.let_event_in(user.id)
            event = await work.events.add(user.id, details, now)
            await work.messages.enqueue_for_event(MessageType.EVENT_CREATED, event.id)
            await work.commit(made=event.id)
        self.wake_ups.notify()
        return await self.reader.get(event.id)


@dataclass(frozen=True, slots=True)
class UpdateEvent:
    """Changes an event of the asking facilitator; what is not given stays.

    - There are never fewer places than bookings.
    - A new title, time, place or link is sent to the CRM, and to every participant with an update of their calendar
      entry, unless the event is over. No other change is mailed.
    - A new price can be paid at the gateway of this house.
    - A new price or refund policy is for later bookings; those that there are keep what was agreed. After a change of
      time or place they can be cancelled for a full refund.
    """

    open_work: OpenUnitOfWork
    gateway: PaymentGateway
    reader: EventQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(
        self, user: User, event_id: EventId, change: Callable[[EventDetails], EventDetails]
    ) -> EventView:
        """`change` gets the current details and returns the new ones."""
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            now = self.clock.now()
            changed = event.with_details(change(event.details), now)
            if changed.details.price != event.details.price:
                refuse_unpayable(changed.details.price, self.gateway)
            if changed.details.interval != event.details.interval:
                await work.coaches.let_event_in(event.facilitator_id)
            if changed.details.refund_policy != event.details.refund_policy:
                await work.bookings.keep_policy(event_id, event.details.refund_policy)
            await work.events.save(changed)
            if changed.revision > event.revision:
                reason = RESCHEDULED if changed.schedule_revision > event.schedule_revision else None
                await work.messages.enqueue_for_event(MessageType.EVENT_UPDATED, event_id)
                if not changed.is_over(now):
                    await work.messages.enqueue_for_bookings_of(
                        MessageType.BOOKING_MOVED, event_id, reason=reason, before=event.details
                    )
            if changed.details.interval.starts_at != event.details.interval.starts_at:
                await work.bookings.shorten_holds(event_id, changed.details.interval.starts_at)
                await work.reminders.align_event(event_id)
            await work.commit()
        self.wake_ups.notify()
        return await self.reader.get(event_id)


@dataclass(frozen=True, slots=True)
class CancelledEvent:
    """How many payments are given back, and the sum of it."""

    refunds: int
    total: Money


def _cancelled_event(event: Event, refunds: Sequence[Refund]) -> CancelledEvent:
    currency = event.details.price.currency
    total = sum((refund.amount.amount for refund in refunds if refund.amount.currency == currency), Decimal(0))
    return CancelledEvent(len(refunds), Money(total, currency))


@dataclass(frozen=True, slots=True)
class CancelEvent:
    """Cancels an event of the asking facilitator that is not over, and every booking of it. Each person and the CRM
    hear of it.
    What was paid is given back in full, in the background; the answer says how much was promised."""

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, event_id: EventId) -> CancelledEvent:
        if (made := made_before()) is not None:
            refunds, amount, currency = made
            return CancelledEvent(refunds, Money(Decimal(amount), currency))
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            promised = _cancelled_event(event, await _cancel(work, event, self.refunds, self.clock, by=user.id))
            total = promised.total
            await work.commit(made=[promised.refunds, str(total.amount), total.currency])
        self.wake_ups.notify()
        return promised


@dataclass(frozen=True, slots=True)
class DeleteEvent:
    """Takes an event out of every list. One that is still ahead is cancelled first, as a facilitator's cancel does;
    bookings, payments and messages stay."""

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, event_id: EventId) -> None:
        now = self.clock.now()
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            if event.status is EventStatus.ACTIVE and not event.is_over(now):
                await _cancel(work, event, self.refunds, self.clock, by=user.id)
            await work.events.soft_delete(event_id, now)
            await work.commit()
        self.wake_ups.notify()


async def _cancel(work: UnitOfWork, event: Event, refunds: Refunds, clock: Clock, *, by: UserId) -> Sequence[Refund]:
    now = clock.now()
    await work.events.save(event.cancelled(now))
    await work.messages.enqueue_checkout_closes_of(event.id)
    promised = await refunds.request_all(work, event.id, reason=MessageType.EVENT_CANCELLED, by=by)
    await work.bookings.cancel_all(event.id, now, by=by)
    await work.invitations.withdraw_all(event.id, now)
    await work.reminders.align_event(event.id)
    await work.messages.enqueue_for_event(MessageType.EVENT_CANCELLED, event.id)
    await work.messages.enqueue_for_bookings_of(
        MessageType.BOOKING_CANCELLED, event.id, cancelled_at=now, reason=MessageType.EVENT_CANCELLED
    )
    return promised
