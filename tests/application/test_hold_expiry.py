"""Rules of the expiry of seats that are held for a payment."""

from typing import Any

import pytest

from application.payments import hold_expiry
from domain.bookings import BookingStatus, CancelReason
from domain.outbox import Destination, MessageType
from domain.payments import OFFLINE, PaymentStatus
from tests.application.booking_application import DAY, HOLD, BookingApplication, delivered, inr
from tests.support.memory.gateway import Behaviour


async def test_expired_hold_cancels_the_booking_and_releases_the_seat(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    booking = (await app.book(event)).reserved
    app.clock.advance(HOLD)
    assert await app.expire_holds() == 1
    expired = app.booking(booking.id)
    assert (expired.status, expired.cancel_reason) == (BookingStatus.CANCELLED, CancelReason.PAYMENT_EXPIRED)
    assert expired.payment_status is PaymentStatus.PENDING
    assert app.stored_event(event.id).booked == 0


async def test_client_is_notified_of_an_expired_hold(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.clock.advance(HOLD)
    calls = app.wake_ups.calls
    await app.expire_holds()
    sent = app.messages(MessageType.BOOKING_CANCELLED)
    assert Destination.EMAIL in {each.destination for each in sent}
    assert {(each.ordering_key, each.payload["reason"]) for each in sent} == {
        (f"booking:{booking.id}", CancelReason.PAYMENT_EXPIRED)
    }
    assert app.wake_ups.calls == calls + 1


async def test_checkout_of_an_expired_hold_is_closed(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.clock.advance(HOLD)
    await app.expire_holds()
    assert delivered(await app.work())
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed


async def test_checkout_that_was_never_opened_is_not_closed(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    await app.book(await app.event())
    app.clock.advance(HOLD)
    assert await app.expire_holds() == 1
    assert app.messages(MessageType.CHECKOUT_ENDED) == []


async def test_payment_before_the_checkout_is_closed_reserves_the_seat_again(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.gateway.pay(app.payment_id(booking.id))
    app.clock.advance(HOLD)
    await app.expire_holds()
    assert delivered(await app.work())
    reinstated = app.booking(booking.id)
    assert (reinstated.status, reinstated.payment_status) == (BookingStatus.CONFIRMED, PaymentStatus.COMPLETED)


async def test_hold_does_not_expire_early(app: BookingApplication) -> None:
    await app.book(await app.event())
    app.clock.advance(HOLD * 0.99)
    calls = app.wake_ups.calls
    assert await app.expire_holds() == 0
    assert app.wake_ups.calls == calls


@pytest.mark.parametrize("event", [{"price": inr(0)}, {}])
async def test_paid_and_free_seats_do_not_expire(app: BookingApplication, event: dict[str, Any]) -> None:
    offered = await app.event(**event)
    booking_id = (await app.book(offered)).reserved.id if event else await app.paid(offered)
    app.clock.advance(DAY)
    assert await app.expire_holds() == 0
    assert app.booking(booking_id).status is BookingStatus.CONFIRMED


async def test_seats_that_are_paid_on_site_do_not_expire() -> None:
    app = BookingApplication(gateway=OFFLINE)
    await app.book(await app.event())
    app.clock.advance(6 * DAY)
    assert await app.expire_holds() == 0


async def test_payment_after_the_search_for_expired_holds_keeps_the_seat(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.clock.advance(HOLD)
    search = app.payments.expired_holds

    async def then_paid(*about: object, **more: object) -> object:
        due = await search(*about, **more)  # type: ignore[arg-type]
        await app.settle("gateway", app.gateway.pay(app.payment_id(booking.id)))
        return due

    app.payments.expired_holds = then_paid  # type: ignore[method-assign, assignment]
    assert await app.expire_holds() == 0
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_one_run_expires_a_limited_number_and_the_next_continues(
    app: BookingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_expiry, "AT_ONCE", 2)
    event = await app.event()
    for _ in range(3):
        await app.book(event)
    app.clock.advance(HOLD)
    assert [await app.expire_holds() for _ in range(3)] == [2, 1, 0]
