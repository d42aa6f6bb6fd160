"""Rules of the sandbox's checkout page."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

import pytest

from application.payments.ports.gateways import GatewayEvent, SandboxOrder
from application.payments.sandbox import PayAtSandbox
from domain.checkout_return import Outcome
from domain.disputes import DisputeStatus
from domain.ids import BookingId
from domain.payments import PaymentId, PaymentNotFound, PaymentStatus
from tests.application.booking_application import HOLD, BookingApplication, inr


class Addresses:
    def of(self, payment_id: PaymentId, outcome: Outcome) -> str:
        return f"https://convene.example/{payment_id}/{outcome}"

    def payment_of(self, token: str) -> PaymentId:
        return PaymentId(UUID(token))


@dataclass
class Controls:
    app: BookingApplication
    decided: set[str] = field(default_factory=set)

    async def find(self, order_id: str) -> SandboxOrder | None:
        for order in self.app.gateway.orders.values():
            if order.id == order_id:
                state: Literal["open", "paid"] = "paid" if order_id in self.decided else "open"
                return SandboxOrder(order.id, order.payment_id, "Yoga", order.price, state, inr(0))
        return None

    async def decide(self, order_id: str, state: Literal["paid", "declined"]) -> tuple[bytes, dict[str, str]] | None:
        order = await self.find(order_id)
        if order is None or order_id in self.decided:
            return None
        self.decided.add(order_id)
        act = self.app.gateway.pay if state == "paid" else self.app.gateway.decline
        event = GatewayEvent(f"event {order_id}", "kind", act(order.payment_id), {})
        self.app.gateway.webhooks[order_id.encode()] = event
        return order_id.encode(), {"signature": "valid"}

    async def dispute(self, order_id: str, status: DisputeStatus) -> tuple[bytes, dict[str, str]] | None:
        order = await self.find(order_id)
        if order is None or order_id not in self.decided:
            return None
        event = GatewayEvent(f"dispute {order_id}", "kind", self.app.gateway.dispute(order.payment_id, status), {})
        self.app.gateway.webhooks[b"dispute"] = event
        return b"dispute", {"signature": "valid"}


@pytest.fixture
def app() -> BookingApplication:
    return BookingApplication(gateway="sandbox")


def page_of(app: BookingApplication, *, is_chosen: bool = True) -> PayAtSandbox:
    return PayAtSandbox(Controls(app), app.receive_webhook, is_chosen, app.payments, Addresses(), app.clock)


def order_id(app: BookingApplication, booking_id: BookingId) -> str:
    return app.gateway.orders[app.payment_id(booking_id)].id


async def test_button_sends_a_signed_webhook_as_a_real_gateway_does(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    pay = page_of(app)
    for _ in range(2):
        await pay.decide(order_id(app, booking.id), "paid")
    assert app.booking(booking.id).payment_status is PaymentStatus.PENDING
    await app.work()
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED
    assert len(app.store.tables.of("gateway_events")) == 1


async def test_page_shows_the_time_left_to_pay(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    page = await page_of(app).show(order_id(app, booking.id))
    assert (page.time_left, page.can_be_paid, page.payment.reference) == (HOLD, True, booking.reference)
    assert page.success_url.endswith("/success")
    assert page.cancel_url.endswith("/cancelled")
    app.clock.advance(HOLD)
    expired = await page_of(app).show(order_id(app, booking.id))
    assert (expired.time_left, expired.can_be_paid) == (timedelta(0), False)


async def test_order_without_a_hold_can_be_paid_until_it_is_paid(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    pay = page_of(app)
    assert (await pay.show(order_id(app, booking_id))).time_left is None
    await pay.decide(order_id(app, booking_id), "paid")
    assert not (await pay.show(order_id(app, booking_id))).can_be_paid


async def test_order_is_not_found_where_another_gateway_is_configured(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    for pay, order in ((page_of(app, is_chosen=False), order_id(app, booking.id)), (page_of(app), "unknown")):
        with pytest.raises(PaymentNotFound):
            await pay.show(order)
        with pytest.raises(PaymentNotFound):
            await pay.decide(order, "paid")


async def test_dispute_of_a_paid_order_sends_a_webhook(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    pay, order = page_of(app), order_id(app, booking.id)
    await pay.dispute(order, DisputeStatus.OPEN)
    await pay.decide(order, "paid")
    await app.work()
    assert app.booking(booking.id).dispute is None
    await pay.dispute(order, DisputeStatus.OPEN)
    await app.work()
    assert app.booking(booking.id).dispute is DisputeStatus.OPEN


@pytest.mark.parametrize(
    ("state", "dispute", "following"),
    [
        ("open", None, []),
        ("paid", None, [DisputeStatus.OPEN]),
        ("paid", DisputeStatus.OPEN, [DisputeStatus.WON, DisputeStatus.LOST]),
        ("paid", DisputeStatus.WON, []),
        ("paid", DisputeStatus.LOST, []),
    ],
)
async def test_page_offers_what_can_become_of_a_dispute(
    app: BookingApplication,
    state: Literal["open", "paid"],
    dispute: DisputeStatus | None,
    following: list[DisputeStatus],
) -> None:
    booking = (await app.book(await app.event())).reserved
    page = await page_of(app).show(order_id(app, booking.id))
    assert list(replace(page, order=replace(page.order, state=state, dispute=dispute)).next_disputes) == following
