"""Rules of the availability of coaches. Slots themselves are tested in `tests/domain/test_availability.py`."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from domain.accounts import Role
from domain.availability import EVERY_DAY, NINE_TO_FIVE, Availability, Hours
from domain.coaches import Coach, CoachInactive, CoachNotFound
from domain.errors import Invalid
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import Interval
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import DAY, HOUR, inr

APPLICATION = AppointmentApplication

MINUTE = timedelta(minutes=1)


async def starts(app: AppointmentApplication, coach: UUID, length: timedelta = HOUR) -> list[float]:
    """The hours at which slots of `THE_DAY` begin."""
    slots = await app.show_slots(coach, at(0), at(24), length)
    return [(slot.starts_at - at(0)) / HOUR for slot in slots]


# Own availability


async def test_default_is_nine_to_five_every_day_and_free(app: AppointmentApplication) -> None:
    coach = await app.show_own_availability(await app.person(Role.FACILITATOR))
    assert (coach.availability, coach.price_per_hour) == (Availability(), inr(0))
    assert coach.availability.weekly == EVERY_DAY
    assert coach.refund_policy == RefundPolicy()


async def test_default_time_zone_is_that_of_the_profile(app: AppointmentApplication) -> None:
    user = await app.person(Role.FACILITATOR)
    app.replace(replace(user, timezone="Asia/Kolkata"))
    assert (await app.show_own_availability(user)).availability.timezone == "Asia/Kolkata"


async def test_clients_have_no_availability(app: AppointmentApplication) -> None:
    with pytest.raises(CoachNotFound):
        await app.show_own_availability(await app.person())
    with pytest.raises(CoachNotFound):
        await app.set_availability(await app.person(), lambda coach: coach)


async def test_omitted_fields_keep_their_values(app: AppointmentApplication) -> None:
    user, policy = await app.coach(price=inr(30), buffer_after=15 * MINUTE), RefundPolicy.of([(24, 50)])
    before = await app.show_own_availability(user)
    after = await app.set_availability(user, lambda coach: replace(coach, refund_policy=policy))
    assert after == replace(before, refund_policy=policy) == await app.show_own_availability(user)


async def test_hours_and_overrides_are_replaced_as_a_whole(app: AppointmentApplication) -> None:
    day = date(2031, 3, 11)
    coach = await app.coach(overrides={day: ()})

    def mondays(old: Coach) -> Coach:
        availability = replace(old.availability, weekly={0: NINE_TO_FIVE}, overrides={})
        return replace(old, availability=availability)

    changed = (await app.set_availability(coach, mondays)).availability
    assert changed.overrides == {}
    assert {weekday for weekday, hours in changed.weekly.items() if hours} == {0}, "a weekday without hours is off"


async def test_existing_bookings_keep_time_price_and_refund_policy(app: AppointmentApplication) -> None:
    coach = await app.coach(refund_policy=RefundPolicy.of([(24, 50)]))
    appointment_id = await app.appointment(coach)
    before = app.stored(appointment_id)

    def change(old: Coach) -> Coach:
        no_hours = replace(old.availability, weekly={}, buffer_before=HOUR)
        return replace(old, availability=no_hours, price_per_hour=inr(99), refund_policy=RefundPolicy())

    await app.set_availability(coach, change)
    assert app.stored(appointment_id) == before


async def test_gateway_must_accept_a_new_price(app: AppointmentApplication) -> None:
    coach = await app.coach(price=inr(30))
    app.gateway.maximum = inr(20)
    with pytest.raises(Invalid):
        await app.set_availability(coach, lambda old: replace(old, price_per_hour=inr(21)))
    assert (await app.show_own_availability(coach)).price_per_hour == inr(30)
    kept = await app.set_availability(coach, lambda old: replace(old, availability=Availability()))
    assert kept.price_per_hour == inr(30), "a price that stays is not checked again"
    await app.set_availability(coach, lambda old: replace(old, price_per_hour=inr(20)))


async def test_price_must_not_round_to_zero_for_the_shortest_session(app: AppointmentApplication) -> None:
    coach = await app.coach()
    with pytest.raises(Invalid) as invalid:
        await app.set_availability(coach, lambda old: replace(old, price_per_hour=inr("0.01")))
    assert set(invalid.value.details) == {"price_per_hour"}
    await app.set_availability(coach, lambda old: replace(old, price_per_hour=inr("0.02")))
    await app.set_availability(coach, lambda old: replace(old, price_per_hour=Money(Decimal(0), "INR")))


# Slots


async def test_slots_lie_within_the_local_hours_of_the_coach(app: AppointmentApplication) -> None:
    coach = await app.coach(weekly={0: (Hours(9 * 60, 12 * 60),)}, timezone="Europe/Berlin")
    assert await starts(app, coach.uuid) == [8, 8.5, 9, 9.5, 10]
    assert app.busy_times.coaches == [coach.uuid], "connected calendars are read again first"


@pytest.mark.parametrize(("days", "is_allowed"), [(30, True), (31, False), (0, False)])
async def test_range_has_at_most_30_days(app: AppointmentApplication, days: int, is_allowed: bool) -> None:
    coach = await app.coach()
    if is_allowed:
        assert await app.show_slots(coach.uuid, at(0), at(0, days=days), HOUR)
        return
    with pytest.raises(Invalid) as invalid:
        await app.show_slots(coach.uuid, at(0), at(0, days=days), HOUR)
    assert set(invalid.value.details) == {"end_date"}


async def test_no_slot_is_past_before_the_notice_or_beyond_the_bookable_days(app: AppointmentApplication) -> None:
    app.clock.moment = at(10, days=1) - DAY
    past = await app.coach()
    assert min(await starts(app, past.uuid)) == 10
    assert min(await starts(app, (await app.coach(minimum_notice=2 * HOUR)).uuid)) == 12
    app.clock.moment = at(10) - DAY
    assert max(await starts(app, (await app.coach(bookable_ahead=DAY)).uuid)) == 10


async def test_no_slot_overlaps_sessions_events_and_calendar_entries(app: AppointmentApplication) -> None:
    coach = await app.coach(weekly={0: (Hours(8 * 60, 18 * 60),)}, buffer_after=30 * MINUTE)
    await app.appointment(coach, hour=9)
    await app.event(coach, interval=Interval(at(12), at(13)))
    app.connect_calendar(coach, Interval(at(15), at(16)))
    # A slot of an hour needs half an hour after it.
    assert await starts(app, coach.uuid) == [10.5, 13, 13.5, 16, 16.5, 17]


async def test_buffers_reach_beyond_the_range(app: AppointmentApplication) -> None:
    coach = await app.free_coach(buffer_before=30 * MINUTE, buffer_after=30 * MINUTE)
    await app.event(coach, interval=Interval(at(8), at(9)))
    await app.event(coach, interval=Interval(at(12), at(13)))
    slots = await app.show_slots(coach.uuid, at(9), at(12), HOUR)
    assert [slot.starts_at for slot in slots] == [at(9.5), at(10), at(10.5)]


async def test_slots_are_the_times_that_can_be_booked(app: AppointmentApplication) -> None:
    coach = await app.free_coach(weekly={0: (Hours(9 * 60, 12 * 60),)}, buffer_before=30 * MINUTE)
    for hour in await starts(app, coach.uuid):
        booked = await app.booked(coach, hour=hour)
        await app.cancel(coach, booked.appointment.id)


async def test_unknown_and_inactive_coaches_have_no_slots(app: AppointmentApplication) -> None:
    inactive = await app.coach()
    app.deactivate(inactive)
    with pytest.raises(CoachInactive):
        await starts(app, inactive.uuid)
    for unknown in (UUID(int=9), (await app.person()).uuid):
        with pytest.raises(CoachNotFound):
            await starts(app, unknown)
