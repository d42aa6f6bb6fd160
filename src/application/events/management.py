"""Creating, changing, cancelling and deleting events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from application.accounts.access import require_access
from application.events.ports import EventQueries, EventView
from application.idempotency import recorded_result
from application.outbox.ports import WakeUps
from application.payments.checkout import refuse_unpayable
from application.payments.ports.gateways import PaymentGateway
from application.payments.ports.records import Refund
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import User
from domain.errors import Errors, Forbidden
from domain.events import (
    CapacityBelowBookings,
    CurrencyOfBookings,
    Event,
    EventCancelled,
    EventDetails,
    EventForbidden,
    EventId,
    EventNotFound,
    EventOver,
    EventStarted,
    EventStatus,
    refuse_past,
)
from domain.money import Money


class OnlyFacilitatorsCreate(Forbidden):
    code = "facilitator_required"
    message = "Only facilitators can create events"


@use_case
class CreateEvent:
    """Creates an event of the calling facilitator.

    - It starts in the future, ends after its start, and the configured gateway accepts its price.
    - The time is busy for appointments from then on. Creating an event never fails because of an existing
      appointment; the coach reschedules or cancels it.
    """

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork
    gateway: PaymentGateway
    reader: EventQueries
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, details: EventDetails) -> EventView:
        if not user.can_facilitate:
            raise OnlyFacilitatorsCreate
        if (made := recorded_result()) is not None:
            return await self.reader.get(EventId(made))
        now, details = self.clock.now(), details.entered()
        refuse_past(details.interval, now)
        refuse_unpayable(details.price, self.gateway)
        async with self.open_work() as work:
            await require_access(work, user)
            event = await work.events.add(user.id, details, now)
            await work.commit(made=event.id)
        self.wake_ups.notify()
        return await self.reader.get(event.id)


@use_case
class UpdateEvent:
    """Changes an event of the calling facilitator. Omitted fields keep their values.

    - The capacity cannot be less than the number of bookings.
    - A new title, time, location or link is sent to the CRM, and by mail to every participant with an update of the
      calendar entry, unless the event has ended. No other change is mailed.
    - The configured gateway must accept a new price.
    - A new price or refund policy applies to later bookings; existing ones keep theirs. After a change of time or
      location they can be cancelled for a full refund.
    """

    raises: ClassVar[Errors] = (
        EventNotFound,
        EventForbidden,
        EventCancelled,
        EventStarted,
        CapacityBelowBookings,
        CurrencyOfBookings,
    )

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
            if changed.events:
                await work.events.save(changed)
            await work.commit()
        self.wake_ups.notify()
        return await self.reader.get(event_id)


@dataclass(frozen=True, slots=True)
class CancelledEvent:
    """The number of refunds, and their sum."""

    refunds: int
    total: Money


@use_case
class CancelEvent:
    """Cancels an event of the calling facilitator that has not ended, and all of its bookings. Every participant and
    the CRM are notified. All payments are refunded in full by the worker; the response has the sum of the requested
    refunds."""

    raises: ClassVar[Errors] = (EventNotFound, EventForbidden, EventCancelled, EventOver)

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, event_id: EventId) -> CancelledEvent:
        if (made := recorded_result()) is not None:
            refunds, amount, currency = made
            return CancelledEvent(refunds, Money(Decimal(amount), currency))
        now = self.clock.now()
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            await work.events.save(event.cancelled(now, by=user.id))
            cancelled = _cancelled(event, work.refunds.requested)
            total = cancelled.total
            await work.commit(made=[cancelled.refunds, str(total.amount), total.currency])
        self.wake_ups.notify()
        return cancelled


def _cancelled(event: Event, refunds: Sequence[Refund]) -> CancelledEvent:
    currency = event.details.price.currency
    total = sum((refund.amount.amount for refund in refunds if refund.amount.currency == currency), Decimal(0))
    return CancelledEvent(len(refunds), Money(total, currency))


@use_case
class DeleteEvent:
    """Removes an event from all lists. An event that has not ended is cancelled first, as by `CancelEvent`. Bookings,
    payments and messages stay."""

    raises: ClassVar[Errors] = (EventNotFound, EventForbidden)

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, user: User, event_id: EventId) -> None:
        now = self.clock.now()
        async with self.open_work() as work:
            event = await work.events.get(event_id)
            event.require_manager(user)
            if event.status is EventStatus.ACTIVE and not event.is_over(now):
                event = event.cancelled(now, by=user.id)
            await work.events.save(event.deleted(now, by=user.id))
            await work.commit()
        self.wake_ups.notify()
