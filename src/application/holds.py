"""Places held for payments, and payments nobody told us about."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.payments import SettlePayment
from application.ports.ledger import OpenRequest, PaymentReader
from application.ports.messaging import WakeUps
from application.ports.payments import GatewayRefused, Gateways, PaymentRequest
from application.ports.persistence import OpenUnitOfWork, Places
from application.ports.system import Clock
from application.purchases import expire_hold, lock_booking
from domain.bookings import BookingId, NotYourBooking
from domain.coaching import CoachingId
from domain.payment_returns import NO_RETURN_URLS, ReturnUrls
from domain.payments import GatewayUnavailable, NothingToPay, Payment, PaymentId
from domain.users import User

AT_ONCE = 100
ASKED_AT_ONCE = 5
"""Gateways limit how often they are asked; each question has a time limit of its own."""
LOOK_UP_AFTER = timedelta(minutes=2)
"""A webhook usually comes within seconds; what is open for longer is asked about."""


@dataclass(frozen=True, slots=True)
class ExpireHolds:
    """Gives up the places whose payment did not come in time.

    - The booking is cancelled, the place free at once, the person told.
    - The checkout is closed at the gateway; money that still comes is settled by the rules of a late payment.
    """

    open_work: OpenUnitOfWork
    payments: PaymentReader
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self) -> int:
        """How many; the rest is left for the next round."""
        due = await self.payments.expired_holds(self.clock.now(), limit=AT_ONCE)
        expired = [booking_id for booking_id in due if await self._expire(booking_id)]
        if expired:
            self.wake_ups.nudge()
        return len(expired)

    async def _expire(self, booking_id: BookingId) -> bool:
        now = self.clock.now()
        async with self.open_work() as work:
            event, booking = await lock_booking(work, booking_id)
            if not booking.has_expired(now):
                return False
            payment = await work.payments.find_of_booking(booking_id)
            await expire_hold(work, event, booking, now)
            if payment is not None and payment.order_id is not None:
                await work.messages.owe_checkout_end(payment)
            await work.commit()
        return True


@dataclass(frozen=True, slots=True)
class AbandonCheckout:
    """Closes a checkout nobody may pay at any more. What was paid there meanwhile is settled as any late payment."""

    open_work: OpenUnitOfWork
    gateways: Gateways
    settle_payment: SettlePayment

    async def __call__(self, payment_id: PaymentId) -> None:
        async with self.open_work() as work:
            payment = await work.payments.get(payment_id)
        gateway = self.gateways.named(payment.gateway)
        await gateway.expire_checkout(payment)
        entry = await gateway.look_up(payment)
        await self.settle_payment(payment.gateway, entry.report)


@dataclass(frozen=True, slots=True)
class AskForPayment:
    """Asks the gateway for the checkout of a payment and keeps it. Asking again gives the same one: what is known is
    not asked for, since the gateway would be asked for another once the event's title has changed."""

    gateways: Gateways
    payments: PaymentReader
    places: Places
    return_urls: ReturnUrls = NO_RETURN_URLS

    async def __call__(self, request: PaymentRequest, gateway: str) -> str | None:
        checkout = await self.gateways.named(gateway).open_checkout(request)
        if checkout is None:
            return None
        await self.places.keep_checkout(request.payment_id, checkout.order_id, checkout.url)
        return checkout.url

    async def keep_return_url(self, booking_ids: Sequence[BookingId | CoachingId], return_url: str | None) -> None:
        """Where the buyer goes after the checkout; without an address what was kept before stays. It need not be known
        to the gateway, so that it can be another one for the same checkout. Raises `Invalid`."""
        self.return_urls.require_allowed(return_url)
        if return_url is not None:
            await self.places.keep_return_url(booking_ids, return_url)

    async def for_booking(
        self, user: User, booking_id: BookingId | CoachingId, *, return_url: str | None = None
    ) -> str | None:
        """For somebody who wants to pay a booking of their own, later or once more."""
        self.return_urls.require_allowed(return_url)
        found = await self._open(booking_id)
        if found.request.user_id != user.id and user.role != "admin":
            raise NotYourBooking
        await self.keep_return_url([booking_id], return_url)
        return await self._link(found)

    async def of_booking(self, booking_id: BookingId | CoachingId) -> str | None:
        """For whoever has just made it. Raises `NothingToPay`."""
        return await self._link(await self._open(booking_id))

    async def _open(self, booking_id: BookingId | CoachingId) -> OpenRequest:
        found = await self.payments.open_request(booking_id)
        if found is None:
            raise NothingToPay
        return found

    async def _link(self, found: OpenRequest) -> str | None:
        return found.url or await self(found.request, found.gateway)


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Asks the gateways about payments that are open for longer than a webhook takes: with all webhooks lost, every
    payment is settled within minutes.

    - Each time a payment is asked about, the next waits longer, up to an hour, for as long as gateways can still
      authorise (three days).
    - A checkout whose making was never confirmed to us is asked for again with the same idempotency key: it may be
      there, and where nobody is to pay any more it is closed.
    - A few are asked about at once. A gateway that is away is left alone until the next round; the others do not wait.
    """

    open_work: OpenUnitOfWork
    payments: PaymentReader
    gateways: Gateways
    ask_for_payment: AskForPayment
    abandon_checkout: AbandonCheckout
    settle_payment: SettlePayment

    async def __call__(self) -> int:
        """How many were asked about."""
        asked, away = 0, set[str]()
        while asked < AT_ONCE:
            due = await self.payments.claim_to_look_up(older_than=LOOK_UP_AFTER, limit=ASKED_AT_ONCE, apart_from=away)
            away.update(name for name in await asyncio.gather(*map(self._ask, due)) if name is not None)
            asked += len(due)
            if len(due) < ASKED_AT_ONCE:
                break
        return asked

    async def _ask(self, payment_id: PaymentId) -> str | None:
        """The name of the gateway, if that is away."""
        async with self.open_work() as work:
            payment = await work.payments.get(payment_id)
        try:
            await self._look_up(payment)
        except GatewayUnavailable:
            return payment.gateway
        except GatewayRefused:
            return None
        return None

    async def _look_up(self, payment: Payment) -> None:
        if payment.order_id is None:
            await self.ask_for_payment(*await self.payments.request_of(payment.id))
            if await self.payments.open_request(payment.booking_id) is None:
                await self.abandon_checkout(payment.id)
            return
        entry = await self.gateways.named(payment.gateway).look_up(payment)
        await self.settle_payment(payment.gateway, entry.report)
