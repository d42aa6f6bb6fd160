"""Who sees appointments, their history and the statistics of a coach."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.appointments.ports import CoachStatistics, CoachWeek
from application.ports import PageRequest
from domain.accounts import User
from domain.appointments import (
    AppointmentChange,
    AppointmentListForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    AppointmentViewForbidden,
)
from domain.coaches import CoachNotFound
from domain.errors import Invalid
from domain.ids import AppointmentId
from domain.payments import OFFLINE
from domain.refunds import RefundPolicy
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import HOUR, inr
from tests.application.test_appointment_changes import UNKNOWN

APPLICATION = AppointmentApplication

PENDING, CONFIRMED, COMPLETED, CANCELLED = AppointmentStatus
VIEWS: dict[str, Callable[[AppointmentApplication, User, AppointmentId], Any]] = {
    "show": lambda app, user, appointment_id: app.show(user, appointment_id),
    "history": lambda app, user, appointment_id: app.show.history(user, appointment_id, PageRequest()),
    "attachments": lambda app, user, appointment_id: app.list_attachments(user, appointment_id),
}


@pytest.mark.parametrize("view", VIEWS)
async def test_client_coach_and_admins_see_a_session_and_others_do_not(app: AppointmentApplication, view: str) -> None:
    appointment_id = await app.appointment()
    for user in (await app.participants(appointment_id)).values():
        await VIEWS[view](app, user, appointment_id)
    for stranger in (await app.person(), await app.coach()):
        with pytest.raises(AppointmentViewForbidden):
            await VIEWS[view](app, stranger, appointment_id)
    with pytest.raises(AppointmentNotFound):
        await VIEWS[view](app, await app.admin(), UNKNOWN)


async def test_history_has_the_oldest_change_first(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment(notes="First")
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    await app.update_notes(coach, appointment_id, "Second")
    await app.cancel(client, appointment_id)
    entries = (await app.show.history(client, appointment_id, PageRequest())).items
    assert [(each.change, each.by_name) for each in entries] == [
        (AppointmentChange.CREATED, client.name),
        (AppointmentChange.NOTES_CHANGED, coach.name),
        (AppointmentChange.CANCELLED, client.name),
    ]
    assert (entries[1].before, entries[1].after) == ({"notes": "First"}, {"notes": "Second"})


async def test_lists_are_for_their_account_and_admins_latest_session_first(app: AppointmentApplication) -> None:
    coach, client = await app.free_coach(), await app.person()
    ids = [await app.appointment(coach, client, hour=hour) for hour in (12, 10, 14)]
    await app.change_status(coach, ids[0], CONFIRMED)
    for user in (client, await app.admin()):
        page = await app.list.of_client(user, client.uuid, None, skip=0, page=PageRequest())
        assert ([each.id for each in page.items], page.total) == ([ids[2], ids[0], ids[1]], 3)
    for user in (coach, await app.admin()):
        page = await app.list.of_coach(user, coach.uuid, CONFIRMED, skip=0, page=PageRequest())
        assert ([each.id for each in page.items], page.total) == ([ids[0]], 1)
    for stranger in (await app.person(), coach):
        with pytest.raises(AppointmentListForbidden):
            await app.list.of_client(stranger, client.uuid, None, skip=0, page=PageRequest())
    for stranger in (await app.coach(), client):
        with pytest.raises(AppointmentListForbidden):
            await app.list.of_coach(stranger, coach.uuid, None, skip=0, page=PageRequest())


# Statistics

BERLIN = "Europe/Berlin"


async def statistics(
    app: AppointmentApplication, coach: User, since: datetime | None = None, until: datetime | None = None
) -> CoachStatistics:
    return await app.show_statistics(coach, coach.uuid, since, until)


async def test_statistics_are_for_the_coach_and_admins(app: AppointmentApplication) -> None:
    coach = await app.coach()
    await app.show_statistics(await app.admin(), coach.uuid, None, None)
    for stranger in (await app.person(), await app.coach()):
        with pytest.raises(AppointmentListForbidden):
            await app.show_statistics(stranger, coach.uuid, None, None)
    with pytest.raises(CoachNotFound):
        await app.show_statistics(await app.admin(), UUID(int=9), None, None)


async def test_session_belongs_to_the_week_of_its_start_in_the_time_zone_of_the_coach(
    app: AppointmentApplication,
) -> None:
    """Monday, 17 March 2031, begins at 23:00 UTC of the Sunday before in Berlin."""
    coach = await app.coach(timezone=BERLIN)
    await app.appointment(coach, hour=6 * 24 + 22, minutes=90)  # ends in the next week
    await app.appointment(coach, hour=6 * 24 + 23.5)
    found = await statistics(app, coach, at(-1), at(-2, days=21))
    assert [(week.begins_on.day, week.bookings, week.booked) for week in found.weeks] == [
        (10, 1, 1.5 * HOUR),
        (17, 1, HOUR),
        (24, 0, timedelta(0)),
    ]


async def test_cancelled_sessions_count_as_cancellations_only(app: AppointmentApplication) -> None:
    coach, client = await app.free_coach(), await app.person()
    kept = [await app.appointment(coach, client, hour=hour) for hour in (10, 12, 14)]
    for step in (CONFIRMED, COMPLETED):
        await app.change_status(coach, kept[0], step)
    await app.cancel(coach, await app.appointment(coach, hour=16))
    found = await statistics(app, coach, at(0), at(0, days=7))
    assert (found.bookings, found.booked, found.completed, found.cancelled) == (3, 3 * HOUR, 1, 1)
    assert (found.clients, found.cancellation_rate) == (1, 0.25)


async def test_revenue_is_the_amount_received_minus_the_amount_refunded(app: AppointmentApplication) -> None:
    coach = await app.coach(refund_policy=RefundPolicy.of([(0, 40)]))
    await app.paid_appointment(coach, hour=10)
    cancelled = await app.paid_appointment(coach, hour=12)
    await app.cancel(app.client_of(cancelled), cancelled)
    await app.appointment(coach, hour=14)  # not paid
    outside = await app.paid_appointment(coach, hour=7 * 24)
    assert app.states(outside) == ["confirmed, completed"]
    found = await statistics(app, coach, at(0), at(0, days=7))
    assert found.revenue == {"INR": inr(48).amount}


async def test_payments_on_site_are_revenue() -> None:
    app = AppointmentApplication(gateway=OFFLINE)
    coach = await app.coach()
    await app.record_payment(coach, await app.appointment(coach))
    assert (await statistics(app, coach, at(0), at(24))).revenue == {"INR": inr(30).amount}


@pytest.mark.parametrize("timezone", ["UTC", BERLIN])
async def test_default_range_is_the_last_twelve_weeks_with_the_current_one(
    app: AppointmentApplication, timezone: str
) -> None:
    coach = await app.coach(timezone=timezone)
    app.clock.moment = datetime(2031, 3, 16, 23, 30, tzinfo=UTC)  # in Berlin it is Monday already
    current = 10 if timezone == "UTC" else 17
    found = await statistics(app, coach)
    assert len(found.weeks) == 12
    assert (found.weeks[-1].begins_on.month, found.weeks[-1].begins_on.day) == (3, current)
    assert {week.begins_on.weekday() for week in found.weeks} == {0}
    assert found.weeks[0] == CoachWeek(found.weeks[0].begins_on, 0, timedelta(0), 0, 0), "empty weeks are included"
    assert (found.bookings, found.cancellation_rate, found.revenue) == (0, 0.0, {})


async def test_default_range_has_the_sessions_of_the_current_week_that_are_still_to_come(
    app: AppointmentApplication,
) -> None:
    coach = await app.coach()
    app.clock.moment = at(9)
    await app.appointment(coach, hour=10)
    await app.appointment(coach, hour=7 * 24)  # next Monday
    assert (await statistics(app, coach)).bookings == 1


async def test_range_with_one_date_has_twelve_weeks_before_it_or_ends_with_this_week(
    app: AppointmentApplication,
) -> None:
    coach = await app.coach()
    before = await statistics(app, coach, until=at(0))
    assert (before.weeks[-1].begins_on.day, len(before.weeks)) == (3, 12)
    since = await statistics(app, coach, since=at(0, days=-14))
    assert [week.begins_on.day for week in since.weeks] == [24, 3]


async def test_range_has_at_most_371_days(app: AppointmentApplication) -> None:
    coach = await app.coach()
    await statistics(app, coach, at(0), at(0, days=371))
    for until in (at(0, days=372), at(0)):
        with pytest.raises(Invalid) as invalid:
            await statistics(app, coach, at(0), until)
        assert set(invalid.value.details) == {"end_date"}
