"""Razorpay unavailable, slow, overloaded or interrupted: orders, payments and refunds are neither duplicated nor
lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from application.payments.ports.gateways import GatewayRefused, PaymentRequest, RefundRequest
from domain.accounts import UserId
from domain.events import EventId
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.payments import GatewayUnavailable, Payment, PaymentId, PaymentStatus, PaymentUpdate
from domain.refunds import RefundId
from infrastructure.gateways.razorpay.gateway import RazorpayGateway
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from tests.payments.gateway_harness import FAILED, PAID, PENDING, REFUNDED
from tests.payments.razorpay_harness import GatewayHarness
from tests.support.gateway_server import Kind
from tests.support.machine_clock import SystemClock
from tests.support.process_harness import LONG_RUN
from tests.support.razorpay_server import KEY_ID, KEY_SECRET, WEBHOOK_SECRET, FakeRazorpay, fake_razorpay
from tests.support.receivers import Request

RETURNS = SignedReturnAddresses("http://here", b"a key")
PRICE = Money(Decimal(30), "INR")
ALL_KINDS: tuple[Kind, ...] = ("500", "429", "hang", "reset", "lost answer")


@pytest.fixture
def gateway_harness(razorpay_harness: GatewayHarness) -> GatewayHarness:
    return razorpay_harness


@pytest.fixture
async def razorpay() -> AsyncIterator[FakeRazorpay]:
    async with fake_razorpay() as razorpay:
        yield razorpay


def impatient(razorpay: FakeRazorpay) -> Any:
    """A client that gives up after one second, so that a hanging answer is soon an error."""
    url = razorpay.receiver.url
    gateway: Any = RazorpayGateway(
        KEY_ID, KEY_SECRET, WEBHOOK_SECRET, base_url=url, returns=RETURNS, clock=SystemClock(), seconds=1
    )
    gateway.aclose = gateway.close
    return aclosing(gateway)


def a_request() -> PaymentRequest:
    return PaymentRequest(
        payment_id=PaymentId(uuid4()),
        payable=BookingRef(BookingId(1)),
        reference="BK2026000001",
        event_id=EventId(2),
        user_id=UserId(3),
        user_name="Ada Lovelace",
        user_email="ada@example.com",
        facilitator_id=UserId(4),
        price=PRICE,
        title="Morning Yoga",
        until=datetime.now(UTC) + timedelta(minutes=30),
    )


def payment_of(request: PaymentRequest, order_id: str, gateway_id: str | None = None) -> Payment:
    nothing = Money(Decimal(0), "INR")
    status = PaymentStatus.COMPLETED if gateway_id else PaymentStatus.PENDING
    return Payment(
        request.payment_id, request.payable, "razorpay", request.price, status, order_id, gateway_id, nothing
    )


# The adapter alone


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("call", ["GET /v1/orders", "POST /v1/orders", "POST /v1/payment_links"])
async def test_interrupted_checkout_is_created_once(razorpay: FakeRazorpay, kind: Kind, call: str) -> None:
    request = a_request()
    async with impatient(razorpay) as gateway:
        razorpay.trouble(kind, call, times=1)
        with pytest.raises(GatewayUnavailable):
            await gateway.open_checkout(request)
        first = await gateway.open_checkout(request)
        assert await gateway.open_checkout(request) == first
    [order], [link] = razorpay.orders.values(), razorpay.links.values()
    assert (first.order_id, first.url) == (order["id"], link["short_url"])
    assert link["notes"]["order_id"] == order["id"]


@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_interrupted_refund_is_made_once(razorpay: FakeRazorpay, kind: Kind) -> None:
    request = a_request()
    async with impatient(razorpay) as gateway:
        checkout = await gateway.open_checkout(request)
        paid = razorpay.pays(checkout.order_id)
        back = RefundRequest(RefundId(uuid4()), payment_of(request, checkout.order_id, paid["id"]), PRICE)
        times = 2 if kind == "hang" and not LONG_RUN else 10  # each that hangs takes a second
        razorpay.trouble(kind, "POST /v1/payments/.*", times=times)
        for _ in range(times):
            with pytest.raises(GatewayUnavailable):
                await gateway.refund(back)
        answer = await gateway.refund(back)
    [refund] = razorpay.refunds.values()
    assert answer.gateway_refund_id == refund["id"]
    assert razorpay.kept() == 0


async def test_refund_of_more_than_was_paid_is_rejected(razorpay: FakeRazorpay) -> None:
    request = a_request()
    async with impatient(razorpay) as gateway:
        checkout = await gateway.open_checkout(request)
        payment = payment_of(request, checkout.order_id, razorpay.pays(checkout.order_id)["id"])
        await gateway.refund(RefundRequest(RefundId(uuid4()), payment, PRICE))
        with pytest.raises(GatewayRefused, match="greater than the refund payment amount"):
            await gateway.refund(RefundRequest(RefundId(uuid4()), payment, PRICE))
        with pytest.raises(GatewayRefused):
            await gateway.refund(RefundRequest(RefundId(uuid4()), replace(payment, gateway_id=None), PRICE))
    assert razorpay.kept() == 0


async def test_reconciliation_reads_payments_of_the_order_and_of_the_link(razorpay: FakeRazorpay) -> None:
    request = a_request()
    async with impatient(razorpay) as gateway:
        checkout = await gateway.open_checkout(request)
        payment = payment_of(request, checkout.order_id)
        assert (await gateway.look_up(payment)).report.report is PaymentUpdate.OPEN
        razorpay.fails(checkout.order_id)
        assert (await gateway.look_up(payment)).report.report is PaymentUpdate.FAILED
        waiting = razorpay.pays(checkout.order_id, captures=False)
        assert (await gateway.look_up(payment)).report.report is PaymentUpdate.OPEN, "authorized is not captured"
        waiting["status"] = "failed"
        paid = razorpay.pays_link(checkout.url)
        razorpay.gives_back(paid, 1_000)
        entry = await gateway.look_up(payment)
    assert entry.report.mismatch_with(payment) is None
    assert (entry.report.report, entry.report.gateway_id) == (PaymentUpdate.RECEIVED, paid["id"])
    assert (entry.received, entry.refunded) == (PRICE, Money(Decimal(10), "INR"))


async def test_closing_a_paid_or_closed_checkout_does_nothing(razorpay: FakeRazorpay) -> None:
    async with impatient(razorpay) as gateway:
        for pays in (False, True):
            checkout = await gateway.open_checkout(request := a_request())
            if pays:
                razorpay.pays_link(checkout.url)
            for _ in range(2):
                await gateway.expire_checkout(payment_of(request, checkout.order_id))
        await gateway.expire_checkout(payment_of(a_request(), "order_that_never_was"))
    assert [link["status"] for link in razorpay.links.values()] == ["cancelled", "paid"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b" " * 999_999,
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["html", "another shape", "redirect", "much too long", "no HTTP"],
)
async def test_invalid_answer_means_unavailable(razorpay: FakeRazorpay, answer: bytes) -> None:
    razorpay.receiver.always(answer)
    async with impatient(razorpay) as gateway:
        with pytest.raises(GatewayUnavailable):
            await gateway.open_checkout(a_request())
    assert len(razorpay.receiver.requests) == 1, "nobody was followed elsewhere"


async def test_slow_answer_times_out(razorpay: FakeRazorpay) -> None:
    async def drip(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    razorpay.receiver.behave = drip
    async with impatient(razorpay) as gateway, asyncio.timeout(20):
        with pytest.raises(GatewayUnavailable, match=r"within 1 s"):
            await gateway.open_checkout(a_request())


async def test_refusal_states_the_reason_without_the_key(razorpay: FakeRazorpay) -> None:
    wrong = RazorpayGateway(
        KEY_ID, "a wrong secret", WEBHOOK_SECRET, base_url=razorpay.receiver.url, returns=RETURNS, clock=SystemClock()
    )
    with pytest.raises(GatewayRefused, match=r"^Razorpay refused \(401\): Authentication failed$"):
        await wrong.open_checkout(a_request())
    await wrong.close()


# A whole deployment


async def test_unavailable_gateway_costs_the_link_but_not_the_seat(gateway_harness: GatewayHarness) -> None:
    gateway_harness.razorpay.trouble("500")
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    assert booked["payment_url"] is None
    assert await gateway_harness.state(booked) == PENDING
    gateway_harness.razorpay.mend()
    answer = await gateway_harness.post(f"/bookings/{booked['booking']['id']}/pay", by=person)
    [link] = gateway_harness.razorpay.links.values()
    assert answer.json() == {"payment_url": link["short_url"]}
    gateway_harness.razorpay.pays_link(link["short_url"])
    await gateway_harness.process_webhooks()
    assert await gateway_harness.state(booked) == PAID


@pytest.mark.parametrize("call", ["POST /v1/orders", "POST /v1/payment_links"])
async def test_lost_answer_leaves_no_orphaned_order_or_link(gateway_harness: GatewayHarness, call: str) -> None:
    gateway_harness.razorpay.trouble("lost answer", call, times=1)
    booked = await gateway_harness.books(await gateway_harness.person(), await gateway_harness.event())
    assert booked["payment_url"] is None
    await gateway_harness.time_passes()
    assert await gateway_harness.parts.money.reconcile() == 1
    [order], [link] = gateway_harness.razorpay.orders.values(), gateway_harness.razorpay.links.values()
    row = await gateway_harness.database.fetchrow("SELECT gateway_reference, checkout_url FROM payments")
    assert row is not None
    assert tuple(row) == (order["id"], link["short_url"])


async def test_with_all_webhooks_lost_payments_are_settled_by_look_up(gateway_harness: GatewayHarness) -> None:
    by_order, by_link, failed, untouched = [await gateway_harness.a_booking() for _ in range(4)]
    gateway_harness.razorpay.pays(by_order[1]["id"])
    gateway_harness.razorpay.pays_link(by_link[0]["payment_url"])
    gateway_harness.razorpay.fails(failed[1]["id"])
    gateway_harness.razorpay.webhooks.clear()
    await gateway_harness.time_passes()
    gateway_harness.razorpay.trouble("500", times=1)
    for _ in range(2):
        assert await gateway_harness.parts.money.reconcile() > 0
        await gateway_harness.time_passes()
    assert await gateway_harness.state(by_order[0]) == await gateway_harness.state(by_link[0]) == PAID
    assert await gateway_harness.state(failed[0]) == FAILED
    assert await gateway_harness.state(untouched[0]) == PENDING
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 6_000
    assert await gateway_harness.mismatches() == []


async def test_payment_during_hold_expiry_is_found_without_webhook(gateway_harness: GatewayHarness) -> None:
    booked, _ = await gateway_harness.a_booking()
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    gateway_harness.razorpay.webhooks.clear()
    await gateway_harness.database.execute("UPDATE bookings SET hold_until = now()")
    await gateway_harness.parts.money.expire_holds()
    await gateway_harness.run_worker()
    assert await gateway_harness.state(booked) == PAID, "closing the link found the money"
    assert await gateway_harness.message_count(booked) == 1


async def test_unavailable_gateway_delays_a_refund_and_it_is_paid_once(
    gateway_harness: GatewayHarness,
) -> None:
    person = await gateway_harness.person()
    booked = await gateway_harness.books(person, await gateway_harness.event())
    gateway_harness.razorpay.pays_link(booked["payment_url"])
    await gateway_harness.process_webhooks()
    await gateway_harness.post(f"/bookings/{booked['booking']['id']}/cancel", by=person)
    for kind in ("500", "lost answer", "reset"):
        gateway_harness.razorpay.trouble(kind, "POST /v1/payments/.*", times=1)
        await gateway_harness.run_worker()
        await gateway_harness.time_passes()
    # The webhook overtakes the answer that never came.
    await gateway_harness.process_webhooks()
    await gateway_harness.run_worker()
    assert len(gateway_harness.razorpay.refunds) == 1
    rows = await gateway_harness.database.fetch("SELECT status, gateway_refund_id FROM refunds")
    assert [tuple(row) for row in rows] == [("processed", next(iter(gateway_harness.razorpay.refunds)))]
    assert await gateway_harness.state(booked) == REFUNDED
    assert await gateway_harness.message_count(booked, "booking_refunded") == 1
    assert await gateway_harness.kept() == gateway_harness.razorpay.kept() == 0


async def test_callbacks_return_errors_if_razorpay_is_not_configured(api: httpx.AsyncClient) -> None:
    success = {"razorpay_payment_id": "pay_1", "razorpay_order_id": "order_1", "razorpay_signature": "x"}
    answer = await api.post("/payment/success", json=success)
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway_unavailable")
    answer = await api.post("/payment/razorpay/webhook", json={"event": "order.paid"})
    assert (answer.status_code, answer.json()["code"]) == (503, "gateway_unavailable")
    answer = await api.post("/payment/failure", json={"razorpay_order_id": "order_1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")
