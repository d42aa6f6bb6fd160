"""Rules of payments on site."""

import pytest

from domain.accounts import Role, UserId
from domain.bookings import BookingIsCancelled, BookingNotFound
from domain.events import EventForbidden, EventId
from domain.ids import BookingId, BookingRef
from domain.outbox import MessageType
from domain.payments import OFFLINE, PaymentStatus
from domain.refunds import PAID_TWICE
from tests.application.booking_application import BookingApplication, delivered, inr
from tests.support.memory.gateway import Behaviour


@pytest.fixture
def on_site() -> BookingApplication:
    return BookingApplication(gateway=OFFLINE)


async def test_facilitator_records_a_payment_on_site(on_site: BookingApplication) -> None:
    event = await on_site.event()
    booking = (await on_site.book(event)).reserved
    status = await on_site.record_offline.by_facilitator(on_site.facilitator(event), BookingRef(booking.id))
    assert status is PaymentStatus.COMPLETED
    assert on_site.booking(booking.id).payment_status is PaymentStatus.COMPLETED
    (row,) = on_site.payments_of(booking.id)
    assert (row.payment.status, row.received_at) == (PaymentStatus.COMPLETED, on_site.clock.now())
    assert len(on_site.messages(MessageType.PAYMENT_COMPLETED)) == 3


async def test_trusted_service_records_a_payment_on_site(on_site: BookingApplication) -> None:
    event = await on_site.event()
    booking = (await on_site.book(event)).reserved
    status = await on_site.record_offline.by_service(booking.id, user_id=booking.user_id, event_id=event.id)
    assert status is PaymentStatus.COMPLETED


async def test_service_has_to_name_user_and_event_of_the_booking(on_site: BookingApplication) -> None:
    event = await on_site.event()
    booking = (await on_site.book(event)).reserved
    for user_id, event_id in ((UserId(999), event.id), (booking.user_id, EventId(999))):
        with pytest.raises(BookingNotFound):
            await on_site.record_offline.by_service(booking.id, user_id=user_id, event_id=event_id)
    with pytest.raises(BookingNotFound):
        await on_site.record_offline.by_service(BookingId(999), user_id=booking.user_id, event_id=event.id)


async def test_payment_that_is_reported_twice_is_recorded_once(on_site: BookingApplication) -> None:
    event = await on_site.event()
    booking = (await on_site.book(event)).reserved
    for _ in range(2):
        status = await on_site.record_offline.by_facilitator(on_site.facilitator(event), BookingRef(booking.id))
        assert status is PaymentStatus.COMPLETED
    assert len(on_site.payments_of(booking.id)) == 1
    assert len(on_site.messages(MessageType.PAYMENT_COMPLETED)) == 3


async def test_cancelled_booking_cannot_be_paid_on_site(on_site: BookingApplication) -> None:
    event = await on_site.event()
    booking = (await on_site.book(event)).reserved
    await on_site.cancel_booking(on_site.owner(booking.id), booking.id)
    with pytest.raises(BookingIsCancelled):
        await on_site.record_offline.by_facilitator(on_site.facilitator(event), BookingRef(booking.id))


async def test_free_booking_stays_as_it_is(on_site: BookingApplication) -> None:
    event = await on_site.event(price=inr(0))
    booking = (await on_site.book(event)).reserved
    status = await on_site.record_offline.by_facilitator(on_site.facilitator(event), BookingRef(booking.id))
    assert status is PaymentStatus.NOT_REQUIRED
    assert on_site.payments_of(booking.id) == []


async def test_open_checkout_of_a_booking_paid_on_site_is_closed(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.record_offline.by_facilitator(app.facilitator(event), BookingRef(booking.id))
    online, on_the_spot = app.payments_of(booking.id)
    assert (on_the_spot.payment.gateway, on_the_spot.payment.status) == (OFFLINE, PaymentStatus.COMPLETED)
    assert delivered(await app.work())
    assert app.gateway.orders[online.payment.id].is_closed


async def test_booking_that_got_no_checkout_can_be_paid_on_site(app: BookingApplication) -> None:
    event = await app.event()
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    booking = (await app.book(event)).reserved
    assert app.payment(booking.id).order_id is None
    await app.record_offline.by_facilitator(app.facilitator(event), BookingRef(booking.id))
    assert app.messages(MessageType.CHECKOUT_ENDED) == []


async def test_online_payment_beside_one_on_site_is_refunded(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    app.gateway.pay(app.payment_id(booking.id))
    await app.record_offline.by_facilitator(app.facilitator(event), BookingRef(booking.id))
    assert delivered(await app.work())
    assert app.refunded() == [(inr(100), PAID_TWICE)]
    assert app.booking(booking.id).payment_status is PaymentStatus.COMPLETED


async def test_only_the_facilitator_and_admins_record_a_payment(on_site: BookingApplication) -> None:
    booking = (await on_site.book(await on_site.event())).reserved
    for user in (on_site.owner(booking.id), await on_site.person(Role.FACILITATOR)):
        with pytest.raises(EventForbidden):
            await on_site.record_offline.by_facilitator(user, BookingRef(booking.id))
    admin = await on_site.person(Role.ADMIN)
    assert await on_site.record_offline.by_facilitator(admin, BookingRef(booking.id)) is PaymentStatus.COMPLETED
