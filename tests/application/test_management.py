"""Rules of creating, changing, cancelling and deleting events."""

from dataclasses import replace
from typing import Any

import pytest

from application.events.management import OnlyFacilitatorsCreate
from domain.accounts import Role
from domain.bookings import BookingStatus, CancelReason
from domain.errors import Invalid, Unauthenticated
from domain.events import (
    CapacityBelowBookings,
    CurrencyOfBookings,
    EventCancelled,
    EventForbidden,
    EventId,
    EventNotFound,
    EventOver,
    EventStarted,
    EventStatus,
)
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import PaymentStatus
from domain.refunds import RefundPolicy
from domain.reminders import ReminderStatus, SkipReason
from tests.application.booking_application import DAY, HOLD, HOUR, BookingApplication, delivered, inr


@pytest.mark.parametrize("role", [Role.FACILITATOR, Role.ADMIN])
async def test_facilitators_and_admins_create_events(app: BookingApplication, role: Role) -> None:
    view = await app.create_event(await app.person(role), app.details())
    assert app.sent(MessageType.EVENT_CREATED) == [(f"event:{view.id}", Destination.CRM)]


async def test_clients_create_no_events(app: BookingApplication) -> None:
    with pytest.raises(OnlyFacilitatorsCreate):
        await app.create_event(await app.person(), app.details())


async def test_event_starts_in_the_future(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    with pytest.raises(Invalid) as refused:
        await app.create_event(facilitator, app.details(starts_in=0 * HOUR))
    assert set(refused.value.details) == {"start_datetime"}


async def test_event_ends_after_its_start(app: BookingApplication) -> None:
    with pytest.raises(Invalid) as refused:
        app.details(lasts=0 * HOUR)
    assert set(refused.value.details) == {"end_datetime"}


async def test_gateway_has_to_accept_the_price(app: BookingApplication) -> None:
    app.gateway.maximum = inr(500)
    event = await app.event(price=inr(500))
    facilitator = app.facilitator(event)
    with pytest.raises(Invalid):
        await app.create_event(facilitator, app.details(price=inr(501)))
    with pytest.raises(Invalid):
        await app.update_event(facilitator, event.id, lambda old: replace(old, price=inr(501)))
    assert app.stored_event(event.id).details.price == inr(500)


async def test_price_that_stays_is_not_checked_again(app: BookingApplication) -> None:
    event = await app.event(price=inr(500))
    app.gateway.maximum = inr(100)
    changed = await app.update_event(app.facilitator(event), event.id, lambda old: replace(old, title="Pilates"))
    assert (changed.title, changed.price) == ("Pilates", inr(500).amount)


async def test_ended_access_creates_no_event(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    app.replace(replace(facilitator, token_version=2))
    with pytest.raises(Unauthenticated):
        await app.create_event(facilitator, app.details())
    assert app.store.tables.of("events") == {}


async def test_repeated_request_creates_one_event(app: BookingApplication) -> None:
    facilitator, details = await app.person(Role.FACILITATOR), app.details()
    first, second = await app.repeated(lambda: app.create_event(facilitator, details))
    assert first == second


async def test_capacity_cannot_be_less_than_the_number_of_bookings(app: BookingApplication) -> None:
    event = await app.event()
    for _ in range(2):
        await app.book(event)
    facilitator = app.facilitator(event)
    with pytest.raises(CapacityBelowBookings):
        await app.update_event(facilitator, event.id, lambda old: replace(old, capacity=1))
    assert (await app.update_event(facilitator, event.id, lambda old: replace(old, capacity=2))).available == 0


@pytest.mark.parametrize(
    "change",
    [{"title": "Pilates"}, {"location": "Hall 2"}, {"virtual_link": "https://meet.example/1"}, {"starts_in": 8 * DAY}],
)
async def test_visible_change_is_sent_to_crm_and_participants(app: BookingApplication, change: dict[str, Any]) -> None:
    event = await app.event()
    booking, cancelled = (await app.book(event)).reserved, (await app.book(event)).reserved
    await app.cancel_booking(app.owner(cancelled.id), cancelled.id)
    new = {"interval": app.details(**change).interval} if "starts_in" in change else change
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, **new))
    assert app.sent(MessageType.EVENT_UPDATED) == [(f"event:{event.id}", Destination.CRM)]
    assert app.sent(MessageType.BOOKING_MOVED) == [(f"booking:{booking.id}", Destination.EMAIL)]
    assert app.stored_event(event.id).revision == 1


