"""Rules of the payment of appointments: checkout, holds, payments on site."""

import pytest

from application.payments.settlement import Settled
from domain.appointments import (
    AppointmentChange,
    AppointmentChangeForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    AppointmentViewForbidden,
    OnlyClientPays,
    OnlyCoachRecords,
)
from domain.availability import SlotUnavailable
from domain.bookings import BookingIsCancelled
from domain.errors import Invalid
from domain.ids import AppointmentId, AppointmentRef
from domain.outbox import Destination, MessageType
from domain.payments import OFFLINE, GatewayUnavailable, NothingToPay, PaymentStatus
from domain.refunds import PAID_TWICE
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import HOLD, RETURN_URL, delivered, inr
from tests.application.test_appointment_changes import UNKNOWN
from tests.support.memory.gateway import Behaviour
from tests.support.memory.rows import payments_of

APPLICATION = AppointmentApplication

CONFIRMED = AppointmentStatus.CONFIRMED


@pytest.fixture
def on_site() -> AppointmentApplication:
    return AppointmentApplication(gateway=OFFLINE)


# Checkout


async def test_payment_address_stays_the_same(app: AppointmentApplication) -> None:
    booked = await app.booked()
    client, appointment_id = app.client_of(booked.appointment.id), booked.appointment.id
    assert [await app.pay(client, appointment_id) for _ in range(2)] == [booked.payment_url] * 2
    assert app.gateway.calls.count("open_checkout") == 1


async def test_moved_session_keeps_its_payment_address(app: AppointmentApplication) -> None:
    booked = await app.booked()
    client, appointment_id = app.client_of(booked.appointment.id), booked.appointment.id
    await app.reschedule(client, appointment_id, at(14), None)
    assert await app.pay(client, appointment_id) == booked.payment_url
    assert await app.receive(appointment_id) is Settled.RECEIVED


async def test_session_paid_on_site_has_no_payment_address(on_site: AppointmentApplication) -> None:
    appointment_id = await on_site.appointment()
    assert await on_site.pay(on_site.client_of(appointment_id), appointment_id) is None


