"""Rules of recurring appointments."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from application.payments.checkout import CONCURRENT_REQUESTS
from application.payments.ports.gateways import Checkout, PaymentRequest
from domain.accounts import Role
from domain.appointments import MAX_OCCURRENCES, AppointmentStatus, OnlyClientsBook, SeriesRefused
from domain.availability import NINE_TO_FIVE
from domain.bookings import MAX_NOTES
from domain.coaches import CoachInactive, CoachNotFound
from domain.errors import Invalid
from domain.outbox import Destination, MessageType
from domain.time import Interval
from domain.unpaid_holds import TooManyUnpaidHolds
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import HOUR, RETURN_URL
from tests.support.memory.gateway import Behaviour

APPLICATION = AppointmentApplication

WEEK = timedelta(weeks=1)
# Clocks in Berlin go forward on 30 March 2031; in New York on 9 March.
BEFORE_CHANGE = datetime(2031, 3, 24, 9, tzinfo=UTC)


async def test_each_occurrence_is_a_booking_of_the_series(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    series = await app.series(coach, client, notes="Every week")
    views = [each.appointment for each in series.appointments]
    assert [view.session.starts_at for view in views] == [at(10) + number * WEEK for number in range(3)]
    assert {(view.series_id, view.notes, view.status) for view in views} == {
        (series.series_id, "Every week", AppointmentStatus.PENDING)
    }
    assert series.refused == []
    assert app.wake_ups.calls == 1


async def test_series_has_one_mail_to_each_side_and_a_message_to_the_crm_for_each_session(
    app: AppointmentApplication,
) -> None:
    series = await app.series(await app.coach())
    ids = [each.appointment.id for each in series.appointments]
    created = app.messages(MessageType.BOOKING_CREATED)
    mails = [row for row in created if row.destination is Destination.EMAIL]
    key = f"coaching_series:{series.series_id}"
    assert [row.ordering_key for row in mails] == [f"{key}:client", f"{key}:coach"]
    assert [row.payload["series"] for row in mails] == [ids, ids]
    to_crm = [row.ordering_key for row in created if row.destination is Destination.CRM]
    assert to_crm == [f"coaching:{each}" for each in ids]


async def test_later_mails_about_a_series_follow_the_first_one(app: AppointmentApplication) -> None:
    """They have its ordering key, each about one session."""
    series = await app.series(await app.coach())
    await app.receive(series.appointments[1].appointment.id)
    mails = [row for row in app.messages(MessageType.PAYMENT_COMPLETED) if row.destination is Destination.EMAIL]
    key = f"coaching_series:{series.series_id}"
    assert [row.ordering_key for row in mails] == [f"{key}:client", f"{key}:coach"]
    assert not any("series" in row.payload for row in mails)


async def test_series_of_one_session_has_the_mail_of_a_single_one(app: AppointmentApplication) -> None:
    series = await app.series(await app.coach(), rule="FREQ=WEEKLY;COUNT=1")
    mails = [row for row in app.messages(MessageType.BOOKING_CREATED) if row.destination is Destination.EMAIL]
    assert len(series.appointments) == 1
    assert [row.payload["recipient"] for row in mails] == ["client", "coach"]
    assert not any("series" in row.payload for row in mails)


@pytest.mark.parametrize(
    ("timezone", "hours"), [(None, [9, 8, 8]), ("America/New_York", [9, 9, 9]), ("UTC", [9, 9, 9])]
)
async def test_sessions_start_at_the_same_local_time(
    app: AppointmentApplication, timezone: str | None, hours: list[int]
) -> None:
    """In the coach's time zone unless the request names another."""
    coach = await app.coach(timezone="Europe/Berlin")
    series = await app.series(coach, starts_at=BEFORE_CHANGE, timezone=timezone)
    assert [each.appointment.session.starts_at.hour for each in series.appointments] == hours


