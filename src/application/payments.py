"""Money received: whatever a gateway says, however often and in whatever order, ends in the same state."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from application.ports.idempotency import SAYS_THE_SAME
from application.ports.ledger import PaymentOverview, PaymentPlace, PaymentReader
from application.ports.messaging import WakeUps
from application.ports.payments import GatewayEvent, Gateways, ReturnAddresses, SandboxDesk, SandboxOrder
from application.ports.persistence import OpenUnitOfWork, UnitOfWork
from application.ports.system import Clock
from application.purchases import PlacePurchase, Purchase, lock_booking, lock_purchase
from application.refunds import OFFLINE, Refunds
from domain.bookings import BookingId, BookingIsCancelled, BookingNotFound
from domain.coaching import CoachingId
from domain.events import EventId
from domain.payment_returns import Outcome
from domain.payments import (
    UNPAID,
    GatewayReport,
    Payment,
    PaymentNotFound,
    PaymentStatus,
    RefundReport,
    Report,
)
from domain.users import User, UserId

PAID_TWICE = "paid_twice"


class Settled(StrEnum):
    """What became of a report."""

    RECEIVED = "received"
    REINSTATED = "reinstated"
    GIVEN_BACK = "given_back"
    FAILED = "failed"
    OLD_NEWS = "old_news"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SettlePayment:
    """Applies what a gateway says of an order.

    - A payment only moves forward: received is final, failed can still become received.
    - Amount, currency and order must be what was asked for; a difference is kept for an operator and changes nothing.
    - Money that comes after the place was given up takes a place again if there is one, else it is given back at once.
    - Money that comes after the start is given back, and what was still held for it ends.
    - What comes for a booking that was paid otherwise meanwhile is given back too.
    - A failed try frees no place; the hold does, when it ends.
    """

    open_work: OpenUnitOfWork
    refunds: Refunds
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, gateway: str, report: GatewayReport, *, arrived_at: datetime | None = None) -> Settled:
        """`arrived_at`: when the report reached us, where that was before now. Without it the first webhook counts that
        reports the same money and is not applied yet."""
        async with self.open_work() as work:
            settled = await self._settle(work, gateway, report, arrived_at)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.nudge()
        return settled

    async def _settle(
        self, work: UnitOfWork, gateway: str, report: GatewayReport, arrived_at: datetime | None
    ) -> Settled:
        place = await work.payments.find_place(gateway, report)
        if place is None:
            await work.payments.keep_difference(gateway, report, None, "no payment of ours has this order")
            return Settled.UNKNOWN
        if arrived_at is None and report.report is Report.RECEIVED:
            arrived_at = await work.gateway_events.first_arrival(gateway, report.order_id, place.payment_id)
        purchase = await self._lock(work, place, arrived_at)
        payment = await work.payments.get(place.payment_id)
        why = report.differs_from(payment)
        if why is not None:
            await work.payments.keep_difference(gateway, report, payment.id, why)
            return Settled.DIFFERS
        match report.report:
            case Report.RECEIVED if payment.can_become(PaymentStatus.COMPLETED):
                return await self._receive(work, purchase, payment, report)
            case Report.FAILED if payment.can_become(PaymentStatus.FAILED):
                await work.payments.save(payment.failed())
                await purchase.fail(payment.price)
                return Settled.FAILED
        return Settled.OLD_NEWS

    async def _lock(self, work: UnitOfWork, place: PaymentPlace, arrived_at: datetime | None) -> Purchase:
        return await lock_purchase(work, place.booking_id, self.clock.now(), arrived_at=arrived_at)

    async def _receive(self, work: UnitOfWork, purchase: Purchase, payment: Payment, report: GatewayReport) -> Settled:
        payment = payment.received(order_id=report.order_id, gateway_id=report.gateway_id)
        await work.payments.save(payment, received_at=self.clock.now())
        if purchase.payment_status not in UNPAID:
            await self.refunds.promise(work, payment, payment.price, reason=PAID_TWICE)
            return Settled.GIVEN_BACK
        if not purchase.is_cancelled and not purchase.has_started:
            await purchase.pay(payment.price)
            return Settled.RECEIVED
        if purchase.is_cancelled and await purchase.reinstate(payment.price):
            return Settled.REINSTATED
        await self.refunds.promise(work, payment, payment.price, reason=purchase.why_given_back)
        await purchase.give_back()
        return Settled.GIVEN_BACK


@dataclass(frozen=True, slots=True)
class TakeGatewayEvent:
    """Takes a gateway's webhook: verified, kept once by its id for good, and answered; a worker applies it."""

    gateways: Gateways
    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, gateway: str, body: bytes, headers: Mapping[str, str]) -> GatewayEvent:
        event = self.gateways.named(gateway).read_webhook(body, headers)
        async with self.open_work() as work:
            if await work.gateway_events.add(gateway, event, self.clock.now()) and event.report is not None:
                await work.messages.owe_gateway_event(gateway, event)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.nudge()
        return event


