"""Rules of settlement: what a gateway's update on a payment changes."""

from dataclasses import replace
from decimal import Decimal

import pytest

from application.payments.settlement import Settled
from domain.bookings import BookingStatus, CancelReason
from domain.events import Event
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import GatewayUpdate, PaymentStatus, PaymentUpdate
from domain.refunds import PAID_AFTER_START, PAID_TWICE, SEAT_GONE
from tests.application.booking_application import DAY, HOLD, HOUR, BookingApplication, inr


async def test_received_payment_completes_the_booking(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id))) is Settled.RECEIVED
    settled, payment = app.booking(booking.id), app.payment(booking.id)
    assert (settled.status, settled.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.COMPLETED)
    assert settled.hold_until is None
    assert (payment.status, payment.gateway_id) == (PaymentStatus.COMPLETED, f"pay-{payment.id.int}")
    assert app.sent(MessageType.PAYMENT_COMPLETED) == [
        (f"booking:{booking.id}", Destination.CRM),
        (f"booking:{booking.id}", Destination.EMAIL),
        (f"booking:{booking.id}", Destination.REALTIME),
    ]


async def test_failed_attempt_after_the_end_of_the_hold_changes_the_payment_alone(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.clock.advance(HOLD)
    await app.expire_holds()
    before = app.booking(booking.id)
    assert await app.settle("gateway", app.gateway.decline(app.payment_id(booking.id))) is Settled.FAILED
    assert app.payment(booking.id).status is PaymentStatus.FAILED
    assert app.booking(booking.id) == before
    assert app.messages(MessageType.PAYMENT_FAILED) == []


async def test_received_payment_is_final(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    before = app.store.tables
    payment_id = app.payment_id(booking_id)
    for late in (PaymentUpdate.FAILED, PaymentUpdate.OPEN, PaymentUpdate.RECEIVED):
        update = replace(app.gateway.update(payment_id), report=late)
        assert await app.settle("gateway", update) is Settled.NO_CHANGE
    assert app.store.tables == before


async def test_failed_payment_can_still_be_received(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment_id = app.payment_id(booking.id)
    assert await app.settle("gateway", app.gateway.decline(payment_id)) is Settled.FAILED
    assert await app.settle("gateway", app.gateway.pay(payment_id)) is Settled.RECEIVED
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_failed_attempt_to_pay_releases_no_seat(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    assert await app.settle("gateway", app.gateway.decline(app.payment_id(booking.id))) is Settled.FAILED
    failed = app.booking(booking.id)
    assert (failed.status, failed.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.FAILED)
    assert failed.hold_until == app.clock.now() + HOLD
    assert app.stored_event(event.id).booked == 1
    assert {key for key, _ in app.sent(MessageType.PAYMENT_FAILED)} == {f"booking:{booking.id}"}


async def test_seat_of_a_failed_payment_is_released_when_its_hold_expires(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.settle("gateway", app.gateway.decline(app.payment_id(booking.id)))
    app.clock.advance(HOLD)
    assert await app.expire_holds() == 1
    assert app.stored_event(event.id).booked == 0


async def in_state(app: BookingApplication, status: PaymentStatus) -> BookingId:
    booking_id = (await app.book(await app.event())).reserved.id
    if status is PaymentStatus.FAILED:
        await app.settle("gateway", app.gateway.decline(app.payment_id(booking_id)))
    if status in (PaymentStatus.COMPLETED, PaymentStatus.REFUNDED):
        await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id)))
    if status is PaymentStatus.REFUNDED:
        await app.refund_booking(app.facilitator(app.stored_event(app.booking(booking_id).event_id)), booking_id, None)
        await app.work()
    return booking_id


@pytest.mark.parametrize("report", PaymentUpdate)
@pytest.mark.parametrize("status", [each for each in PaymentStatus if each is not PaymentStatus.NOT_REQUIRED])
async def test_every_update_in_every_state(
    app: BookingApplication, status: PaymentStatus, report: PaymentUpdate
) -> None:
    booking_id = await in_state(app, status)
    assert (app.booking(booking_id).payment_status, app.payment(booking_id).status) == (status, status)
    app.gateway.pay(app.payment_id(booking_id))
    settled = await app.settle("gateway", replace(app.gateway.update(app.payment_id(booking_id)), report=report))
    after, then = {
        (PaymentStatus.PENDING, PaymentUpdate.RECEIVED): (Settled.RECEIVED, PaymentStatus.COMPLETED),
        (PaymentStatus.PENDING, PaymentUpdate.FAILED): (Settled.FAILED, PaymentStatus.FAILED),
        (PaymentStatus.FAILED, PaymentUpdate.RECEIVED): (Settled.RECEIVED, PaymentStatus.COMPLETED),
    }.get((status, report), (Settled.NO_CHANGE, status))
    assert (settled, app.booking(booking_id).payment_status, app.payment(booking_id).status) == (after, then, then)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"amount": Money(Decimal(100), "USD")}, "received 100.00 USD, asked for 100.00 INR"),
        ({"amount": inr(99)}, "received 99.00 INR, asked for 100.00 INR"),
        ({"amount": None}, "received None, asked for 100.00 INR"),
        ({"order_id": "another"}, "order another is not order-gateway-1"),
    ],
)
async def test_mismatch_is_stored_and_changes_nothing(
    app: BookingApplication, wrong: dict[str, object], why: str
) -> None:
    booking = (await app.book(await app.event())).reserved
    update = app.gateway.pay(app.payment_id(booking.id))
    before = app.booking(booking.id), app.payment(booking.id)
    assert await app.settle("gateway", replace(update, **wrong)) is Settled.DIFFERS  # type: ignore[arg-type]
    assert (app.booking(booking.id), app.payment(booking.id)) == before
    assert app.mismatches() == [why]