async def test_series_in_another_zone_skips_weeks_in_which_the_coach_is_not_open(app: AppointmentApplication) -> None:
    """Eleven in New York is five in Berlin, the end of the hours; between the changes of the clocks it is four."""
    coach = await app.free_coach(timezone="Europe/Berlin", weekly=dict.fromkeys(range(7), NINE_TO_FIVE))
    starts_at = datetime(2031, 3, 7, 16, tzinfo=UTC)  # a Friday, eleven in New York
    series = await app.series(
        coach, rule="FREQ=WEEKLY;COUNT=5", starts_at=starts_at, timezone="America/New_York", skip_conflicts=True
    )
    days = [each.appointment.session.starts_at for each in series.appointments]
    assert [(day.month, day.day, day.hour) for day in days] == [(3, 14, 15), (3, 21, 15), (3, 28, 15)]
    assert [(day.month, day.day, day.hour) for day, _ in series.refused] == [(3, 7, 16), (4, 4, 15)]


async def test_unknown_time_zone_is_refused(app: AppointmentApplication) -> None:
    with pytest.raises(Invalid) as invalid:
        await app.series(await app.coach(), timezone="Mars")
    assert set(invalid.value.details) == {"timezone"}


@pytest.mark.parametrize(
    "rule", ["FREQ=DAILY", f"FREQ=DAILY;COUNT={MAX_OCCURRENCES + 1}", "FREQ=YEARLY;COUNT=7", "nonsense"]
)
async def test_rule_has_an_end_and_at_most_52_occurrences_within_five_years(
    app: AppointmentApplication, rule: str
) -> None:
    with pytest.raises(Invalid) as invalid:
        await app.series(await app.coach(), rule=rule)
    assert set(invalid.value.details) == {"rrule"}


async def test_rule_may_have_52_occurrences(app: AppointmentApplication) -> None:
    series = await app.series(await app.free_coach(), rule=f"FREQ=WEEKLY;COUNT={MAX_OCCURRENCES}")
    assert len(series.appointments) == MAX_OCCURRENCES