async def test_only_the_client_pays(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    with pytest.raises(OnlyClientPays):
        await app.pay(app.coach_of(appointment_id), appointment_id)
    for stranger in (await app.person(), await app.coach()):
        with pytest.raises(AppointmentViewForbidden):
            await app.pay(stranger, appointment_id)
    with pytest.raises(AppointmentNotFound):
        await app.pay(await app.person(), UNKNOWN)


async def test_paid_free_cancelled_and_expired_sessions_have_nothing_to_pay(app: AppointmentApplication) -> None:
    paid, free, cancelled = await app.paid_appointment(), await app.in_status(CONFIRMED), await app.appointment()
    await app.cancel(app.client_of(cancelled), cancelled)
    held = await app.appointment()
    app.clock.advance(HOLD)
    for appointment_id in (paid, free, cancelled, held):
        with pytest.raises(NothingToPay):
            await app.pay(app.client_of(appointment_id), appointment_id)


async def test_session_of_an_inactive_coach_has_nothing_to_pay(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    app.deactivate(app.coach_of(appointment_id))
    with pytest.raises(NothingToPay):
        await app.pay(app.client_of(appointment_id), appointment_id)


async def test_return_address_can_change_with_the_next_payment_request(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    client = app.client_of(appointment_id)
    with pytest.raises(Invalid):
        await app.pay(client, appointment_id, return_url="https://other.example/")
    await app.pay(client, appointment_id, return_url=RETURN_URL)
    assert (await app.payments.overview(app.payment_of(appointment_id).id)).return_url == RETURN_URL


async def test_unavailable_gateway_is_reported_to_the_client(app: AppointmentApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    appointment_id = await app.appointment()
    with pytest.raises(GatewayUnavailable):
        await app.pay(app.client_of(appointment_id), appointment_id)


async def test_gateway_sees_coach_client_and_price(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    request, gateway = await app.payments.request_of(app.payment_of(appointment_id).id)
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    assert (gateway, request.title, request.price) == ("gateway", f"Coaching with {coach.name}", inr(30))
    assert (request.user_email, request.facilitator_id, request.event_id) == (client.email, coach.id, None)
    assert request.until == app.stored(appointment_id).hold_until


# Expiry of holds


async def test_expired_hold_releases_the_time_and_closes_the_checkout(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    coach, payment = app.coach_of(appointment_id), app.payment_of(appointment_id)
    app.clock.advance(HOLD / 2)
    assert await app.expire_appointments() == 0
    with pytest.raises(SlotUnavailable):
        await app.booked(coach)
    app.clock.advance(HOLD / 2)
    calls = app.wake_ups.calls
    assert [await app.expire_appointments() for _ in range(2)] == [1, 0]
    assert app.wake_ups.calls == calls + 1
    assert app.states(appointment_id) == ["cancelled, pending"]
    assert (await app.changes(appointment_id))[-1] == (AppointmentChange.CANCELLED, None)
    key = f"coaching:{appointment_id}"
    assert app.sent(MessageType.BOOKING_CANCELLED)[2:] == [
        (f"{key}:client", Destination.EMAIL),
        (f"{key}:coach", Destination.EMAIL),
    ]
    assert {each.payload["reason"] for each in app.messages(MessageType.BOOKING_CANCELLED)} == {"payment_expired"}
    assert delivered(await app.work())
    assert app.gateway.orders[payment.id].is_closed
    await app.booked(coach)


async def test_expired_hold_without_a_checkout_closes_none(app: AppointmentApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    await app.expired_appointment()
    assert app.messages(MessageType.CHECKOUT_ENDED) == []


async def test_session_that_is_paid_meanwhile_does_not_expire(
    app: AppointmentApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    appointment_id = await app.appointment()
    app.clock.advance(HOLD)
    due = await app.appointments.expired_holds(app.clock.now(), limit=100)
    assert due == [appointment_id]
    await app.receive(appointment_id)

    async def earlier_answer(*_: object, **__: object) -> list[AppointmentId]:
        return list(due)

    monkeypatch.setattr(app.appointments, "expired_holds", earlier_answer)
    assert await app.expire_appointments() == 0
    assert app.states(appointment_id) == ["confirmed, completed"]


async def test_ended_holds_of_a_coach_expire_now(app: AppointmentApplication) -> None:
    appointment_id, other = await app.appointment(), await app.appointment()
    paid = await app.paid_appointment(app.coach_of(appointment_id), hour=12)
    async with app.open_work() as work:
        await work.appointments.end_holds(app.coach_of(appointment_id).id, app.clock.now())
        await work.commit()
    assert await app.expire_appointments() == 1
    assert app.states(appointment_id, other, paid) == [
        "cancelled, pending",
        "pending, pending",
        "confirmed, completed",
    ]


# Payments on site


async def test_payment_on_site_confirms_a_pending_session_and_is_recorded_once(on_site: AppointmentApplication) -> None:
    appointment_id = await on_site.appointment()
    coach = on_site.coach_of(appointment_id)
    views = [await on_site.record_payment(coach, appointment_id) for _ in range(2)]
    assert [(view.status, view.payment_status) for view in views] == [(CONFIRMED, PaymentStatus.COMPLETED)] * 2
    assert await on_site.changes(appointment_id) == [
        (AppointmentChange.CREATED, on_site.client_of(appointment_id).id),
        (AppointmentChange.PAID, coach.id),
    ]
    assert len(on_site.messages(MessageType.PAYMENT_COMPLETED)) == 4


async def test_admin_records_a_payment_on_site_after_the_confirmation(on_site: AppointmentApplication) -> None:
    appointment_id = await on_site.appointment()
    await on_site.change_status(on_site.coach_of(appointment_id), appointment_id, CONFIRMED)
    await on_site.record_payment(await on_site.admin(), appointment_id)
    assert on_site.states(appointment_id) == ["confirmed, completed"]


async def test_only_the_coach_and_admins_record_a_payment(on_site: AppointmentApplication) -> None:
    appointment_id = await on_site.appointment()
    with pytest.raises(OnlyCoachRecords):
        await on_site.record_payment(on_site.client_of(appointment_id), appointment_id)
    for stranger in (await on_site.person(), await on_site.coach()):
        with pytest.raises(AppointmentChangeForbidden):
            await on_site.record_payment(stranger, appointment_id)
    with pytest.raises(AppointmentNotFound):
        await on_site.record_payment(await on_site.admin(), UNKNOWN)
    assert on_site.states(appointment_id) == ["pending, pending"]


async def test_cancelled_and_free_sessions_record_no_payment(on_site: AppointmentApplication) -> None:
    cancelled, free = await on_site.appointment(), await on_site.in_status(CONFIRMED)
    await on_site.cancel(on_site.client_of(cancelled), cancelled)
    with pytest.raises(BookingIsCancelled):
        await on_site.record_payment(on_site.coach_of(cancelled), cancelled)
    await on_site.record_payment(on_site.coach_of(free), free)
    assert on_site.states(free) == ["confirmed, not_required"]


async def test_open_checkout_is_closed_by_a_payment_on_site(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    order_payment = app.payment_of(appointment_id)
    view = await app.record_payment(app.coach_of(appointment_id), appointment_id)
    assert (view.status, view.hold_until) == (CONFIRMED, None)
    assert app.payment_of(appointment_id).gateway == OFFLINE
    assert view.payment_id == app.payment_of(appointment_id).id
    await app.work()
    assert app.gateway.orders[order_payment.id].is_closed


async def test_payment_at_the_gateway_after_one_on_site_is_refunded(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    update = app.gateway.pay(app.payment_of(appointment_id).id)
    await app.record_payment(app.coach_of(appointment_id), appointment_id)
    assert await app.settle("gateway", update) is Settled.GIVEN_BACK
    assert app.states(appointment_id) == ["confirmed, completed"]
    assert app.refunded() == [(inr(30), PAID_TWICE)]
    assert len(payments_of(app.store.tables, AppointmentRef(appointment_id))) == 2


async def test_payment_on_site_is_returned_by_the_coach(on_site: AppointmentApplication) -> None:
    appointment_id = await on_site.appointment()
    coach = on_site.coach_of(appointment_id)
    await on_site.record_payment(coach, appointment_id)
    await on_site.cancel(coach, appointment_id)
    assert delivered(await on_site.work())
    [refund] = on_site.stored_refunds()
    assert (refund.refund.amount, refund.refund.succeeded) == (inr(30), True)
    assert on_site.gateway.calls == []
