"""Rules of the reconciliation of open payments with their gateways."""

from datetime import timedelta
from itertools import pairwise

from application.payments.hold_expiry import AT_ONCE
from application.payments.reconciliation import LOOK_UP_AFTER
from domain.bookings import BookingStatus
from domain.payments import OFFLINE, PaymentStatus
from tests.application.booking_application import DAY, HOUR, BookingApplication
from tests.support.memory.gateway import Behaviour

MINUTE = timedelta(minutes=1)
LATER = LOOK_UP_AFTER + MINUTE


async def test_payment_whose_webhook_is_lost_is_settled_within_minutes(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.gateway.pay(app.payment_id(booking.id))
    assert await app.reconcile() == 0
    app.clock.advance(LATER)
    assert await app.reconcile() == 1
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_interval_between_look_ups_doubles_up_to_an_hour(app: BookingApplication) -> None:
    await app.book(await app.event())
    start, looked_up = app.clock.now(), []
    while app.clock.now() < start + 6 * HOUR:
        app.clock.advance(MINUTE)
        if await app.reconcile():
            looked_up.append((app.clock.now() - start) // MINUTE)
    pauses = [after - before for before, after in pairwise(looked_up)]
    assert pauses[:5] == [5, 9, 17, 33, 61]
    assert set(pauses[5:]) == {61}


async def test_payments_are_looked_up_for_three_days(app: BookingApplication) -> None:
    await app.book(await app.event())
    app.clock.advance(3 * DAY)
    assert await app.reconcile() == 0


async def test_settled_payments_and_those_on_site_are_not_looked_up(app: BookingApplication) -> None:
    await app.paid(await app.event())
    app.clock.advance(LATER)
    assert await app.reconcile() == 0
    on_site = BookingApplication(gateway=OFFLINE)
    await on_site.book(await on_site.event())
    on_site.clock.advance(LATER)
    assert await on_site.reconcile() == 0


async def test_checkout_whose_creation_was_not_confirmed_is_requested_again(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.LOSES_ANSWERS
    booking = (await app.book(await app.event())).reserved
    assert app.payment(booking.id).order_id is None
    app.gateway.behaviour = Behaviour.ACCEPTS
    app.clock.advance(LATER)
    assert await app.reconcile() == 1
    order = app.gateway.orders[app.payment_id(booking.id)]
    assert app.payment(booking.id).order_id == order.id
    assert not order.is_closed
    assert len(app.gateway.orders) == 1


async def test_checkout_that_was_not_confirmed_is_closed_where_nothing_is_to_be_paid(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.LOSES_ANSWERS
    booking = (await app.book(await app.event())).reserved
    await app.cancel_booking(app.owner(booking.id), booking.id)
    app.gateway.behaviour = Behaviour.ACCEPTS
    app.clock.advance(LATER)
    await app.reconcile()
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed
    assert app.booking(booking.id).status is BookingStatus.CANCELLED


async def test_unavailable_gateway_is_skipped_until_the_next_run(app: BookingApplication) -> None:
    event = await app.event(capacity=20)
    for _ in range(12):
        await app.book(event)
    app.clock.advance(LATER)
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    app.gateway.calls.clear()
    assert await app.reconcile() == 5
    assert len(app.gateway.calls) == 5
    app.gateway.behaviour = Behaviour.ACCEPTS
    assert await app.reconcile() == 7


async def test_refused_look_up_does_not_stop_the_others(app: BookingApplication) -> None:
    event = await app.event(capacity=20)
    for _ in range(7):
        await app.book(event)
    app.clock.advance(LATER)
    app.gateway.behaviour = Behaviour.REFUSES
    assert await app.reconcile() == 7


async def test_run_looks_up_a_limited_number_of_payments(app: BookingApplication) -> None:
    event = await app.event(capacity=AT_ONCE + 1)
    for _ in range(AT_ONCE + 1):
        await app.book(event)
    app.clock.advance(LATER)
    assert [await app.reconcile() for _ in range(3)] == [AT_ONCE, 1, 0]