@pytest.mark.parametrize(
    "change", [{"description": "Bring a mat"}, {"capacity": 20}, {"price": inr(7)}, {"category": "Sport"}, {}]
)
async def test_no_other_change_is_sent(app: BookingApplication, change: dict[str, Any]) -> None:
    event = await app.event()
    await app.book(event)
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, **change))
    assert app.messages(MessageType.EVENT_UPDATED, MessageType.BOOKING_MOVED) == []


async def test_change_of_an_event_that_has_ended_is_not_mailed(app: BookingApplication) -> None:
    event = await app.event(price=inr(0))
    await app.book(event)
    app.clock.moment = event.details.interval.ends_at
    await app.update_event(app.facilitator(event), event.id, lambda old: replace(old, title="Pilates"))
    assert app.messages(MessageType.BOOKING_MOVED) == []
    assert len(app.messages(MessageType.EVENT_UPDATED)) == 1


async def test_earlier_start_shortens_holds_and_plans_other_reminders(app: BookingApplication) -> None:
    event = await app.event(starts_in=3 * DAY)
    booking = (await app.book(event)).reserved
    interval = app.details(starts_in=HOLD / 2).interval
    await app.update_event(app.facilitator(event), event.id, lambda old: replace(old, interval=interval))
    assert app.booking(booking.id).hold_until == interval.starts_at
    rows = list(app.store.tables.of("reminders").values())
    assert {(row.status, row.reason) for row in rows} == {(ReminderStatus.SKIPPED, SkipReason.MOVED)}
    later = app.details(starts_in=2 * DAY).interval
    await app.update_event(app.facilitator(event), event.id, lambda old: replace(old, interval=later))
    planned = [row for row in app.store.tables.of("reminders").values() if row.status is ReminderStatus.PLANNED]
    assert {row.starts_at for row in planned} == {later.starts_at}
    assert len(planned) == 2


async def test_new_price_and_policy_apply_to_later_bookings(app: BookingApplication) -> None:
    event, none = await app.event(), RefundPolicy.of([])
    earlier = (await app.book(event)).reserved
    new = {"price": inr(200), "refund_policy": none}
    await app.update_event(app.facilitator(event), event.id, lambda old: app.changed(old, **new))
    later = (await app.book(event)).reserved
    assert [(app.booking(each.id).price, app.booking(each.id).refund_policy) for each in (earlier, later)] == [
        (inr(100), RefundPolicy()),
        (inr(200), none),
    ]


