"""Rules of refunds: requested in the transaction that causes them, sent to the gateway by the worker."""

from dataclasses import replace
from decimal import Decimal

import pytest

from application.payments.ports.records import Refund
from application.payments.refunds import AT_THE_GATEWAY, RefundOutcome
from domain.accounts import Role
from domain.bookings import BookingNotFound, BookingStatus, CancelReason
from domain.errors import Invalid
from domain.events import EventForbidden
from domain.ids import BookingId
from domain.outbox import Delivered, Destination, Failed, MessageType
from domain.payments import OFFLINE, NothingToRefund, PaymentStatus, RefundExceedsPayment, RefundUpdate
from tests.application.booking_application import DAY, BookingApplication, delivered, inr
from tests.support.memory.gateway import Behaviour
from tests.support.memory.payments import MemoryRefunds


async def requested(app: BookingApplication, amount: str | None = None) -> BookingId:
    """A paid booking with a requested refund."""
    event = await app.event()
    booking_id = await app.paid(event)
    await app.refund_booking(app.facilitator(event), booking_id, Decimal(amount) if amount else None)
    return booking_id


def outside(app: BookingApplication, booking_id: BookingId, amount: int, *, succeeded: bool = True) -> RefundUpdate:
    """The gateway's update on a refund made in its dashboard."""
    gateway_id = app.payment(booking_id).gateway_id
    assert gateway_id is not None
    return RefundUpdate("refund-outside", gateway_id, inr(amount), succeeded)


async def test_refund_is_a_row_and_a_message_of_the_transaction_that_causes_it(app: BookingApplication) -> None:
    booking_id = await requested(app)
    (row,) = app.stored_refunds()
    assert (row.refund.amount, row.refund.reason, row.refund.succeeded) == (inr(100), CancelReason.BY_ORGANISER, None)
    (job,) = app.messages(MessageType.REFUND_REQUESTED)
    assert (job.destination, job.payload["refund_id"]) == (Destination.PAYMENTS, str(row.refund.id))
    assert app.gateway.refunds == {}
    assert app.payment(booking_id).status is PaymentStatus.REFUNDED


