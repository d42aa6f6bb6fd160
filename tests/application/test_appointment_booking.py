"""Rules of booking a coach's time. That concurrent requests cannot overlap is tested on PostgreSQL."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from application.payments.settlement import Settled
from domain.accounts import Role
from domain.appointments import AppointmentChange, AppointmentStatus, OnlyClientsBook
from domain.availability import Hours, SlotUnavailable
from domain.bookings import MAX_NOTES
from domain.coaches import CoachInactive, CoachNotFound
from domain.errors import Invalid
from domain.money import Money
from domain.outbox import Destination, MessageType
from domain.payments import OFFLINE, PaymentStatus
from domain.refunds import RefundPolicy
from domain.time import Interval
from domain.unpaid_holds import TooManyUnpaidHolds
from tests.application.appointment_application import ALL_DAY, AppointmentApplication, at
from tests.application.booking_application import DAY, HOLD, HOUR, RETURN_URL, inr
from tests.support.memory.gateway import Behaviour
from tests.support.memory.rows import payments_in

APPLICATION = AppointmentApplication

MINUTE = timedelta(minutes=1)


async def test_new_booking_is_pending_on_the_terms_of_its_coach(app: AppointmentApplication) -> None:
    policy = RefundPolicy.of([(24, 50)])
    coach, client = await app.coach(refund_policy=policy, buffer_after=15 * MINUTE), await app.person()
    view = (await app.booked(coach, client, minutes=90, notes="About the move")).appointment
    assert (view.status, view.payment_status) == (AppointmentStatus.PENDING, PaymentStatus.PENDING)
    assert (view.client_id, view.coach_id, view.notes) == (client.id, coach.id, "About the move")
    stored = app.stored(view.id)
    assert (stored.price, stored.refund_policy, stored.sequence) == (inr(45), policy, 0)
    assert stored.busy == Interval(at(10), at(11.75))
    assert await app.changes(view.id) == [(AppointmentChange.CREATED, client.id)]


@pytest.mark.parametrize("role", [Role.FACILITATOR, Role.ADMIN])
async def test_only_clients_book(app: AppointmentApplication, role: Role) -> None:
    with pytest.raises(OnlyClientsBook):
        await app.booked(client=await app.person(role))


async def test_session_starts_in_the_future(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    for starts_at in (app.clock.now(), app.clock.now() - DAY):
        with pytest.raises(Invalid) as invalid:
            await app.book_appointment(client, coach.uuid, starts_at, HOUR, None)
        assert invalid.value.details == {"session_datetime": "Session must be scheduled in the future"}
    await app.book_appointment(client, coach.uuid, app.clock.now() + timedelta(seconds=1), HOUR, None)


@pytest.mark.parametrize("minutes", [14, 481])
async def test_session_has_15_to_480_minutes(app: AppointmentApplication, minutes: int) -> None:
    coach = await app.coach()
    for allowed, hour in ((15, 0), (480, 1)):
        await app.booked(coach, minutes=allowed, hour=hour)
    with pytest.raises(Invalid) as invalid:
        await app.booked(coach, minutes=minutes, hour=12)
    assert invalid.value.details == {"duration_minutes": "Must be between 15 and 480"}


async def test_session_lies_within_the_hours_of_the_coach(app: AppointmentApplication) -> None:
    coach = await app.coach(weekly={0: (Hours(9 * 60, 12 * 60),)}, timezone="Europe/Berlin")
    for hour in (7.5, 10.5):
        with pytest.raises(SlotUnavailable):
            await app.booked(coach, hour=hour)
    for hour in (8, 10):  # 9:00 and 11:00 in Berlin
        await app.booked(coach, hour=hour)


@pytest.mark.parametrize(("hour", "is_free"), [(8.75, False), (9.5, False), (11.25, False), (8.5, True), (11.5, True)])
async def test_bookings_of_a_coach_never_overlap(app: AppointmentApplication, hour: float, is_free: bool) -> None:
    coach = await app.coach(buffer_before=30 * MINUTE)
    await app.appointment(coach)
    if is_free:
        await app.booked(coach, hour=hour)
    else:
        with pytest.raises(SlotUnavailable):
            await app.booked(coach, hour=hour)
    await app.booked(hour=hour)  # with another coach


async def test_events_and_connected_calendars_of_the_coach_are_busy_times(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    event = await app.event(coach, interval=Interval(at(9), at(10.5)))
    app.connect_calendar(coach, Interval(at(14), at(15)))
    for hour in (10, 13.5):
        with pytest.raises(SlotUnavailable):
            await app.booked(coach, client, hour=hour)
    assert app.busy_times.coaches == [coach.uuid] * 2, "connected calendars are read again first"
    await app.cancel_event(coach, event.id)
    await app.booked(coach, client)


async def test_time_between_the_check_and_the_reservation_is_not_sold_twice(app: AppointmentApplication) -> None:
    """The check does not see the appointment of a concurrent request; the reservation does."""
    coach, client = await app.coach(), await app.person()
    await app.appointment(coach)
    async with app.open_work() as work:
        found = await work.coaches.get(coach.uuid)
        [refusal] = await app.reserve(work, found, client, [Interval(at(10.5), at(11.5))], [], None)
    assert isinstance(refusal, SlotUnavailable)


async def test_unknown_and_inactive_coaches_cannot_be_booked(app: AppointmentApplication) -> None:
    client, inactive = await app.person(), await app.coach()
    for unknown in (UUID(int=9), client.uuid):
        with pytest.raises(CoachNotFound):
            await app.book_appointment(client, unknown, at(10), HOUR, None)
    app.deactivate(inactive)
    with pytest.raises(CoachInactive):
        await app.booked(inactive, client)


async def test_admin_can_be_booked_as_a_coach(app: AppointmentApplication) -> None:
    admin = await app.admin()
    appointment_id = await app.appointment(admin)
    assert app.stored(appointment_id).coach_id == admin.id


async def test_coach_confirms_a_free_session(app: AppointmentApplication) -> None:
    booked = await app.booked(coach := await app.free_coach())
    assert (booked.payment_url, booked.appointment.hold_until) == (None, None)
    assert booked.appointment.payment_status is PaymentStatus.NOT_REQUIRED
    assert payments_in(app.store.tables) == []
    app.clock.moment = at(9)
    assert await app.expire_appointments() == 0
    view = await app.change_status(coach, booked.appointment.id, AppointmentStatus.CONFIRMED)
    assert view.status is AppointmentStatus.CONFIRMED


async def test_payment_confirms_any_other_session(app: AppointmentApplication) -> None:
    booked = await app.booked()
    appointment_id = booked.appointment.id
    payment = app.payment_of(appointment_id)
    assert booked.payment_url == f"https://gateway.example/{payment.order_id}"
    assert (payment.price, payment.gateway, payment.status) == (inr(30), "gateway", PaymentStatus.PENDING)
    await app.receive(appointment_id)
    assert app.states(appointment_id) == ["confirmed, completed"]
    assert app.stored(appointment_id).hold_until is None
    assert (await app.show(app.client_of(appointment_id), appointment_id)).payment_id == payment.id
    assert [change for change, _ in await app.changes(appointment_id)] == ["created", "paid"]


@pytest.mark.parametrize(("starts_in", "held_for"), [(DAY, HOLD), (HOLD / 2, HOLD / 2)])
async def test_unpaid_session_is_held_for_a_limited_time_at_most_until_its_start(
    app: AppointmentApplication, starts_in: timedelta, held_for: timedelta
) -> None:
    coach, now = await app.coach(), app.clock.now()
    booked = await app.book_appointment(await app.person(), coach.uuid, now + starts_in, HOUR, None)
    assert booked.appointment.hold_until == now + held_for


async def test_session_that_is_paid_on_site_is_not_held() -> None:
    app = AppointmentApplication(gateway=OFFLINE)
    booked = await app.booked()
    assert (booked.payment_url, booked.appointment.hold_until) == (None, None)
    assert booked.appointment.payment_status is PaymentStatus.PENDING
    app.clock.moment = at(11)
    assert await app.expire_appointments() == 0


async def test_unpaid_bookings_with_one_coach_are_limited(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    first = await app.appointment(coach, client)
    await app.appointment(coach, client, hour=12)
    with pytest.raises(TooManyUnpaidHolds, match="2 unpaid bookings with this coach"):
        await app.booked(coach, client, hour=14)
    await app.booked(await app.coach(), client, hour=14)
    await app.booked(coach, hour=14)  # by another client
    await app.receive(first)
    await app.booked(coach, client, hour=16)


async def test_unpaid_bookings_of_a_client_are_limited_in_total_seats_included(app: AppointmentApplication) -> None:
    client = await app.person()
    seat = await app.book(await app.event(), client)
    for hour in range(4):
        await app.appointment(client=client, hour=hour)
    with pytest.raises(TooManyUnpaidHolds, match="5 unpaid bookings"):
        await app.booked(client=client)
    with pytest.raises(TooManyUnpaidHolds):
        await app.book(await app.event(), client)
    await app.booked(await app.free_coach(), client)
    await app.cancel_booking(client, seat.reserved.id)
    await app.booked(client=client)


async def test_bookings_paid_on_site_are_not_limited() -> None:
    app = AppointmentApplication(gateway=OFFLINE)
    coach, client = await app.coach(), await app.person()
    for hour in range(8):
        await app.booked(coach, client, hour=hour)
    assert len(app.all_appointments()) == 8


async def test_unpaid_holds_do_not_limit_bookings_that_are_paid_on_site(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    for hour in (10, 12):
        await app.booked(coach, client, hour=hour)
    app.gateway.holds_seats = False  # the operator has changed the gateway
    await app.booked(coach, client, hour=14)


async def test_appointment_and_its_messages_are_written_together(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    app.connect_calendar(coach)
    app.connect_calendar(client)
    appointment_id = await app.appointment(coach, client)
    key = f"coaching:{appointment_id}"
    assert app.sent(MessageType.BOOKING_CREATED) == [
        (key, Destination.CRM),
        (key, Destination.REALTIME),
        (f"{key}:client", Destination.EMAIL),
        (f"{key}:coach", Destination.EMAIL),
    ]
    assert [destination for _, destination in app.sent(MessageType.CALENDAR_OUTDATED)] == [Destination.CALENDAR] * 2
    assert {row.user_id for row in app.store.tables.of("reminders").values()} == {coach.id, client.id}
    assert app.wake_ups.calls == 1


async def test_refused_booking_writes_nothing(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    await app.appointment(coach)
    before = app.store.tables
    with pytest.raises(SlotUnavailable):
        await app.booked(coach, client)
    assert app.store.tables == before


@pytest.mark.parametrize("notes", ["n" * (MAX_NOTES + 1), "\x07"])
async def test_notes_are_checked(app: AppointmentApplication, notes: str) -> None:
    with pytest.raises(Invalid) as invalid:
        await app.booked(notes=notes)
    assert set(invalid.value.details) == {"notes"}
    assert (await app.booked(notes="n" * MAX_NOTES)).appointment.notes == "n" * MAX_NOTES


async def test_return_address_must_be_allowed_and_is_stored(app: AppointmentApplication) -> None:
    with pytest.raises(Invalid):
        await app.booked(return_url="https://other.example/")
    assert app.all_appointments() == []
    appointment_id = await app.appointment(return_url=RETURN_URL)
    payment = app.payment_of(appointment_id)
    assert (await app.payments.overview(payment.id)).return_url == RETURN_URL


@pytest.mark.parametrize("behaviour", [Behaviour.UNAVAILABLE, Behaviour.REFUSES, Behaviour.LOSES_ANSWERS])
async def test_booking_stands_when_the_checkout_fails(app: AppointmentApplication, behaviour: Behaviour) -> None:
    app.gateway.behaviour = behaviour
    booked = await app.booked()
    assert booked.payment_url is None
    app.gateway.behaviour = Behaviour.ACCEPTS
    url = await app.pay(app.client_of(booked.appointment.id), booked.appointment.id)
    assert url is not None
    await app.receive(booked.appointment.id)
    assert app.states(booked.appointment.id) == ["confirmed, completed"]


async def test_repeated_request_returns_the_same_appointment(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    first, second = await app.repeated(lambda: app.booked(coach, client))
    assert first == second


@pytest.mark.parametrize(
    ("per_hour", "currency", "minutes", "price"),
    [
        ("99.99", "INR", 20, "33.33"),
        ("10.01", "INR", 30, "5.01"),
        ("500", "JPY", 20, "167"),
        ("333", "JPY", 90, "500"),
        ("10", "KWD", 20, "3.330"),
        ("1.23", "KWD", 30, "0.620"),
        ("0.01", "INR", 20, "0.00"),
        ("1", "JPY", 29, "0"),
    ],
)
async def test_price_is_prorated_to_a_payable_amount(
    app: AppointmentApplication, per_hour: str, currency: str, minutes: int, price: str
) -> None:
    """A session that would cost less than the smallest amount is free."""
    coach = await app.person(Role.FACILITATOR)
    async with app.open_work() as work:
        # Lower rates than these are refused when they are entered.
        per = Money(Decimal(per_hour), currency)
        await work.coaches.save(coach.id, ALL_DAY, per, RefundPolicy(), app.clock.now())
        await work.commit()
    booked = await app.booked(coach, minutes=minutes)
    assert str(booked.appointment.price.amount) == price
    if not Decimal(price):
        assert (booked.payment_url, booked.appointment.hold_until) == (None, None)
        assert booked.appointment.payment_status is PaymentStatus.NOT_REQUIRED
        return
    assert await app.receive(booked.appointment.id) is Settled.RECEIVED
    assert app.payment_of(booked.appointment.id).price == Money(Decimal(price), currency)