async def test_currency_cannot_change_while_there_are_bookings(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    euros = Money(inr(100).amount, "EUR")
    facilitator = app.facilitator(event)
    with pytest.raises(CurrencyOfBookings):
        await app.update_event(facilitator, event.id, lambda old: replace(old, price=euros))
    await app.cancel_booking(app.owner(booking.id), booking.id)
    assert (await app.update_event(facilitator, event.id, lambda old: replace(old, price=euros))).currency == "EUR"


async def test_event_is_not_rescheduled_after_its_start_or_into_the_past(app: BookingApplication) -> None:
    event = await app.event()
    past, future = app.details(starts_in=-HOUR).interval, app.details(starts_in=30 * DAY).interval
    facilitator = app.facilitator(event)
    with pytest.raises(Invalid):
        await app.update_event(facilitator, event.id, lambda old: replace(old, interval=past))
    app.clock.moment = event.details.interval.starts_at
    with pytest.raises(EventStarted):
        await app.update_event(facilitator, event.id, lambda old: replace(old, interval=future))


async def test_only_the_facilitator_and_admins_manage_an_event(app: BookingApplication) -> None:
    event = await app.event()
    for user in (await app.person(Role.FACILITATOR), await app.person()):
        for request in (
            lambda user=user: app.update_event(user, event.id, lambda old: old),
            lambda user=user: app.cancel_event(user, event.id),
            lambda user=user: app.delete_event(user, event.id),
        ):
            with pytest.raises(EventForbidden):
                await request()
    await app.delete_event(await app.person(Role.ADMIN), event.id)


async def test_unknown_event_is_not_found(app: BookingApplication) -> None:
    facilitator, unknown = await app.person(Role.FACILITATOR), EventId(999)
    with pytest.raises(EventNotFound):
        await app.update_event(facilitator, unknown, lambda old: old)
    with pytest.raises(EventNotFound):
        await app.cancel_event(facilitator, unknown)
    with pytest.raises(EventNotFound):
        await app.delete_event(facilitator, unknown)


async def test_cancelled_event_cancels_all_of_its_bookings(app: BookingApplication) -> None:
    event = await app.event()
    paid, unpaid = await app.paid(event), (await app.book(event)).reserved.id
    await app.cancel_event(app.facilitator(event), event.id)
    stored = app.stored_event(event.id)
    assert (stored.status, stored.booked) == (EventStatus.CANCELLED, 0)
    for booking_id, payment_status in ((paid, PaymentStatus.REFUNDED), (unpaid, PaymentStatus.PENDING)):
        booking = app.booking(booking_id)
        assert (booking.status, booking.cancel_reason) == (BookingStatus.CANCELLED, CancelReason.EVENT_CANCELLED)
        assert (booking.payment_status, booking.hold_until) == (payment_status, None)


async def test_participants_and_crm_are_notified_of_a_cancelled_event(app: BookingApplication) -> None:
    event = await app.event()
    bookings = [(await app.book(event)).reserved.id for _ in range(2)]
    await app.cancel_event(app.facilitator(event), event.id)
    assert (f"event:{event.id}", Destination.CRM) in app.sent(MessageType.EVENT_CANCELLED)
    mailed = {key for key, to in app.sent(MessageType.BOOKING_CANCELLED) if to is Destination.EMAIL}
    assert mailed == {f"booking:{booking_id}" for booking_id in bookings}
    reasons = {each.payload["reason"] for each in app.messages(MessageType.BOOKING_CANCELLED)}
    assert reasons == {CancelReason.EVENT_CANCELLED}


async def test_payments_of_a_cancelled_event_are_refunded_in_full(app: BookingApplication) -> None:
    event = await app.event(refund_policy=RefundPolicy.of([]))
    for _ in range(2):
        await app.paid(event)
    await app.book(event)
    cancelled = await app.cancel_event(app.facilitator(event), event.id)
    assert (cancelled.refunds, cancelled.total) == (2, inr(200))
    assert app.refunded() == [(inr(100), CancelReason.EVENT_CANCELLED)] * 2
    assert delivered(await app.work())
    assert len(app.gateway.refunds) == 2


async def test_rest_of_a_partly_refunded_payment_is_refunded_with_the_event(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await app.refund_booking(app.facilitator(event), booking_id, inr(30).amount)
    cancelled = await app.cancel_event(app.facilitator(event), event.id)
    assert cancelled.total == inr(70)
    assert app.payment(booking_id).refunded == inr(100)


async def test_open_checkouts_of_a_cancelled_event_are_closed(app: BookingApplication) -> None:
    event = await app.event()
    booking = (await app.book(event)).reserved
    await app.cancel_event(app.facilitator(event), event.id)
    assert delivered(await app.work())
    assert app.gateway.orders[app.payment_id(booking.id)].is_closed


async def test_event_is_cancelled_once_and_before_its_end(app: BookingApplication) -> None:
    cancelled, over = await app.event(), await app.event()
    await app.cancel_event(app.facilitator(cancelled), cancelled.id)
    with pytest.raises(EventCancelled):
        await app.cancel_event(app.facilitator(cancelled), cancelled.id)
    with pytest.raises(EventCancelled):
        await app.update_event(app.facilitator(cancelled), cancelled.id, lambda old: replace(old, title="Other"))
    app.clock.moment = over.details.interval.ends_at
    with pytest.raises(EventOver):
        await app.cancel_event(app.facilitator(over), over.id)


async def test_repeated_cancellation_of_an_event_returns_the_same_sum(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    first, second = await app.repeated(lambda: app.cancel_event(app.facilitator(event), event.id))
    assert first == second
    assert first.total == inr(100)


async def test_deleted_event_is_in_no_list_and_its_bookings_stay(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    await app.delete_event(app.facilitator(event), event.id)
    with pytest.raises(EventNotFound):
        await app.events.get(event.id)
    assert app.booking(booking_id).cancel_reason is CancelReason.EVENT_CANCELLED
    assert app.refunded() == [(inr(100), CancelReason.EVENT_CANCELLED)]


async def test_event_that_has_ended_is_deleted_without_a_cancellation(app: BookingApplication) -> None:
    event = await app.event()
    booking_id = await app.paid(event)
    app.clock.moment = event.details.interval.ends_at
    await app.delete_event(app.facilitator(event), event.id)
    assert app.booking(booking_id).status is BookingStatus.CONFIRMED
    assert app.refunded() == []
    assert await app.complete_bookings() == 1