async def test_rolled_back_transaction_requests_no_refund(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    before = app.store.tables
    async with app.open_work() as work:
        payment = await work.payments.get(app.payment_id(booking_id))
        await app.refunds.request(work, payment, inr(100), reason=CancelReason.BY_ORGANISER)
    assert app.store.tables == before


async def test_worker_sends_a_requested_refund_to_the_gateway(app: BookingApplication) -> None:
    booking_id = await requested(app)
    assert await app.work() == [Delivered("refund handed in")]
    (row,) = app.stored_refunds()
    assert app.gateway.refunds[row.refund.id].amount == inr(100)
    assert row.refund.succeeded is True
    assert row.refund.gateway_refund_id == f"refund-{row.refund.id.int}"
    assert app.sent(MessageType.BOOKING_REFUNDED) == [
        (f"booking:{booking_id}", Destination.CRM),
        (f"booking:{booking_id}", Destination.EMAIL),
        (f"booking:{booking_id}", Destination.REALTIME),
    ]


async def test_refund_of_a_payment_on_site_is_processed_without_a_gateway() -> None:
    app = BookingApplication(gateway=OFFLINE)
    event = await app.event()
    booking = (await app.book(event)).reserved
    async with app.open_work() as work:
        payment = await work.payments.get(app.payment_id(booking.id))
        await work.payments.save(payment.received(), received_at=app.clock.now())
        await work.commit()
    await app.refund_booking(app.facilitator(event), booking.id, None)
    assert delivered(await app.work())
    assert app.stored_refunds()[0].refund.succeeded is True
    assert "refund" not in app.gateway.calls


async def test_unavailable_gateway_delays_a_refund(app: BookingApplication) -> None:
    await requested(app)
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    assert await app.work() == [Failed("The payment gateway cannot be reached. Please try again shortly")]
    app.gateway.behaviour = Behaviour.ACCEPTS
    (row,) = app.stored_refunds()
    await app.refunds.pay(row.refund.id)
    assert app.stored_refunds()[0].refund.succeeded is True


async def test_refused_refund_goes_to_the_dead_letters(app: BookingApplication) -> None:
    await requested(app)
    app.gateway.behaviour = Behaviour.REFUSES
    assert await app.work() == [Failed("The payment gateway refused", permanent=True)]
    assert app.stored_refunds()[0].refund.succeeded is None


async def test_refund_whose_answer_is_lost_is_paid_once(app: BookingApplication) -> None:
    await requested(app)
    app.gateway.behaviour = Behaviour.LOSES_ANSWERS
    await app.work()
    app.gateway.behaviour = Behaviour.ACCEPTS
    (row,) = app.stored_refunds()
    for _ in range(2):
        await app.refunds.pay(row.refund.id)
    assert app.gateway.calls.count("refund") == 2
    assert len(app.gateway.refunds) == 1
    assert len(app.messages(MessageType.BOOKING_REFUNDED)) == 3


async def test_refund_in_progress_at_the_gateway_is_asked_for_again(app: BookingApplication) -> None:
    await requested(app)
    app.gateway.refunds_are_settled = False
    (outcome,) = await app.work()
    assert isinstance(outcome, Failed)
    assert not outcome.permanent
    assert outcome.reason == "The gateway has accepted the refund and is still working on it"
    assert app.stored_refunds()[0].refund.succeeded is None
    assert app.sent(MessageType.BOOKING_REFUNDED) == []
    app.gateway.refunds_are_settled = True
    await app.refunds.pay(app.stored_refunds()[0].refund.id)
    assert app.stored_refunds()[0].refund.succeeded is True


async def test_update_on_a_requested_refund_settles_it(app: BookingApplication) -> None:
    await requested(app)
    (row,) = app.stored_refunds()
    update = RefundUpdate("refund-of-gateway", "any", inr(100), succeeded=True, refund_id=row.refund.id)
    for _ in range(2):
        assert await app.refunds.settle_update("gateway", update) is RefundOutcome.SETTLED
    assert app.stored_refunds()[0].refund.succeeded is True
    assert len(app.messages(MessageType.BOOKING_REFUNDED)) == 3


async def test_processed_refund_can_fail_later_and_a_failed_one_stays_failed(app: BookingApplication) -> None:
    await requested(app)
    await app.work()
    (row,) = app.stored_refunds()
    for succeeded in (False, True):
        update = RefundUpdate("another", "any", inr(100), succeeded=succeeded, refund_id=row.refund.id)
        await app.refunds.settle_update("gateway", update)
        assert app.stored_refunds()[0].refund.succeeded is False


@pytest.mark.parametrize("amount", [100, 40])
async def test_refund_made_in_the_dashboard_is_recorded_and_announced(app: BookingApplication, amount: int) -> None:
    booking_id = await app.paid(await app.event())
    update = outside(app, booking_id, amount)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.RECORDED
    assert app.refunded() == [(inr(amount), AT_THE_GATEWAY)]
    assert app.payment(booking_id).refunded == inr(amount)
    booking = app.booking(booking_id)
    assert (booking.status, booking.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.REFUNDED)
    assert {key for key, _ in app.sent(MessageType.BOOKING_REFUNDED)} == {f"booking:{booking_id}"}
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.SETTLED
    assert len(app.stored_refunds()) == 1
    assert app.messages(MessageType.REFUND_REQUESTED) == []


async def test_failed_refund_of_the_dashboard_is_kept_as_a_mismatch(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    update = outside(app, booking_id, 100, succeeded=False)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.DIFFERS
    assert app.refunded() == []
    (mismatch,) = app.stored_mismatches()
    payment = app.payment(booking_id)
    assert (mismatch.gateway, mismatch.order_id, mismatch.payment_id) == ("gateway", payment.order_id, payment.id)
    assert mismatch.why == "the gateway gave back 100.00 INR (refund-outside) that was not requested here"


async def test_mismatch_of_a_refund_without_an_order_names_the_payment(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    async with app.open_work() as work:
        await work.payments.save(replace(app.payment(booking_id), order_id=None))
        await work.commit()
    await app.refunds.settle_update("gateway", outside(app, booking_id, 101))
    (mismatch,) = app.stored_mismatches()
    assert (mismatch.order_id, mismatch.payment_id) == ("", app.payment_id(booking_id))
    assert mismatch.report.payment_id == mismatch.payment_id


async def test_refund_of_the_dashboard_that_exceeds_what_is_left_is_kept_as_a_mismatch(
    app: BookingApplication,
) -> None:
    booking_id = await requested(app, "30")
    assert await app.refunds.settle_update("gateway", outside(app, booking_id, 71)) is RefundOutcome.DIFFERS
    assert await app.refunds.settle_update("gateway", outside(app, booking_id, 70)) is RefundOutcome.RECORDED


async def test_refund_of_an_unknown_payment_is_unknown(app: BookingApplication) -> None:
    update = RefundUpdate("refund-outside", "pay-unknown", inr(1), succeeded=True)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.UNKNOWN


async def test_facilitators_and_admins_refund_a_booking(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    for user in (app.owner(booking_id), await app.person(Role.FACILITATOR)):
        with pytest.raises(EventForbidden):
            await app.refund_booking(user, booking_id, None)
    await app.refund_booking(app.facilitator(event), booking_id, Decimal(30))
    await app.refund_booking(await app.person(Role.ADMIN), booking_id, Decimal(70))
    assert [amount for amount, _ in app.refunded()] == [inr(30), inr(70)]


async def test_refund_cancels_nothing(app: BookingApplication) -> None:
    booking_id = await requested(app)
    booking = app.booking(booking_id)
    assert booking.status is BookingStatus.CONFIRMED
    assert app.stored_event(booking.event_id).booked == 1


async def test_booking_can_be_refunded_after_the_event(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.ends_at + DAY
    await app.complete_bookings()
    await app.refund_booking(app.facilitator(event), booking_id, None)
    booking = app.booking(booking_id)
    assert (booking.status, booking.payment_status) == (BookingStatus.COMPLETED, PaymentStatus.REFUNDED)


async def test_refunds_never_exceed_the_payment(app: BookingApplication) -> None:
    booking_id = await requested(app, "60")
    facilitator = app.facilitator(app.stored_event(app.booking(booking_id).event_id))
    with pytest.raises(RefundExceedsPayment, match=r"^At most 40\.00 INR can be refunded$"):
        await app.refund_booking(facilitator, booking_id, Decimal("40.01"))
    await app.refund_booking(facilitator, booking_id, Decimal(40))
    with pytest.raises(NothingToRefund):
        await app.refund_booking(facilitator, booking_id, None)
    assert app.payment(booking_id).refunded == inr(100)


async def test_refund_without_an_amount_is_everything_that_is_left(app: BookingApplication) -> None:
    booking_id = await requested(app, "60")
    facilitator = app.facilitator(app.stored_event(app.booking(booking_id).event_id))
    assert (await app.refund_booking(facilitator, booking_id, None)).amount == inr(40)


async def test_booking_shows_that_it_is_refunded_when_nothing_is_left(app: BookingApplication) -> None:
    booking_id = await requested(app, "60")
    assert app.booking(booking_id).payment_status is PaymentStatus.COMPLETED
    facilitator = app.facilitator(app.stored_event(app.booking(booking_id).event_id))
    await app.refund_booking(facilitator, booking_id, Decimal(40))
    assert app.booking(booking_id).payment_status is PaymentStatus.REFUNDED


@pytest.mark.parametrize("amount", ["0", "0.001", "-1"])
async def test_amount_has_to_be_transferable(app: BookingApplication, amount: str) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    with pytest.raises(Invalid) as refused:
        await app.refund_booking(app.facilitator(event), booking_id, Decimal(amount))
    assert set(refused.value.details) == {"amount"}


async def test_unpaid_free_and_unknown_bookings_have_nothing_to_refund(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    unpaid = (await app.book(await app.event(facilitator))).reserved
    free = (await app.book(await app.event(facilitator, price=inr(0)))).reserved
    for booking_id in (unpaid.id, free.id):
        with pytest.raises(NothingToRefund):
            await app.refund_booking(facilitator, booking_id, None)
    with pytest.raises(BookingNotFound):
        await app.refund_booking(facilitator, BookingId(999), None)


async def test_repeated_request_for_a_refund_returns_the_same_refund(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    first, second = await app.repeated(lambda: app.refund_booking(app.facilitator(event), booking_id, Decimal(30)))
    assert first == second


async def test_update_that_another_worker_applies_meanwhile_is_applied_once(
    app: BookingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first delivery of a refund made at the gateway commits while the second one waits for the locks."""
    booking_id = await app.paid(await app.event())
    update, find, found = outside(app, booking_id, 100), MemoryRefunds.find, []

    async def find_before_the_other_commits(refunds: MemoryRefunds, report: RefundUpdate) -> Refund | None:
        found.append(await find(refunds, report))
        return None if len(found) == 1 else found[-1]

    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.RECORDED
    before = app.store.tables
    monkeypatch.setattr(MemoryRefunds, "find", find_before_the_other_commits)
    assert await app.refunds.settle_update("gateway", update) is RefundOutcome.SETTLED
    assert len(found) == 2
    assert app.store.tables == before