async def test_all_sessions_are_booked_or_none(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    await app.appointment(coach, hour=7 * 24 + 10)
    before = app.store.tables
    with pytest.raises(SeriesRefused) as refused:
        await app.series(coach, client)
    assert refused.value.details == {f"{at(10) + WEEK:%Y-%m-%dT%H:%M:%SZ}": "Time slot is not available"}
    assert app.store.tables == before


async def test_available_sessions_are_booked_on_request(app: AppointmentApplication) -> None:
    coach = await app.coach()
    await app.appointment(coach, hour=7 * 24 + 10)
    series = await app.series(coach, skip_conflicts=True)
    assert [each.appointment.session.starts_at for each in series.appointments] == [at(10), at(10) + 2 * WEEK]
    assert series.refused == [(at(10) + WEEK, "Time slot is not available")]


async def test_series_without_an_available_session_is_refused_also_on_request(app: AppointmentApplication) -> None:
    coach = await app.coach(weekly={})
    with pytest.raises(SeriesRefused):
        await app.series(coach, skip_conflicts=True)


async def test_events_and_connected_calendars_of_the_coach_are_busy_times(app: AppointmentApplication) -> None:
    coach = await app.free_coach(buffer_after=HOUR)
    await app.event(coach, interval=Interval(at(10.5), at(11)))
    app.connect_calendar(coach, Interval(at(11.5) + 2 * WEEK, at(12) + 2 * WEEK))
    series = await app.series(coach, skip_conflicts=True)
    assert [each.appointment.session.starts_at for each in series.appointments] == [at(10) + WEEK]
    assert app.busy_times.coaches == [coach.uuid], "connected calendars are read again first"


async def test_sessions_of_a_series_do_not_overlap_each_other(app: AppointmentApplication) -> None:
    coach = await app.coach(buffer_after=24 * HOUR)
    with pytest.raises(SeriesRefused) as refused:
        await app.series(coach, rule="FREQ=DAILY;COUNT=2")
    assert len(refused.value.details) == 1


async def test_series_counts_as_one_unpaid_booking_until_all_sessions_are_paid(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    series = await app.series(coach, client)
    with pytest.raises(TooManyUnpaidHolds, match="recurring booking with this coach"):
        await app.series(coach, client, starts_at=at(14))
    await app.booked(coach, client, hour=16)
    with pytest.raises(TooManyUnpaidHolds, match="2 unpaid bookings with this coach"):
        await app.booked(coach, client, hour=18)
    ids = [each.appointment.id for each in series.appointments]
    for appointment_id in ids[:2]:
        await app.receive(appointment_id)
    with pytest.raises(TooManyUnpaidHolds):
        await app.series(coach, client, starts_at=at(14))
    await app.receive(ids[2])
    await app.series(coach, client, starts_at=at(14))


async def test_second_unpaid_series_with_another_coach_is_allowed(app: AppointmentApplication) -> None:
    client = await app.person()
    for _ in range(2):
        await app.series(await app.coach(), client)
    await app.series(await app.free_coach(), client)


async def test_each_session_is_paid_moved_and_cancelled_individually(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    first, second, third = [each.appointment.id for each in (await app.series(coach, client)).appointments]
    await app.receive(first)
    await app.reschedule(client, second, at(14), None)
    await app.cancel(client, third)
    assert app.states(first, second, third) == ["confirmed, completed", "pending, pending", "cancelled, pending"]
    assert app.stored(second).session.starts_at == at(14)
    assert app.stored(first).session.starts_at == at(10)


async def test_response_has_the_payment_link_of_each_session_with_a_price(app: AppointmentApplication) -> None:
    series = await app.series(await app.coach(), return_url=RETURN_URL)
    for each in series.appointments:
        payment = app.payment_of(each.appointment.id)
        assert each.payment_url == f"https://gateway.example/{payment.order_id}"
        assert (await app.payments.overview(payment.id)).return_url == RETURN_URL
    free = await app.series(await app.free_coach())
    assert {each.payment_url for each in free.appointments} == {None}


async def test_missing_link_can_be_requested_later(app: AppointmentApplication) -> None:
    app.gateway.behaviour = Behaviour.UNAVAILABLE
    client = await app.person()
    series = await app.series(await app.coach(), client)
    assert [each.payment_url for each in series.appointments] == [None] * 3
    app.gateway.behaviour = Behaviour.ACCEPTS
    for each in series.appointments:
        assert await app.pay(client, each.appointment.id) is not None


async def test_slow_gateway_delays_the_answer_for_a_limited_time(
    app: AppointmentApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later requests are not sent; their links can be requested later."""
    opened = app.gateway.open_checkout

    async def slow(request: PaymentRequest) -> Checkout | None:
        for _ in range(10):
            await asyncio.sleep(0)
        return await opened(request)

    monkeypatch.setattr(app.gateway, "open_checkout", slow)
    hasty = replace(app.pay, open_checkout=replace(app.open_checkout, patience=timedelta(0)))
    app.book_series = replace(app.book_series, payment=hasty)
    client = await app.person()
    series = await app.series(await app.coach(), client, f"FREQ=DAILY;COUNT={CONCURRENT_REQUESTS + 3}")
    urls = [each.payment_url for each in series.appointments]
    assert len({url for url in urls if url is not None}) == CONCURRENT_REQUESTS
    assert urls[CONCURRENT_REQUESTS:] == [None] * 3
    assert await app.pay(client, series.appointments[-1].appointment.id) is not None


async def test_repeated_request_returns_the_same_series(app: AppointmentApplication) -> None:
    coach, client = await app.coach(), await app.person()
    await app.appointment(coach, hour=7 * 24 + 10)
    first, second = await app.repeated(lambda: app.series(coach, client, skip_conflicts=True))
    assert first == second
    assert first.refused == [(at(10) + WEEK, "Time slot is not available")]


async def test_only_clients_book_series(app: AppointmentApplication) -> None:
    coach = await app.coach()
    for role in (Role.FACILITATOR, Role.ADMIN):
        with pytest.raises(OnlyClientsBook):
            await app.series(coach, await app.person(role))


async def test_invalid_series_are_refused(app: AppointmentApplication) -> None:
    coach, client, inactive = await app.coach(), await app.person(), await app.coach()
    app.deactivate(inactive)
    with pytest.raises(CoachInactive):
        await app.series(inactive, client)
    for changes in (
        {"starts_at": app.clock.now()},
        {"length": timedelta(minutes=14)},
        {"notes": "n" * (MAX_NOTES + 1)},
        {"return_url": "https://other.example/"},
    ):
        with pytest.raises(Invalid):
            await app.series(coach, client, **changes)
    with pytest.raises(CoachNotFound):
        await app.book_series(
            client, UUID(int=9), at(10), HOUR, "FREQ=DAILY;COUNT=2", timezone=None, notes=None, skip_conflicts=False
        )
    assert app.all_appointments() == []
