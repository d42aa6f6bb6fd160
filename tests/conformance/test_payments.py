"""The ports of payments, refunds and the webhook inbox, in memory and in PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from application.payments.ports.gateways import GatewayEvent
from domain.bookings import BookingNotFound, BookingStatus
from domain.disputes import Dispute, DisputeStatus
from domain.ids import BookingId, BookingRef
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import (
    OFFLINE,
    DisputeUpdate,
    GatewayUpdate,
    Payment,
    PaymentId,
    PaymentNotFound,
    PaymentStatus,
    PaymentUpdate,
    RefundUpdate,
)
from domain.refunds import RefundId
from tests.conformance.booking_adapters import (
    GATEWAY,
    HOLD,
    HOUR,
    NOW,
    BookingAdapters,
    inr,
    to,
)

MINUTE = timedelta(minutes=1)
UNKNOWN = UUID(int=2**127)


async def opened(adapters: BookingAdapters) -> Payment:
    """A payment whose checkout is open."""
    reserved = await adapters.booked()
    assert reserved.payment_id is not None
    await adapters.checkouts.save(reserved.payment_id, f"order {reserved.payment_id}", "https://gateway.example/1")
    return await adapters.payment(reserved.id)


def received(payment: Payment) -> GatewayUpdate:
    return GatewayUpdate(payment.order_id, PaymentUpdate.RECEIVED, payment.id, f"pay {payment.id}", payment.price)


# Payments


async def test_payment_is_found_by_its_order_or_by_our_id(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    async with adapters.open_work() as work:
        for update in (
            GatewayUpdate(payment.order_id, PaymentUpdate.OPEN),
            GatewayUpdate(None, PaymentUpdate.OPEN, payment_id=payment.id),
            GatewayUpdate("unknown", PaymentUpdate.OPEN, payment_id=payment.id),
        ):
            target = await work.payments.find_payable(GATEWAY, update)
            assert target is not None
            assert (target.payment_id, target.payable) == (payment.id, payment.payable)
            assert await work.payments.find_payable("other", update) is None
        unknown = GatewayUpdate("unknown", PaymentUpdate.OPEN, payment_id=PaymentId(UNKNOWN))
        assert await work.payments.find_payable(GATEWAY, unknown) is None


async def test_order_has_precedence_over_our_id(adapters: BookingAdapters) -> None:
    first, second = await opened(adapters), await opened(adapters)
    async with adapters.open_work() as work:
        update = GatewayUpdate(first.order_id, PaymentUpdate.OPEN, payment_id=second.id)
        target = await work.payments.find_payable(GATEWAY, update)
    assert target is not None
    assert target.payment_id == first.id


async def test_payment_is_stored_as_it_was_saved(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    changed = payment.received(gateway_id=f"pay {payment.id}").with_refund(inr(30))
    async with adapters.changing() as work:
        await work.payments.save(changed, received_at=NOW)
    async with adapters.open_work() as work:
        assert await work.payments.get(payment.id) == changed
        assert await work.payments.get_for(payment.payable) == changed
        assert await work.payments.find_for(payment.payable) == changed
        target = await work.payments.find_received(GATEWAY, f"pay {payment.id}")
        assert target is not None
        assert target.payment_id == payment.id
        assert await work.payments.find_received("other", f"pay {payment.id}") is None


async def test_unknown_payment_is_not_found(adapters: BookingAdapters) -> None:
    free = BookingRef(BookingId(10**9))
    async with adapters.open_work() as work:
        with pytest.raises(PaymentNotFound):
            await work.payments.get(PaymentId(UNKNOWN))
        with pytest.raises(PaymentNotFound):
            await work.payments.get_for(free)
        assert await work.payments.find_for(free) is None
        with pytest.raises(PaymentNotFound):
            await work.refunds.get(RefundId(UNKNOWN))
    for query in (adapters.payments.paid_for, adapters.payments.overview, adapters.payments.request_of):
        with pytest.raises(PaymentNotFound):
            await query(PaymentId(UNKNOWN))
    assert await adapters.payments.open_request(free) is None


async def test_payment_on_site_becomes_the_latest_of_the_booking(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    async with adapters.changing() as work:
        await work.payments.add_paid_on_the_spot(payment, NOW)
    async with adapters.open_work() as work:
        latest = await work.payments.get_for(payment.payable)
        assert await work.payments.get(payment.id) == payment
    assert latest.id != payment.id
    assert (latest.gateway, latest.status, latest.price) == (OFFLINE, PaymentStatus.COMPLETED, payment.price)


async def test_order_belongs_to_one_payment_of_a_gateway(adapters: BookingAdapters) -> None:
    """PostgreSQL and the adapters in memory have errors of their own for it: it is a programming error."""
    first, second = await opened(adapters), await opened(adapters)
    with pytest.raises(Exception, match="uq_payments_order"):
        async with adapters.changing() as work:
            await work.payments.save(replace(second, order_id=first.order_id))


async def test_disputes_of_a_payment_are_stored_in_their_latest_state(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    first = Dispute(f"d1 {payment.id}", inr(30), DisputeStatus.OPEN, is_inquiry=True, reason="fraudulent")
    second = Dispute(f"d2 {payment.id}", Money(inr(70).amount, "USD"), DisputeStatus.WON)
    async with adapters.changing() as work:
        assert list(await work.disputes.of(payment.id)) == []
        await work.disputes.save(payment, first, NOW)
        await work.disputes.save(payment, second, NOW)
    lost = replace(first, amount=inr(25), status=DisputeStatus.LOST, is_inquiry=False)
    async with adapters.changing() as work:
        await work.disputes.save(payment, lost, NOW + MINUTE)
    async with adapters.open_work() as work:
        assert list(await work.disputes.of(payment.id)) == [lost, second]
        assert list(await work.disputes.of(PaymentId(UNKNOWN))) == []


async def test_dispute_of_a_payment_is_stored_with_it(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    disputed = payment.with_disputes(
        [Dispute("1", inr(30), DisputeStatus.OPEN), Dispute("2", inr(40), DisputeStatus.LOST)]
    )
    async with adapters.changing() as work:
        await work.payments.save(disputed)
    async with adapters.open_work() as work:
        stored = await work.payments.get(payment.id)
    assert stored == disputed
    assert (stored.dispute, stored.charged_back, stored.refunds_wait) == (DisputeStatus.OPEN, Decimal(40), True)


async def test_refund_of_a_disputed_payment_waits_without_a_job(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    disputed = payment.with_disputes([Dispute("1", inr(100), DisputeStatus.OPEN)])
    async with adapters.changing() as work:
        first = await work.refunds.add(disputed, inr(30), reason="by_organiser", by=None, now=NOW)
        second = await work.refunds.add(disputed, inr(20), reason="by_organiser", by=None, now=NOW)
        accepted = await work.refunds.add(disputed, inr(10), reason="by_organiser", by=None, now=NOW)
        await work.refunds.settle(accepted, f"refund {payment.id}", succeeded=None, now=NOW)
    assert await adapters.messages(f"payment:{payment.id}") == []
    async with adapters.changing() as work:
        assert list(await work.refunds.waiting(payment.id)) == [first, second]
        await work.refunds.release([first])
        await work.refunds.end_by_dispute(second, "dispute", NOW)
    async with adapters.open_work() as work:
        assert await work.refunds.get(second.id) == replace(second, succeeded=False, ended_by="dispute")
        assert list(await work.refunds.waiting(payment.id)) == [first]
    assert await adapters.messages(f"payment:{payment.id}") == [(MessageType.REFUND_REQUESTED, Destination.PAYMENTS)]


async def test_webhook_about_a_dispute_waits_for_its_payment(adapters: BookingAdapters) -> None:
    gateway_id = f"pay {uuid4()}"
    update = DisputeUpdate(Dispute("1", inr(100), DisputeStatus.OPEN), gateway_id)
    events = [GatewayEvent(f"event {uuid4()}", "kind", update, {}) for _ in range(2)]
    other = GatewayEvent(f"event {uuid4()}", "kind", replace(update, gateway_id="another"), {})
    async with adapters.changing() as work:
        for minutes, event in enumerate([*events, other]):
            await work.gateway_events.add(GATEWAY, event, NOW + minutes * MINUTE)
    async with adapters.changing() as work:
        await work.gateway_events.lock_payment(GATEWAY, gateway_id)
        assert list(await work.gateway_events.waiting_for(GATEWAY, gateway_id)) == [event.id for event in events]
        assert list(await work.gateway_events.waiting_for("other", gateway_id)) == []
        assert (await work.gateway_events.report(GATEWAY, events[0].id))[0] == update
        await work.gateway_events.record_result(GATEWAY, events[0].id, "dispute_recorded", NOW)
        assert list(await work.gateway_events.waiting_for(GATEWAY, gateway_id)) == [events[1].id]


# Refunds


async def test_requested_refund_is_enqueued_for_the_gateway(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    async with adapters.changing() as work:
        refund = await work.refunds.add(payment, inr(30), reason="by_organiser", by=None, now=NOW)
        assert work.refunds.requested == [refund]
    assert (refund.payment_id, refund.payable, refund.gateway) == (payment.id, payment.payable, GATEWAY)
    assert (refund.amount, refund.reason, refund.succeeded) == (inr(30), "by_organiser", None)
    jobs = await adapters.messages(f"payment:{payment.id}")
    assert jobs == to(MessageType.REFUND_REQUESTED, Destination.PAYMENTS)
    async with adapters.open_work() as work:
        assert await work.refunds.get(refund.id) == refund
        assert work.refunds.requested == []


async def test_refund_processed_at_the_gateway_is_not_enqueued(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    gateway_refund_id = f"refund {payment.id}"
    async with adapters.changing() as work:
        refund = await work.refunds.add_processed(payment, inr(30), gateway_refund_id, reason="outside", now=NOW)
        assert work.refunds.requested == []
    assert refund.succeeded is True
    assert await adapters.messages(f"payment:{payment.id}") == []
    async with adapters.open_work() as work:
        assert await work.refunds.find(RefundUpdate(gateway_refund_id, "any", inr(30), succeeded=True)) == refund


async def test_refund_is_found_by_our_id_or_by_that_of_the_gateway(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    gateway_refund_id = f"refund {payment.id}"
    async with adapters.changing() as work:
        refund = await work.refunds.add(payment, inr(30), reason="by_organiser", by=None, now=NOW)
    update = RefundUpdate(gateway_refund_id, "any", inr(30), succeeded=True)
    async with adapters.changing() as work:
        assert await work.refunds.find(update) is None
        assert await work.refunds.find(replace(update, refund_id=refund.id)) == refund
        await work.refunds.settle(refund, gateway_refund_id, succeeded=None, now=NOW)
    async with adapters.changing() as work:
        accepted = replace(refund, gateway_refund_id=gateway_refund_id)
        assert await work.refunds.find(update) == accepted
        await work.refunds.settle(refund, None, succeeded=True, now=NOW)
    async with adapters.changing() as work:
        settled = await work.refunds.find(update)
        assert settled == replace(accepted, succeeded=True)
        await work.refunds.settle(settled, None, succeeded=False, now=NOW)
    async with adapters.open_work() as work:
        assert (await work.refunds.get(refund.id)).succeeded is False


# Webhooks


def webhook(report: GatewayUpdate | RefundUpdate | None) -> GatewayEvent:
    return GatewayEvent(f"event {uuid4()}", "kind", report, {"a": 1})


async def test_webhook_is_stored_once(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    event = webhook(received(payment))
    async with adapters.changing() as work:
        assert await work.gateway_events.add(GATEWAY, event, NOW)
        assert not await work.gateway_events.add(GATEWAY, event, NOW + HOUR)
        assert await work.gateway_events.add("other", event, NOW + HOUR)
        await work.messages.enqueue_webhook(GATEWAY, event.id)
    async with adapters.open_work() as work:
        assert await work.gateway_events.report(GATEWAY, event.id) == (received(payment), NOW)
    jobs = await adapters.messages(f"webhook:{GATEWAY}:{event.id}")
    assert jobs == to(MessageType.GATEWAY_EVENT, Destination.PAYMENTS)


async def test_update_in_a_webhook_is_kept_whole(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    nested = RefundUpdate("refund", "pay", inr("30.50"), succeeded=False, refund_id=UNKNOWN, payment=received(payment))
    for report in (nested, replace(nested, payment=None), None):
        event = webhook(report)
        async with adapters.changing() as work:
            await work.gateway_events.add(GATEWAY, event, NOW)
        async with adapters.open_work() as work:
            assert await work.gateway_events.report(GATEWAY, event.id) == (report, NOW)


async def test_first_arrival_is_that_of_the_first_webhook_that_is_not_applied(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    update = received(payment)
    failed, first, second = (
        webhook(replace(update, report=PaymentUpdate.FAILED)),
        webhook(update),
        webhook(replace(update, order_id=None)),
    )
    async with adapters.changing() as work:
        assert await work.gateway_events.first_arrival(GATEWAY, payment.order_id, payment.id) is None
        for number, event in enumerate((failed, first, second)):
            await work.gateway_events.add(GATEWAY, event, NOW + number * MINUTE)
    async with adapters.changing() as work:
        assert await work.gateway_events.first_arrival(GATEWAY, payment.order_id, payment.id) == NOW + MINUTE
        assert await work.gateway_events.first_arrival(GATEWAY, payment.order_id, PaymentId(UNKNOWN)) == NOW + MINUTE
        assert await work.gateway_events.first_arrival("other", payment.order_id, payment.id) is None
        await work.gateway_events.record_result(GATEWAY, first.id, "received", NOW)
    async with adapters.open_work() as work:
        assert await work.gateway_events.first_arrival(GATEWAY, payment.order_id, payment.id) == NOW + 2 * MINUTE


# Queries and checkouts


async def test_payment_is_shown_with_what_it_pays_for(adapters: BookingAdapters) -> None:
    event, user = await adapters.event(), await adapters.person()
    reserved = await adapters.booked(event, user)
    assert reserved.payment_id is not None
    overview = await adapters.payments.overview(reserved.payment_id)
    assert (overview.reference, overview.title, overview.price) == (reserved.reference, "Yoga", inr(100))
    assert (overview.starts_at, overview.ends_at) == (event.details.interval.starts_at, event.details.interval.ends_at)
    assert (overview.is_cancelled, overview.payment_status) == (False, PaymentStatus.PENDING)
    assert (overview.hold_until, overview.checkout_url, overview.return_url) == (NOW + HOLD, None, None)
    paid_for = await adapters.payments.paid_for(reserved.payment_id)
    assert (paid_for.payable, paid_for.payment_status) == (BookingRef(reserved.id), PaymentStatus.PENDING)
    request, gateway = await adapters.payments.request_of(reserved.payment_id)
    assert (request.price, request.title, request.until, gateway) == (inr(100), "Yoga", NOW + HOLD, GATEWAY)
    assert (request.user_email, request.event_id) == (user.email, event.id)
    assert request.facilitator_id == event.facilitator_id


async def test_checkout_of_an_open_request_is_stored(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    found = await adapters.payments.open_request(payment.payable)
    assert found is not None
    assert (found.url, found.request.payment_id) == ("https://gateway.example/1", payment.id)
    assert payment.order_id == f"order {payment.id}"
    await adapters.checkouts.save_return_url([payment.payable], "https://front-end.example/")
    overview = await adapters.payments.overview(payment.id)
    assert (overview.checkout_url, overview.return_url) == (found.url, "https://front-end.example/")


async def test_paid_cancelled_and_expired_bookings_have_no_open_request(adapters: BookingAdapters) -> None:
    paid = await adapters.paid()
    cancelled = await adapters.booked()
    expired = await adapters.booked(now=NOW - 2 * HOLD)
    async with adapters.changing() as work:
        await work.events.get(cancelled.event_id)
        await work.bookings.save((await work.bookings.get(cancelled.id)).expired(NOW))
    for booking_id in (paid, cancelled.id, expired.id):
        assert await adapters.payments.open_request(BookingRef(booking_id)) is None


async def test_booking_has_its_client_in_every_state(adapters: BookingAdapters) -> None:
    client = await adapters.person()
    booked = await adapters.booked(user=client)
    assert await adapters.payments.client_of(BookingRef(booked.id)) == client.id
    async with adapters.changing() as work:
        await work.events.get(booked.event_id)
        await work.bookings.save((await work.bookings.get(booked.id)).expired(NOW))
    assert await adapters.payments.client_of(BookingRef(booked.id)) == client.id
    with pytest.raises(BookingNotFound):
        await adapters.payments.client_of(BookingRef(BookingId(10**9)))


async def test_expired_holds_are_those_of_live_unpaid_bookings(adapters: BookingAdapters) -> None:
    later, sooner = await adapters.booked(), await adapters.booked(now=NOW - MINUTE)
    paid = await adapters.paid()
    cancelled = await adapters.booked()
    async with adapters.changing() as work:
        await work.events.get(cancelled.event_id)
        await work.bookings.save((await work.bookings.get(cancelled.id)).expired(NOW))
    own = {later.id, sooner.id, paid, cancelled.id}

    async def expired(after: timedelta) -> list[BookingId]:
        return [each for each in await adapters.payments.expired_holds(NOW + after, limit=1000) if each in own]

    assert await expired(HOLD - 2 * MINUTE) == []
    assert await expired(HOLD - MINUTE) == [sooner.id]
    assert await expired(HOLD) == [sooner.id, later.id]
    assert len(await adapters.payments.expired_holds(NOW + HOLD, limit=1)) == 1
    assert (await adapters.booking(cancelled.id)).status is BookingStatus.CANCELLED


async def test_open_payments_are_claimed_once_for_a_look_up(adapters: BookingAdapters) -> None:
    old, new = await adapters.booked(now=NOW - HOUR), await adapters.booked(now=NOW + HOUR)
    ancient = await adapters.booked(now=NOW - timedelta(days=4))
    paid = await adapters.payment(await adapters.paid())
    own = {old.payment_id, new.payment_id, ancient.payment_id, paid.id}

    async def claimed(*apart_from: str) -> list[PaymentId]:
        due = await adapters.checkouts.claim_to_look_up(older_than=2 * MINUTE, limit=1000, apart_from=apart_from)
        return [each for each in due if each in own]

    assert await claimed(GATEWAY) == []
    assert await claimed() == [old.payment_id]
    assert await claimed() == []


# The comparison with the gateways


async def test_payments_to_compare_are_in_the_order_of_their_ids(adapters: BookingAdapters) -> None:
    first, second = await opened(adapters), await opened(adapters)
    without_order = await adapters.payment((await adapters.booked()).id)
    page = await adapters.audit.payments(since=None, after=None, limit=10_000, at_gateways=True)
    ids = [each.payment.id for each in page]
    assert [each for each in ids if each in {first.id, second.id, without_order.id}] == [first.id, second.id]
    later = await adapters.audit.payments(since=NOW, after=first.id, limit=1, at_gateways=True)
    assert [each.payment.id for each in later] == [second.id]
    every = await adapters.audit.payments(since=NOW, after=second.id, limit=10, at_gateways=False)
    assert without_order.id in {each.payment.id for each in every}
    assert await adapters.audit.payments(since=NOW + HOUR, after=second.id, limit=10, at_gateways=False) == []


async def test_stored_amounts_are_those_requested_and_processed(adapters: BookingAdapters) -> None:
    booking_id = await adapters.paid()
    payment = await adapters.payment(booking_id)
    async with adapters.changing() as work:
        processed = await work.refunds.add(payment, inr(30), reason="by_organiser", by=None, now=NOW)
        await work.refunds.add(payment, inr(20), reason="by_organiser", by=None, now=NOW)
        await work.payments.save(payment.with_refund(inr(50)))
        await work.refunds.settle(processed, f"refund {payment.id}", succeeded=True, now=NOW)
    booked = await adapters.audit.get(payment.id)
    assert (booked.received, booked.payment.refunded, booked.given_back) == (inr(100), inr(50), inr(30))
    assert (booked.reference, booked.created_at) == ((await adapters.booking(booking_id)).reference, NOW)
    with pytest.raises(PaymentNotFound):
        await adapters.audit.get(PaymentId(UNKNOWN))


async def test_failed_and_old_refunds_are_stuck(adapters: BookingAdapters) -> None:
    payment = await adapters.payment(await adapters.paid())
    async with adapters.changing() as work:
        ages = {0 * HOUR: None, 2 * HOUR: None, 3 * HOUR: False, 4 * HOUR: True}
        refunds = [
            await work.refunds.add(payment, inr(10), reason="by_organiser", by=None, now=NOW - age) for age in ages
        ]
        for refund, succeeded in zip(refunds, ages.values(), strict=True):
            await work.refunds.settle(refund, None, succeeded=succeeded, now=NOW)
    stuck = await adapters.audit.stuck_refunds(since=None, older_than=HOUR)
    own = [(each.id, each.failed) for each in stuck if each.id in {refund.id for refund in refunds}]
    assert own == [(refunds[2].id, True), (refunds[1].id, False)]


async def test_same_mismatch_is_listed_once(adapters: BookingAdapters) -> None:
    payment = await opened(adapters)
    async with adapters.changing() as work:
        for _ in range(2):
            await work.payments.record_mismatch(GATEWAY, received(payment), payment.id, "received too much")
    listed = await adapters.audit.mismatches(since=None)
    own = [(each.gateway, each.why) for each in listed if each.order_id == payment.order_id]
    assert own == [(GATEWAY, "received too much")]
