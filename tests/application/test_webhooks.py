"""Rules of gateways' webhooks: stored once when they arrive, applied by the worker."""

from dataclasses import replace

import pytest

from application.payments.ports.gateways import GatewayEvent
from application.payments.refunds import AT_THE_GATEWAY
from application.payments.settlement import Settled
from domain.bookings import BookingStatus
from domain.outbox import Delivered, MessageType
from domain.payments import (
    GatewayUnavailable,
    GatewayUpdate,
    InvalidSignature,
    PaymentStatus,
    RefundUpdate,
)
from tests.application.booking_application import HOUR, BookingApplication, inr

SIGNED = {"signature": "valid"}


async def receive(app: BookingApplication, report: GatewayUpdate | RefundUpdate | None, number: int = 1) -> None:
    event = GatewayEvent(f"event-{number}", "kind", report, {})
    app.gateway.webhooks[b"%d" % number] = event
    assert await app.receive_webhook("gateway", b"%d" % number, SIGNED) == event


async def test_webhook_with_an_invalid_signature_is_not_stored(app: BookingApplication) -> None:
    with pytest.raises(InvalidSignature):
        await app.receive_webhook("gateway", b"1", {})
    assert app.store.tables.of("gateway_events") == {}


async def test_webhook_of_a_gateway_that_is_not_configured_is_refused(app: BookingApplication) -> None:
    with pytest.raises(GatewayUnavailable):
        await app.receive_webhook("unknown", b"1", SIGNED)


async def test_webhook_is_stored_once_by_its_id(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    for _ in range(2):
        await receive(app, app.gateway.pay(app.payment_id(booking.id)))
    assert len(app.store.tables.of("gateway_events")) == 1
    assert len(app.messages(MessageType.GATEWAY_EVENT)) == 1


async def test_worker_applies_a_webhook(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    await receive(app, app.gateway.pay(app.payment_id(booking.id)))
    assert app.booking(booking.id).payment_status is PaymentStatus.PENDING
    assert await app.work() == [Delivered("received")]
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED
    (row,) = app.store.tables.of("gateway_events").values()
    assert (row.outcome, row.settled_at) == ("received", app.clock.now())


async def test_webhook_of_a_kind_that_is_not_handled_is_stored_and_not_applied(app: BookingApplication) -> None:
    await receive(app, None)
    assert len(app.store.tables.of("gateway_events")) == 1
    assert app.messages(MessageType.GATEWAY_EVENT) == []
    assert await app.apply_webhook("gateway", "event-1") == "old_news"


async def test_payment_counts_from_the_arrival_of_the_webhook(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR))).reserved
    await receive(app, app.gateway.pay(app.payment_id(booking.id)))
    app.clock.advance(HOUR)
    await app.work()
    settled = app.booking(booking.id)
    assert (settled.status, settled.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.COMPLETED)


async def test_look_up_counts_from_the_arrival_of_a_webhook_that_is_not_applied(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR))).reserved
    update = app.gateway.pay(app.payment_id(booking.id))
    await receive(app, update)
    app.clock.advance(HOUR)
    assert await app.settle("gateway", update) == "received"


async def test_payment_and_refund_in_one_webhook_are_both_applied(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    assert payment.gateway_id is not None
    refund = RefundUpdate("refund-outside", payment.gateway_id, inr(100), succeeded=True, payment=payment)
    await receive(app, refund)
    assert await app.work() == [Delivered("refunded_at_the_gateway")]
    assert app.refunded() == [(inr(100), AT_THE_GATEWAY)]
    assert app.booking(booking.id).payment_status is PaymentStatus.REFUNDED


async def test_refund_in_a_webhook_without_its_payment_is_applied(app: BookingApplication) -> None:
    booking = await app.paid(await app.event())
    gateway_id = app.payment(booking).gateway_id
    assert gateway_id is not None
    await receive(app, RefundUpdate("refund-outside", gateway_id, inr(40), succeeded=True))
    assert await app.work() == [Delivered("refunded_at_the_gateway")]
    assert app.refunded() == [(inr(40), AT_THE_GATEWAY)]
    kept = app.booking(booking)
    assert (kept.status, kept.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.REFUNDED)


async def test_webhooks_in_any_order_have_the_same_result(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment_id = app.payment_id(booking.id)
    failed, paid = app.gateway.decline(payment_id), app.gateway.pay(payment_id)
    for number, report in enumerate((paid, failed, replace(paid))):
        await receive(app, report, number)
    await app.work()
    outcomes = [row.outcome for row in app.store.tables.of("gateway_events").values()]
    assert outcomes == ["received", "old_news", "old_news"]
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_payment_that_a_refund_names_counts_from_the_arrival_of_the_refund(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR))).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    assert payment.gateway_id is not None
    await receive(app, RefundUpdate("refund-outside", payment.gateway_id, inr(10), succeeded=True, payment=payment))
    app.clock.advance(HOUR)
    await app.work()
    stored = app.booking(booking.id)
    assert (stored.status, stored.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.REFUNDED)
    assert app.refunded() == [(inr(10), AT_THE_GATEWAY)]


async def test_payment_that_is_looked_up_counts_from_its_webhook_that_names_the_order_only(
    app: BookingApplication,
) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR))).reserved
    update = app.gateway.pay(app.payment_id(booking.id))
    await receive(app, replace(update, payment_id=None))
    app.clock.advance(HOUR)
    assert await app.settle("gateway", update) is Settled.RECEIVED
