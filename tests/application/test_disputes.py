"""Rules of disputes: what a gateway's update on one changes for the payment, its booking and its refunds."""

from dataclasses import replace
from itertools import permutations

import pytest

from application.payments.disputes import DisputeOutcome
from application.payments.ports.records import StoredUpdate
from application.payments.refunds import AT_THE_GATEWAY, RefundOutcome
from application.payments.settlement import Settled
from domain.bookings import BookingStatus
from domain.disputes import DisputeStatus, PaymentChargedBack, PaymentDisputed
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import DisputeUpdate, Payment, PaymentStatus, RefundUpdate
from domain.refunds import PAID_TWICE, SEAT_GONE
from tests.application.booking_application import DAY, HOLD, BookingApplication, delivered, inr

OPEN, WON, LOST = DisputeStatus


async def settle(app: BookingApplication, booking_id: BookingId, status: DisputeStatus, **about: object) -> object:
    update = app.gateway.dispute(app.payment_id(booking_id), status, **about)  # type: ignore[arg-type]
    return await app.settle_dispute("gateway", update)


async def disputed(app: BookingApplication, **about: object) -> BookingId:
    booking_id = await app.paid(await app.event())
    assert await settle(app, booking_id, OPEN, **about) is DisputeOutcome.RECORDED
    return booking_id


def states(app: BookingApplication, booking_id: BookingId) -> tuple[object, ...]:
    booking, payment = app.booking(booking_id), app.payment(booking_id)
    assert booking.dispute is payment.dispute
    assert booking.payment_status is payment.status
    return payment.dispute, payment.status, payment.charged_back


@pytest.mark.parametrize(
    ("status", "type_"),
    [(OPEN, MessageType.DISPUTE_OPENED), (WON, MessageType.DISPUTE_WON), (LOST, MessageType.DISPUTE_LOST)],
)
async def test_dispute_is_announced_to_crm_and_live_updates_and_not_to_the_client(
    app: BookingApplication, status: DisputeStatus, type_: MessageType
) -> None:
    booking_id = await app.paid(await app.event())
    assert await settle(app, booking_id, status) is DisputeOutcome.RECORDED
    assert {destination for _, destination in app.sent(type_)} == {Destination.CRM, Destination.REALTIME}
    for message in app.messages(type_):
        assert (message.ordering_key, message.payload["money"]) == (f"booking:{booking_id}", inr(100))
        assert message.payload["dispute"] is status