async def test_same_mismatch_is_stored_once(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    update = replace(app.gateway.pay(app.payment_id(booking.id)), amount=inr(1))
    for _ in range(2):
        await app.settle("gateway", update)
    assert len(app.mismatches()) == 1


async def test_update_about_an_unknown_order_is_stored(app: BookingApplication) -> None:
    update = GatewayUpdate("order-of-another-shop", PaymentUpdate.RECEIVED, amount=inr(100))
    assert await app.settle("gateway", update) is Settled.UNKNOWN
    assert app.mismatches() == ["no payment of ours has this order"]


async def test_payment_is_not_found_at_another_gateway(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    update = app.gateway.pay(app.payment_id(booking.id))
    assert await app.settle("other", update) is Settled.UNKNOWN
    assert app.booking(booking.id).payment_status is PaymentStatus.PENDING


async def test_update_that_arrives_before_the_order_id_is_stored_is_found_by_our_id(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    async with app.open_work() as work:
        payment = await work.payments.get(app.payment_id(booking.id))
        await work.payments.save(replace(payment, order_id=None))
        await work.commit()
    assert await app.settle("gateway", app.gateway.pay(payment.id)) is Settled.RECEIVED
    assert app.payment(booking.id).order_id == f"order-gateway-{payment.id.int}"


async def expired(app: BookingApplication, event: Event) -> BookingId:
    booking = (await app.book(event)).reserved
    app.clock.advance(HOLD)
    assert await app.expire_holds() == 1
    return booking.id


async def test_payment_after_its_hold_expired_reserves_the_seat_again(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    booking_id = await expired(app, event)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id))) is Settled.REINSTATED
    booking = app.booking(booking_id)
    assert (booking.status, booking.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.COMPLETED)
    assert (booking.cancelled_at, booking.cancel_reason) == (None, None)
    assert app.stored_event(event.id).booked == 1
    assert app.refunded() == []
    assert {each.payload["money"] for each in app.messages(MessageType.PAYMENT_COMPLETED)} == {inr(100)}


async def test_payment_after_its_hold_expired_is_refunded_if_the_seat_is_gone(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    booking_id = await expired(app, event)
    await app.book(event)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id))) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), SEAT_GONE)]
    booking = app.booking(booking_id)
    assert (booking.status, booking.payment_status) == (BookingStatus.CANCELLED, PaymentStatus.REFUNDED)
    assert app.stored_event(event.id).booked == 1


async def test_payment_after_its_hold_expired_is_refunded_if_the_person_has_booked_again(
    app: BookingApplication,
) -> None:
    event = await app.event()
    booking_id = await expired(app, event)
    await app.book(event, app.owner(booking_id))
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id))) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), SEAT_GONE)]


async def test_payment_after_its_hold_expired_is_refunded_if_the_facilitator_is_deactivated(
    app: BookingApplication,
) -> None:
    event = await app.event()
    booking_id = await expired(app, event)
    app.deactivate(app.facilitator(event))
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking_id))) is Settled.GIVEN_BACK


async def test_payment_of_a_cancelled_booking_is_refunded(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id))) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), MessageType.BOOKING_CANCELLED)]
    assert app.booking(booking.id).cancel_reason is CancelReason.BY_PERSON
    assert app.stored_event(event.id).booked == 0


async def test_payment_of_a_cancelled_event_is_refunded(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.cancel_event(app.facilitator(event), event.id)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id))) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), MessageType.EVENT_CANCELLED)]


async def test_payment_after_the_start_is_refunded_and_the_hold_ends(app: BookingApplication) -> None:
    event = await app.event(starts_in=HOUR)
    booking = (await app.book(event)).reserved
    app.clock.advance(HOUR)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id))) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), PAID_AFTER_START)]
    ended = app.booking(booking.id)
    assert (ended.status, ended.payment_status) == (BookingStatus.CANCELLED, PaymentStatus.REFUNDED)
    assert ended.cancel_reason is CancelReason.PAYMENT_EXPIRED
    assert app.stored_event(event.id).booked == 0


async def test_payment_counts_from_the_arrival_of_its_webhook(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR))).reserved
    arrived_at = app.clock.now()
    app.clock.advance(HOUR)
    update = app.gateway.pay(app.payment_id(booking.id))
    assert await app.settle("gateway", update, arrived_at=arrived_at) is Settled.RECEIVED


async def test_payment_is_refunded_if_the_event_ended_before_its_webhook_was_applied(app: BookingApplication) -> None:
    booking = (await app.book(await app.event(starts_in=HOUR, lasts=HOUR))).reserved
    arrived_at = app.clock.now()
    app.clock.advance(2 * HOUR)
    update = app.gateway.pay(app.payment_id(booking.id))
    assert await app.settle("gateway", update, arrived_at=arrived_at) is Settled.GIVEN_BACK


async def test_second_payment_for_a_paid_booking_is_refunded(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    update = app.gateway.pay(app.payment_id(booking.id))
    async with app.open_work() as work:
        payment = await work.payments.get(app.payment_id(booking.id))
        await work.payments.add_paid_on_the_spot(payment, app.clock.now())
        stored = await work.bookings.get(booking.id)
        await work.bookings.save(stored.paid(payment.price))
        await work.commit()
    assert await app.settle("gateway", update) is Settled.GIVEN_BACK
    assert app.refunded() == [(inr(100), PAID_TWICE)]
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_payment_completes_a_booking_days_before_the_event(app: BookingApplication) -> None:
    """The hold has ended, and no worker has released the seat yet."""
    booking = (await app.book(await app.event())).reserved
    app.clock.advance(DAY)
    assert await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id))) is Settled.RECEIVED