@dataclass(frozen=True, slots=True)
class SandboxPage:
    """What the sandbox's page shows, as of `now`, and the two addresses that it leads back to."""

    order: SandboxOrder
    payment: PaymentOverview
    now: datetime
    success_url: str
    cancel_url: str

    @property
    def can_be_paid(self) -> bool:
        return self.order.state in {"open", "declined"} and (self.time_left is None or self.time_left > timedelta(0))

    @property
    def time_left(self) -> timedelta | None:
        """Until the hold ends; None where there is no hold."""
        return self.payment.hold_until - self.now if self.payment.hold_until is not None else None


@dataclass(frozen=True, slots=True)
class PayAtSandbox:
    """Somebody pressed a button of the sandbox's page: the sandbox reports it as a real gateway would, signed.

    In a house that takes real money there is no such page, not even for what was asked for before.
    """

    desk: SandboxDesk
    take_gateway_event: TakeGatewayEvent
    is_chosen: bool
    payments: PaymentReader
    returns: ReturnAddresses
    clock: Clock

    async def show(self, order_id: str) -> SandboxPage:
        order = await self._order(order_id)
        return SandboxPage(
            order=order,
            payment=await self.payments.overview(order.payment_id),
            now=self.clock.now(),
            success_url=self.returns.of(order.payment_id, Outcome.SUCCESS),
            cancel_url=self.returns.of(order.payment_id, Outcome.CANCELLED),
        )

    async def _order(self, order_id: str) -> SandboxOrder:
        order = await self.desk.find(order_id) if self.is_chosen else None
        if order is None:
            raise PaymentNotFound
        return order

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> None:
        await self._order(order_id)
        webhook = await self.desk.decide(order_id, state)
        if webhook is not None:
            await self.take_gateway_event("sandbox", *webhook)


@dataclass(frozen=True, slots=True)
class ApplyGatewayEvent:
    """What a worker does with a webhook that was taken."""

    open_work: OpenUnitOfWork
    settle_payment: SettlePayment
    refunds: Refunds
    clock: Clock

    async def __call__(self, gateway: str, event_id: str) -> str:
        async with self.open_work() as work:
            report, arrived_at = await work.gateway_events.report(gateway, event_id)
        match report:
            case GatewayReport():
                outcome: str = await self.settle_payment(gateway, report, arrived_at=arrived_at)
            case RefundReport():
                if report.payment is not None:
                    await self.settle_payment(gateway, report.payment, arrived_at=arrived_at)
                outcome = await self.refunds.settle_report(gateway, report)
            case None:
                outcome = Settled.OLD_NEWS
        async with self.open_work() as work:
            await work.gateway_events.settled(gateway, event_id, outcome, self.clock.now())
            await work.commit()
        return outcome


@dataclass(frozen=True, slots=True)
class RecordOfflinePayment:
    """Records that a booking was paid on the spot, as the event's facilitator or a trusted service reports it.

    - Reported twice it is recorded once.
    - A free place has nothing to pay, a cancelled one nothing any more.
    - A checkout that is still open elsewhere is closed, so that nobody pays twice.
    """

    open_work: OpenUnitOfWork
    wake_ups: WakeUps
    clock: Clock

    async def by_service(self, booking_id: BookingId, *, user_id: UserId, event_id: EventId) -> PaymentStatus:
        """The report names the booking, its user and its event; where they do not belong together there is none."""
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            if (booking.user_id, event.id) != (user_id, event_id):
                raise BookingNotFound
            purchase = PlacePurchase(work, event, booking, self.clock.now())
            status = await self._record(work, booking_id, purchase)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.nudge()
        return status

    async def by_facilitator(self, user: User, booking_id: BookingId | CoachingId) -> PaymentStatus:
        async with self.open_work() as work:
            purchase = await lock_purchase(work, booking_id, self.clock.now(), by=user.id)
            purchase.require_manager(user)
            status = await self._record(work, booking_id, purchase)
            await work.commit(made=SAYS_THE_SAME)
        self.wake_ups.nudge()
        return status

    async def _record(self, work: UnitOfWork, booking_id: BookingId | CoachingId, purchase: Purchase) -> PaymentStatus:
        if purchase.payment_status not in UNPAID:
            return purchase.payment_status
        if purchase.is_cancelled:
            raise BookingIsCancelled
        payment = await work.payments.get_of_booking(booking_id)
        now = self.clock.now()
        if payment.gateway == OFFLINE:
            await work.payments.save(payment.received(), received_at=now)
        else:
            await work.payments.add_paid_on_the_spot(payment, now)
            if payment.order_id is not None:
                await work.messages.owe_checkout_end(payment)
        await purchase.pay(payment.price)
        return PaymentStatus.COMPLETED