async def test_open_dispute_changes_no_status(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    assert states(app, booking_id) == (OPEN, PaymentStatus.COMPLETED, 0)
    assert app.booking(booking_id).status is BookingStatus.CONFIRMED


async def test_won_dispute_leaves_the_payment_as_it_was(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await settle(app, booking_id, WON)
    assert states(app, booking_id) == (WON, PaymentStatus.COMPLETED, 0)


async def test_lost_dispute_counts_as_returned(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await settle(app, booking_id, LOST)
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 100)
    assert app.payment(booking_id).refundable.is_zero
    assert app.mismatches() == []


async def test_repeated_and_late_reports_change_nothing(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    payment_id = app.payment_id(booking_id)
    opened = app.gateway.dispute(payment_id)
    assert await app.settle_dispute("gateway", opened) is DisputeOutcome.NO_CHANGE
    lost = app.gateway.dispute(payment_id, LOST)
    await app.settle_dispute("gateway", lost)
    before = app.store.tables
    for late in (lost, opened):
        assert await app.settle_dispute("gateway", late) is DisputeOutcome.NO_CHANGE
    assert app.store.tables == before


async def test_other_result_of_a_decided_dispute_is_stored_as_a_mismatch(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await settle(app, booking_id, WON)
    assert await settle(app, booking_id, LOST) is DisputeOutcome.DIFFERS
    assert states(app, booking_id) == (WON, PaymentStatus.COMPLETED, 0)
    assert app.mismatches() == ["the dispute dispute-1-1 is lost at the gateway, won here"]


async def test_payment_has_the_status_of_all_its_disputes(app: BookingApplication) -> None:
    booking_id = await disputed(app, amount=inr(30))
    await settle(app, booking_id, LOST, amount=inr(30))
    assert states(app, booking_id) == (LOST, PaymentStatus.COMPLETED, 30)
    await settle(app, booking_id, OPEN, number=2, amount=inr(70))
    assert states(app, booking_id) == (OPEN, PaymentStatus.COMPLETED, 30)
    await settle(app, booking_id, WON, number=2, amount=inr(70))
    assert states(app, booking_id) == (LOST, PaymentStatus.COMPLETED, 30)
    await settle(app, booking_id, LOST, number=3, amount=inr(70))
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 100)


async def test_dispute_in_another_currency_is_about_the_whole_payment_and_stored_as_a_mismatch(
    app: BookingApplication,
) -> None:
    booking_id = await app.paid(await app.event())
    await settle(app, booking_id, LOST, amount=Money(inr(1).amount, "USD"))
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 100)
    assert app.mismatches() == ["the dispute dispute-1-1 about 1.00 USD is lost, after 0.00 INR in refunds"]


# Refunds that people request


async def test_disputed_payment_is_not_refunded_until_the_dispute_is_won(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    facilitator = app.facilitator(app.stored_event(app.booking(booking_id).event_id))
    with pytest.raises(PaymentDisputed):
        await app.refund_booking(facilitator, booking_id, None)
    assert app.refunded() == []
    await settle(app, booking_id, WON)
    await app.refund_booking(facilitator, booking_id, None)
    assert delivered(await app.work())
    assert app.payment(booking_id).status is PaymentStatus.REFUNDED


async def test_lost_payment_is_not_refunded(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await settle(app, booking_id, LOST)
    with pytest.raises(PaymentChargedBack):
        await app.refund_booking(app.facilitator(app.stored_event(app.booking(booking_id).event_id)), booking_id, None)


async def test_inquiry_does_not_hinder_a_refund_until_it_becomes_a_chargeback(app: BookingApplication) -> None:
    booking_id = await disputed(app, is_inquiry=True)
    facilitator = app.facilitator(app.stored_event(app.booking(booking_id).event_id))
    await app.refund_booking(facilitator, booking_id, inr(30).amount)
    assert delivered(await app.work())
    assert await settle(app, booking_id, OPEN, is_inquiry=True) is DisputeOutcome.NO_CHANGE
    assert await settle(app, booking_id, OPEN) is DisputeOutcome.RECORDED
    assert await settle(app, booking_id, OPEN, is_inquiry=True) is DisputeOutcome.NO_CHANGE
    with pytest.raises(PaymentDisputed):
        await app.refund_booking(facilitator, booking_id, None)


# Refunds that follow from a rule


async def test_refund_of_a_cancelled_booking_is_made_when_its_dispute_is_won(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    refund = await app.cancel_booking(app.owner(booking_id), booking_id)
    assert refund is not None
    assert await app.work() == []
    assert app.gateway.refunds == {}
    assert app.booking(booking_id).status is BookingStatus.CANCELLED
    await settle(app, booking_id, WON)
    assert delivered(await app.work())
    assert [each.amount for each in app.gateway.refunds.values()] == [inr(100)]
    assert states(app, booking_id) == (WON, PaymentStatus.REFUNDED, 0)
    assert len(app.messages(MessageType.BOOKING_REFUNDED)) == 3


async def test_refund_of_a_cancelled_booking_ends_when_its_dispute_is_lost(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await app.cancel_booking(app.owner(booking_id), booking_id)
    await settle(app, booking_id, LOST)
    assert await app.work() == []
    assert app.gateway.refunds == {}
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 100)
    assert app.payment(booking_id).refunded.is_zero
    (row,) = app.stored_refunds()
    assert (row.refund.succeeded, row.refund.ended_by) == (False, "dispute-1-1")
    assert app.messages(MessageType.BOOKING_REFUNDED) == []


async def test_refund_is_made_of_what_a_lost_dispute_left(app: BookingApplication) -> None:
    booking_id = await disputed(app, amount=inr(40))
    await app.cancel_booking(app.owner(booking_id), booking_id)
    await settle(app, booking_id, LOST, amount=inr(40))
    assert delivered(await app.work())
    assert [each.amount for each in app.gateway.refunds.values()] == [inr(60)]
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 40)
    assert app.payment(booking_id).refunded == inr(60)


async def test_refund_waits_unchanged_until_the_last_of_two_disputes_is_decided(app: BookingApplication) -> None:
    booking_id = await disputed(app, amount=inr(30))
    await settle(app, booking_id, OPEN, number=2, amount=inr(70))
    await app.cancel_booking(app.owner(booking_id), booking_id)
    waiting = app.stored_refunds()
    await settle(app, booking_id, LOST, amount=inr(30))
    assert await app.work() == []
    assert app.stored_refunds() == waiting
    await settle(app, booking_id, WON, number=2, amount=inr(70))
    assert delivered(await app.work())
    assert [each.amount for each in app.gateway.refunds.values()] == [inr(70)]


async def test_refunds_of_a_cancelled_event_wait_for_the_disputed_payments_only(app: BookingApplication) -> None:
    event = await app.event()
    disputed_id, other_id = [await app.paid(event) for _ in range(2)]
    await settle(app, disputed_id, OPEN)
    cancelled = await app.cancel_event(app.facilitator(event), event.id)
    assert (cancelled.refunds, cancelled.total) == (2, inr(200))
    assert delivered(await app.work())
    assert [each.payment.id for each in app.gateway.refunds.values()] == [app.payment_id(other_id)]
    await settle(app, disputed_id, WON)
    assert delivered(await app.work())
    assert len(app.gateway.refunds) == 2


async def test_cancellation_after_a_lost_dispute_refunds_nothing(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    await settle(app, booking_id, LOST)
    assert (await app.show_cancellation(app.owner(booking_id), booking_id)).dispute is LOST
    assert await app.cancel_booking(app.owner(booking_id), booking_id) is None
    assert app.refunded() == []


async def test_cancelled_event_refunds_what_a_lost_dispute_left(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await settle(app, booking_id, LOST, amount=inr(40))
    await app.cancel_event(app.facilitator(event), event.id)
    assert [amount for amount, _ in app.refunded()] == [inr(60)]
    assert states(app, booking_id) == (LOST, PaymentStatus.REFUNDED, 40)


async def test_requested_refund_waits_if_its_job_runs_after_the_dispute(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    await app.cancel_booking(app.owner(booking_id), booking_id)
    await settle(app, booking_id, OPEN)
    assert delivered(await app.work())
    assert app.gateway.refunds == {}
    await settle(app, booking_id, WON)
    assert delivered(await app.work())
    assert len(app.gateway.refunds) == 1


@pytest.mark.parametrize(("then", "refunds"), [(WON, 1), (LOST, 0)])
async def test_refund_that_the_gateway_refuses_waits_for_the_dispute_that_it_reports(
    app: BookingApplication, then: DisputeStatus, refunds: int
) -> None:
    """The webhook about the dispute is lost."""
    booking_id = await app.paid(await app.event())
    await app.cancel_booking(app.owner(booking_id), booking_id)
    app.gateway.dispute(app.payment_id(booking_id))
    assert not delivered(await app.work())
    assert states(app, booking_id) == (OPEN, PaymentStatus.REFUNDED, 0)
    await settle(app, booking_id, then)
    assert delivered(await app.work())
    assert len(app.gateway.refunds) == refunds


async def test_refund_that_the_gateway_has_accepted_does_not_wait(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    app.gateway.refunds_are_settled = False
    await app.cancel_booking(app.owner(booking_id), booking_id)
    assert not delivered(await app.work())
    await settle(app, booking_id, OPEN)
    app.gateway.refunds_are_settled = True
    assert delivered(await app.work())
    assert [row.refund.succeeded for row in app.stored_refunds()] == [True]
    assert await settle(app, booking_id, LOST) is DisputeOutcome.RECORDED
    assert app.mismatches() == ["the dispute dispute-1-1 about 100.00 INR is lost, after 100.00 INR in refunds"]


async def test_refund_of_which_only_the_answer_was_lost_is_stored_as_a_mismatch_after_a_lost_dispute(
    app: BookingApplication,
) -> None:
    booking_id = await app.paid(await app.event())
    refund = await app.cancel_booking(app.owner(booking_id), booking_id)
    assert refund is not None
    app.gateway.lost_answers = 1
    await app.work()
    await settle(app, booking_id, OPEN)
    await settle(app, booking_id, LOST)
    update = RefundUpdate("refund-there", "pay-1", inr(100), succeeded=True, refund_id=refund.id)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.DIFFERS
    assert app.mismatches() == ["the gateway refunded 100.00 INR (refund-there) after a lost dispute"]
    failed = replace(update, succeeded=False)
    assert await app.refunds.settle_update("gateway", failed) is RefundOutcome.SETTLED


async def test_refund_at_the_gateway_is_recorded_for_an_inquiry(app: BookingApplication) -> None:
    booking_id = await disputed(app, is_inquiry=True)
    update = RefundUpdate("refund-there", "pay-1", inr(100), succeeded=True)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.RECORDED
    await settle(app, booking_id, WON, is_inquiry=True)
    assert states(app, booking_id) == (WON, PaymentStatus.REFUNDED, 0)
    assert app.refunded() == [(inr(100), AT_THE_GATEWAY)]


# Webhooks


async def test_dispute_that_arrives_before_its_payment_waits_for_it(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    for status in (OPEN, LOST):
        await app.receives(app.gateway.dispute(app.payment_id(booking.id), status), event_id=f"event-{status}")
    assert app.booking(booking.id).dispute is None
    await app.receives(payment)
    assert delivered(await app.work())
    assert states(app, booking.id) == (LOST, PaymentStatus.REFUNDED, 100)
    assert all(row.outcome for row in app.store.tables.of("gateway_events").values())


@pytest.mark.parametrize("status", [OPEN, LOST])
async def test_dispute_that_arrives_before_a_payment_that_has_to_be_refunded(
    app: BookingApplication, status: DisputeStatus
) -> None:
    """Whichever job runs first, the money is returned once."""
    event = await app.event(capacity=1)
    booking = (await app.book(event)).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    await app.receives(app.gateway.dispute(app.payment_id(booking.id), status))
    app.clock.advance(HOLD)
    await app.expire_holds()
    await app.book(event)
    app.clock.advance(DAY)
    await app.receives(payment)
    for _ in range(3):
        await app.work()
    assert app.gateway.refunds == {}
    if status is OPEN:
        await app.receives(app.gateway.dispute(app.payment_id(booking.id), WON))
        await app.work()
        assert [each.amount for each in app.gateway.refunds.values()] == [inr(100)]
    assert SEAT_GONE in {reason for _, reason in app.refunded()} | {PAID_TWICE}
    assert app.payment(booking.id).returned == 100


async def test_dispute_with_the_update_on_its_payment_needs_no_other_webhook(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    await app.receives(replace(app.gateway.dispute(app.payment_id(booking.id)), payment=payment))
    assert states(app, booking.id) == (OPEN, PaymentStatus.COMPLETED, 0)


async def test_dispute_of_a_payment_that_is_not_ours_waits_and_changes_nothing(app: BookingApplication) -> None:
    booking_id = await disputed(app)
    before = app.booking(booking_id), app.payment(booking_id)
    update = replace(app.gateway.dispute(app.payment_id(booking_id), LOST), gateway_id="of another shop")
    await app.receives(update)
    assert (app.booking(booking_id), app.payment(booking_id)) == before
    assert app.mismatches() == []


def updates_of(app: BookingApplication, payment: Payment) -> list[DisputeUpdate]:
    inquiry = app.gateway.dispute(payment.id, is_inquiry=True)
    return [inquiry, app.gateway.dispute(payment.id), app.gateway.dispute(payment.id, LOST)]


async def test_all_orders_of_a_disputes_webhooks_end_in_one_state() -> None:
    for order in permutations(range(4)):
        app = BookingApplication(reminder_offsets=())
        booking = (await app.book(await app.event())).reserved
        received = app.gateway.pay(app.payment_id(booking.id))
        updates: list[StoredUpdate] = [received, *updates_of(app, app.payment(booking.id))]
        for each in order * 2:
            await app.receives(updates[each])
        await app.work()
        assert states(app, booking.id) == (LOST, PaymentStatus.REFUNDED, 100), order
        assert len(app.messages(MessageType.DISPUTE_LOST)) == 2, order


async def test_payment_without_an_id_of_the_gateway_has_no_disputes(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment = app.gateway.pay(app.payment_id(booking.id))
    await app.receives(app.gateway.dispute(app.payment_id(booking.id)))
    assert await app.settle("gateway", replace(payment, gateway_id=None)) is Settled.RECEIVED
    assert states(app, booking.id) == (None, PaymentStatus.COMPLETED, 0)
