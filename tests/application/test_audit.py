"""Rules of the comparison of all payments with the gateways' records."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from application.payments.audit import Audit, AuditPayments, mismatch_reason
from application.payments.ports.gateways import GatewayRecord, RefundRequest
from application.payments.ports.reconciliation import BookedPayment
from domain.accounts import Role
from domain.disputes import DisputeStatus
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import MessageStatus
from domain.payments import OFFLINE, PaymentId, RefundUpdate
from domain.refunds import RefundId
from tests.application.booking_application import DAY, HOUR, BookingApplication, inr
from tests.support.memory.audit import MemoryPaymentAudit
from tests.support.memory.gateway import Behaviour
from tests.support.memory.rows import messages_in


async def audit(app: BookingApplication, **more: object) -> Audit:
    compare = AuditPayments(MemoryPaymentAudit(app.store, app.clock), app.gateways, timedelta(0))
    return await compare(**more)  # type: ignore[arg-type]


def refund_outside(app: BookingApplication, booking_id: BookingId, amount: int) -> None:
    payment = app.payment(booking_id)
    request = RefundRequest(RefundId(payment.id), payment, inr(amount))
    app.gateway.refunds[request.refund_id] = request


async def test_equal_records_are_no_findings(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    await app.book(event)
    await app.cancel_booking(app.owner(refunded := await app.paid(event)), refunded)
    await app.work()
    found = await audit(app)
    assert (found.findings, found.compared) == (0, 3)


async def test_received_amounts_have_to_be_equal(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.gateway.pay(app.payment_id(booking.id))
    found = await audit(app)
    assert [each.why for each in found.mismatches] == ["received 0.00 INR here, 100.00 INR at the gateway"]
    assert [each.booked.reference for each in found.mismatches] == [booking.reference]
    assert found.compared == 1


async def test_refund_at_the_gateway_is_between_processed_and_requested_refunds(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await app.refund_booking(app.facilitator(event), booking_id, inr(30).amount)
    assert (await audit(app)).findings == 0
    refund_outside(app, booking_id, 10)
    assert (await audit(app)).findings == 0, "a part of what is requested"
    app.gateway.refunds.clear()
    await app.work()
    assert (await audit(app)).findings == 0
    refund_outside(app, booking_id, 1)
    found = await audit(app)
    assert [each.why for each in found.mismatches] == ["given back 30.00 INR here, 31.00 INR at the gateway"]


async def test_refund_in_another_currency_is_a_mismatch(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    await app.refund_booking(await app.person(Role.ADMIN), booking_id, None)
    booked = BookedPayment(app.payment(booking_id), "BK1", app.clock.now(), inr(0))
    update = app.gateway.update(booked.payment.id)
    euros = GatewayRecord(update, inr(100), Money(Decimal(30), "EUR"))
    assert mismatch_reason(booked, euros) == "given back 0.00 INR here, 30.00 EUR at the gateway"
    assert mismatch_reason(booked, replace(euros, refunded=inr(30))) is None
    assert mismatch_reason(booked, replace(euros, refunded=Money(Decimal(0), "EUR"))) is None


async def test_refund_that_was_processed_and_is_not_at_the_gateway_is_a_mismatch(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    await app.refund_booking(await app.person(Role.ADMIN), booking_id, Decimal(30))
    await app.work()
    app.gateway.refunds.clear()
    refund_outside(app, booking_id, 29)
    assert [each.why for each in (await audit(app)).mismatches] == [
        "given back 30.00 INR here, 29.00 INR at the gateway"
    ]


async def test_payment_that_failed_at_the_gateway_is_a_mismatch(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.gateway.decline(app.payment_id(booking.id))
    assert [each.why for each in (await audit(app)).mismatches] == ["waited for here, failed at the gateway"]


async def test_payment_in_transit_is_no_mismatch(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    update = app.gateway.pay(app.payment_id(booking.id))

    class WebhookArrives(MemoryPaymentAudit):
        """Between the two comparisons."""

        async def get(self, payment_id: PaymentId) -> BookedPayment:
            await app.settle("gateway", update)
            return await super().get(payment_id)

    arriving = WebhookArrives(app.store, app.clock)
    found = await AuditPayments(arriving, app.gateways, timedelta(0))()
    assert (found.findings, found.compared) == (0, 1)


async def test_unavailable_gateway_is_requested_once(app: BookingApplication) -> None:
    event = await app.event()
    for _ in range(7):
        await app.paid(event)
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    app.gateway.calls.clear()
    found = await audit(app)
    assert (found.compared, found.missed, list(found.away)) == (0, {"gateway": 7}, ["gateway"])
    assert len(app.gateway.calls) <= 5


async def test_refusal_of_the_gateway_is_a_mismatch(app: BookingApplication) -> None:
    await app.paid(await app.event())
    app.gateway.behaviour = Behaviour.REFUSES
    assert [each.why for each in (await audit(app)).mismatches] == ["The payment gateway refused"]


async def test_payments_without_an_order_are_not_compared(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    await app.book(await app.event())
    assert (await audit(app)).compared == 0
    on_site = BookingApplication(gateway=OFFLINE)
    await on_site.book(await on_site.event())
    assert (await audit(on_site)).compared == 0


async def test_earlier_payments_are_left_out(app: BookingApplication) -> None:
    await app.paid(await app.event())
    assert (await audit(app, since=app.clock.now())).compared == 1
    assert (await audit(app, since=app.clock.now() + HOUR)).compared == 0


async def test_mismatches_stuck_refunds_and_dead_letters_are_listed(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    update = app.gateway.update(app.payment_id(booking_id))
    await app.settle("gateway", replace(update, amount=inr(1)))
    refund = await app.refund_booking(app.facilitator(event), booking_id, inr(30).amount)
    found = await audit(app)
    assert (len(found.kept), found.stuck, found.dead) == (1, [], [])
    app.clock.advance(DAY)
    (job,) = [row for row in messages_in(app.store.tables) if row.ordering_key == f"payment:{refund.payment_id}"]
    job.status = MessageStatus.DEAD
    found = await audit(app)
    assert [(each.id, each.failed) for each in found.stuck] == [(refund.id, False)]
    assert [each.ordering_key for each in found.dead] == [job.ordering_key]
    assert found.findings == 3
    failed = RefundUpdate("refund", "any", inr(30), succeeded=False, refund_id=refund.id)
    await app.refunds.settle_update("gateway", failed)
    assert [each.failed for each in (await audit(app)).stuck] == [True]
    later = await audit(app, since=app.clock.now() + HOUR)
    assert (later.stuck, later.dead) == ([], [])


async def test_payments_are_read_in_pages(app: BookingApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    event = await app.event()
    for _ in range(5):
        await app.paid(event)
    read, sizes = MemoryPaymentAudit.payments, []

    async def counted(self: MemoryPaymentAudit, **more: Any) -> Sequence[BookedPayment]:
        page = await read(self, **more)
        sizes.append(len(page))
        return page

    monkeypatch.setattr(MemoryPaymentAudit, "payments", counted)
    monkeypatch.setattr("application.payments.audit.PAGE", 2)
    assert (await audit(app)).compared == 5
    assert sizes == [2, 2, 1, 0]


async def test_disputes_have_to_be_equal_and_a_lost_one_counts_as_returned(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    opened = app.gateway.dispute(app.payment_id(booking_id))
    assert [each.why for each in (await audit(app)).mismatches] == ["dispute unknown here, open at the gateway"]
    await app.settle_dispute("gateway", opened)
    assert (await audit(app)).findings == 0
    lost = app.gateway.dispute(app.payment_id(booking_id), DisputeStatus.LOST)
    found = await audit(app)
    assert [each.why for each in found.mismatches] == ["charged back 0.00 INR here, 100.00 INR at the gateway"]
    await app.settle_dispute("gateway", lost)
    assert (await audit(app)).findings == 0
    app.gateway.disputes.clear()
    found = await audit(app)
    assert [each.why for each in found.mismatches] == ["charged back 100.00 INR here, 0.00 INR at the gateway"]


async def test_refund_that_a_lost_dispute_has_ended_is_no_finding(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    await app.settle_dispute("gateway", app.gateway.dispute(app.payment_id(booking_id)))
    await app.cancel_booking(app.owner(booking_id), booking_id)
    await app.settle_dispute("gateway", app.gateway.dispute(app.payment_id(booking_id), DisputeStatus.LOST))
    await app.work()
    app.clock.advance(DAY)
    assert (await audit(app)).findings == 0
