"""Rules of opening and closing checkouts, and of the callbacks in the client's browser."""

from dataclasses import replace

import pytest

from application.payments.ports.gateways import GatewayRefused
from domain.accounts import Role
from domain.bookings import BookingForbidden, BookingNotFound, BookingStatus
from domain.errors import Invalid, Unavailable
from domain.ids import BookingId, BookingRef
from domain.outbox import MessageType
from domain.payments import (
    GatewayUnavailable,
    InvalidSignature,
    NothingToPay,
    PaymentMismatch,
    PaymentNotFound,
    PaymentStatus,
)
from domain.refunds import SEAT_GONE
from tests.application.booking_application import HOLD, RETURN_URL, BookingApplication, inr
from tests.support.memory.gateway import Behaviour

# Opening


async def test_stored_address_is_used_from_then_on(app: BookingApplication) -> None:
    booking = await app.book(await app.event())
    owner = app.owner(booking.reserved.id)
    for _ in range(2):
        assert await app.open_checkout.for_user(owner, BookingRef(booking.reserved.id)) == booking.payment_url
    assert app.gateway.calls.count("open_checkout") == 1


async def test_link_can_be_requested_after_the_gateway_was_unavailable(app: BookingApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    booking = (await app.book(await app.event())).reserved
    owner = app.owner(booking.id)
    with pytest.raises(GatewayUnavailable):
        await app.open_checkout.for_user(owner, BookingRef(booking.id))
    app.gateway.behaviour = Behaviour.REFUSES
    with pytest.raises(GatewayRefused):
        await app.open_checkout.for_user(owner, BookingRef(booking.id))
    app.gateway.behaviour = Behaviour.ACCEPTS
    url = await app.open_checkout.for_user(owner, BookingRef(booking.id))
    assert url == f"https://gateway.example/{app.payment(booking.id).order_id}"


async def test_only_the_owner_and_admins_get_the_link(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    for user in (await app.person(), app.facilitator(event)):
        with pytest.raises(BookingForbidden):
            await app.open_checkout.for_user(user, BookingRef(booking.id))
    assert await app.open_checkout.for_user(await app.person(Role.ADMIN), BookingRef(booking.id)) is not None


async def test_paid_free_cancelled_and_expired_bookings_have_nothing_to_pay_and_strangers_do_not_learn_it(
    app: BookingApplication,
) -> None:
    event = await app.event()
    paid, free = await app.paid(event), (await app.book(await app.event(price=inr(0)))).reserved.id
    cancelled, expired = (await app.book(event)).reserved.id, (await app.book(event)).reserved.id
    await app.cancel_booking(app.owner(cancelled), cancelled)
    app.clock.advance(HOLD)
    for booking_id in (paid, free, cancelled, expired):
        with pytest.raises(NothingToPay):
            await app.open_checkout.for_user(app.owner(booking_id), BookingRef(booking_id))
        with pytest.raises(BookingForbidden):
            await app.open_checkout.for_user(await app.person(), BookingRef(booking_id))
    with pytest.raises(BookingNotFound):
        await app.open_checkout.for_user(await app.person(), BookingRef(BookingId(999)))
    with pytest.raises(NothingToPay):
        await app.open_checkout.for_payable(BookingRef(BookingId(999)))


async def test_failed_payment_can_be_tried_again_at_the_same_checkout(app: BookingApplication) -> None:
    booking = await app.book(await app.event())
    await app.settle("gateway", app.gateway.decline(app.payment_id(booking.reserved.id)))
    owner = app.owner(booking.reserved.id)
    assert await app.open_checkout.for_user(owner, BookingRef(booking.reserved.id)) == booking.payment_url


async def test_return_address_has_to_be_allowed_and_replaces_the_stored_one(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    owner, payable = app.owner(booking.id), BookingRef(booking.id)
    with pytest.raises(Invalid):
        await app.open_checkout.for_user(owner, payable, return_url="https://elsewhere.example/")
    await app.open_checkout.for_user(owner, payable, return_url=RETURN_URL)
    await app.open_checkout.for_user(owner, payable)
    assert app.payments_of(booking.id)[0].return_url == RETURN_URL


async def test_no_more_checkouts_are_opened_once_the_gateway_was_unavailable(app: BookingApplication) -> None:
    event = await app.event()
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    payables = [BookingRef((await app.book(event)).reserved.id) for _ in range(4)]
    app.gateway.calls.clear()
    assert await app.open_checkout.for_new(payables) == {}
    assert len(app.gateway.calls) == 1
    app.gateway.behaviour = Behaviour.ACCEPTS
    assert set(await app.open_checkout.for_new(payables)) == set(payables)


async def test_refused_checkout_does_not_stop_the_others(app: BookingApplication) -> None:
    event = await app.event()
    app.gateway.behaviour = Behaviour.REFUSES
    payables = [BookingRef((await app.book(event)).reserved.id) for _ in range(3)]
    app.gateway.calls.clear()
    assert await app.open_checkout.for_new(payables) == {}
    assert len(app.gateway.calls) == 3


async def test_no_checkout_is_opened_for_no_booking(app: BookingApplication) -> None:
    assert await app.open_checkout.for_new([], return_url="https://elsewhere.example/") == {}


# Closing


async def test_payment_made_before_the_checkout_was_closed_is_settled(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    app.gateway.pay(app.payment_id(booking.id))
    await app.close_checkout(app.payment_id(booking.id))
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_closed_checkout_changes_no_booking(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    await app.close_checkout(app.payment_id(booking.id))
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed
    assert app.booking(booking.id).status is BookingStatus.CONFIRMED


# Callbacks


def signed(app: BookingApplication, booking_id: BookingId) -> tuple[str, str, str]:
    """Order, payment and signature of a checkout that was paid."""
    update = app.gateway.pay(app.payment_id(booking_id))
    assert update.order_id is not None
    assert update.gateway_id is not None
    return update.order_id, update.gateway_id, f"{update.order_id}|{update.gateway_id}"


async def test_signed_confirmation_settles_the_payment(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    confirmation = signed(app, booking.id)
    for _ in range(2):
        paid_for = await app.confirm_payment(*confirmation)
        assert (paid_for.reference, paid_for.payment_status) == (booking.reference, PaymentStatus.COMPLETED)
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_every_other_open_checkout_is_closed_after_a_confirmation(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    await app.confirm_payment(*signed(app, booking.id))
    await app.work()
    assert "expire_checkout" in app.gateway.calls


async def test_confirmed_payment_of_a_seat_that_is_gone_is_refunded(app: BookingApplication) -> None:
    event = await app.event(capacity=1)
    booking = (await app.book(event)).reserved
    confirmation = signed(app, booking.id)
    app.clock.advance(HOLD)
    await app.expire_holds()
    await app.book(event)
    closed = len(app.messages(MessageType.CHECKOUT_ENDED))
    assert (await app.confirm_payment(*confirmation)).payment_status is PaymentStatus.REFUNDED
    assert app.refunded() == [(inr(100), SEAT_GONE)]
    assert len(app.messages(MessageType.CHECKOUT_ENDED)) == closed


async def test_signature_is_verified_before_anything_is_disclosed(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    order_id, gateway_id, _ = signed(app, booking.id)
    for order in (order_id, "unknown"):
        with pytest.raises(InvalidSignature):
            await app.confirm_payment(order, gateway_id, "forged")
    with pytest.raises(PaymentNotFound):
        await app.confirm_payment("unknown", gateway_id, f"unknown|{gateway_id}")


async def test_confirmation_of_another_payment_is_a_mismatch(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    order_id, _, _ = signed(app, booking.id)
    with pytest.raises(PaymentMismatch):
        await app.confirm_payment(order_id, "pay-other", f"{order_id}|pay-other")


async def test_unsigned_report_of_a_failure_only_causes_a_look_up(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    order_id = app.payment(booking.id).order_id
    assert order_id is not None
    assert (await app.report_failure("gateway", order_id)).payment_status is PaymentStatus.PENDING
    app.gateway.decline(app.payment_id(booking.id))
    assert (await app.report_failure("gateway", order_id)).payment_status is PaymentStatus.FAILED
    app.gateway.pay(app.payment_id(booking.id))
    assert (await app.report_failure("gateway", order_id)).payment_status is PaymentStatus.COMPLETED


async def test_completed_payment_is_not_looked_up_after_a_report_of_a_failure(app: BookingApplication) -> None:
    booking_id = await app.paid(await app.event())
    order_id = app.payment(booking_id).order_id
    assert order_id is not None
    app.gateway.calls.clear()
    assert (await app.report_failure("gateway", order_id)).payment_status is PaymentStatus.COMPLETED
    assert app.gateway.calls == []


@pytest.mark.parametrize("behaviour", [Behaviour.UNAVAILABLE, Behaviour.REFUSES])
async def test_nothing_changes_while_the_gateway_does_not_answer(app: BookingApplication, behaviour: Behaviour) -> None:
    booking = (await app.book(await app.event())).reserved
    order_id = app.payment(booking.id).order_id
    assert order_id is not None
    app.gateway.decline(app.payment_id(booking.id))
    app.gateway.behaviour = behaviour
    assert (await app.report_failure("gateway", order_id)).payment_status is PaymentStatus.PENDING


async def test_report_about_an_unknown_order_is_not_found(app: BookingApplication) -> None:
    with pytest.raises(PaymentNotFound):
        await app.report_failure("gateway", "unknown")


async def test_confirmation_needs_a_gateway_that_signs(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    unsigned = replace(app.confirm_payment, checkouts=None)
    with pytest.raises(GatewayUnavailable):
        await unsigned(*signed(app, booking.id))


async def test_confirmed_payment_of_another_amount_is_a_mismatch(app: BookingApplication) -> None:
    booking = (await app.book(await app.event())).reserved
    payment_id = app.payment_id(booking.id)
    app.gateway.orders[payment_id] = replace(app.gateway.orders[payment_id], price=inr(1))
    with pytest.raises(PaymentMismatch):
        await app.confirm_payment(*signed(app, booking.id))
    assert len(app.mismatches()) == 1
    assert app.booking(booking.id).payment_status is PaymentStatus.PENDING


async def test_bookings_stand_without_a_link_while_the_database_is_unavailable(
    app: BookingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*args: object) -> None:
        raise Unavailable

    booking = (await app.book(await app.event())).reserved
    monkeypatch.setattr(app.checkouts, "save_return_url", unavailable)
    assert await app.open_checkout.for_new([BookingRef(booking.id)], return_url=RETURN_URL) == {}
