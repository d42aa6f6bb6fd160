"""Rules of rescheduling appointments. Concurrent moves are tested on PostgreSQL."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from application.idempotency import CLAIM, Claim
from domain.appointments import (
    AppointmentChange,
    AppointmentStatus,
    HasBegun,
    NotReschedulable,
    PricedLengthFixed,
)
from domain.availability import Hours, SlotUnavailable
from domain.coaches import CoachInactive
from domain.errors import Invalid
from domain.ids import AppointmentId
from domain.outbox import Destination, MessageType
from domain.refunds import RefundPolicy
from domain.time import Interval
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import DAY, HOUR, inr

APPLICATION = AppointmentApplication

PENDING, CONFIRMED, COMPLETED, CANCELLED = AppointmentStatus
PAIRS = [(before, after) for before in AppointmentStatus for after in AppointmentStatus]
UNKNOWN = AppointmentId(UUID(int=9))


@pytest.mark.parametrize("status", [PENDING, CONFIRMED])
@pytest.mark.parametrize("who", ["client", "coach", "admin"])
async def test_status_and_payment_stay_when_a_session_moves(
    app: AppointmentApplication, status: AppointmentStatus, who: str
) -> None:
    appointment_id = await app.appointment() if status is PENDING else await app.paid_appointment()
    before, user = app.stored(appointment_id), (await app.participants(appointment_id))[who]
    view = await app.reschedule(user, appointment_id, at(14), None)
    after = app.stored(appointment_id)
    assert (view.session, after.session, after.busy) == (Interval(at(14), at(15)),) * 3
    assert (after.status, after.payment_status, after.price) == (before.status, before.payment_status, before.price)
    assert after.sequence == before.sequence + 1
    assert (await app.changes(appointment_id))[-1] == (AppointmentChange.RESCHEDULED, user.id)
    await app.booked(app.coach_of(appointment_id))  # the old time is free
    with pytest.raises(SlotUnavailable):
        await app.reschedule(user, appointment_id, at(10), None)


async def test_client_can_move_a_session_before_its_start_only(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    app.clock.moment = at(10) - timedelta(seconds=1)
    await app.reschedule(app.client_of(appointment_id), appointment_id, at(11), None)
    app.clock.moment = at(11)
    with pytest.raises(HasBegun):
        await app.reschedule(app.client_of(appointment_id), appointment_id, at(14), None)
    await app.reschedule(app.coach_of(appointment_id), appointment_id, at(14), None)


async def test_client_can_move_a_session_within_the_hours_of_the_coach_only(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(PENDING, weekly=dict.fromkeys(range(7), (Hours(9 * 60, 17 * 60),)))
    people = await app.participants(appointment_id)
    with pytest.raises(SlotUnavailable):
        await app.reschedule(people["client"], appointment_id, at(22), None)
    for who, hour in (("coach", 22), ("admin", 23)):
        view = await app.reschedule(people[who], appointment_id, at(hour), None)
        assert view.session.starts_at == at(hour)


@pytest.mark.parametrize("who", ["client", "coach", "admin"])
async def test_session_moves_to_free_times_only(app: AppointmentApplication, who: str) -> None:
    appointment_id = await app.in_status(PENDING)
    coach, user = app.coach_of(appointment_id), (await app.participants(appointment_id))[who]
    await app.appointment(coach, hour=12)
    await app.event(coach, interval=Interval(at(14), at(15)))
    app.connect_calendar(coach, Interval(at(16), at(17)))
    app.busy_times.coaches.clear()
    for hour in (12.5, 14.5, 16.5):
        with pytest.raises(SlotUnavailable):
            await app.reschedule(user, appointment_id, at(hour), None)
    assert app.busy_times.coaches == [coach.uuid] * 3, "connected calendars are read again first"
    await app.reschedule(user, appointment_id, at(10.5), None)  # overlaps its own old time


@pytest.mark.parametrize("who", ["client", "coach", "admin"])
async def test_moved_session_has_the_buffers_of_the_coach(app: AppointmentApplication, who: str) -> None:
    appointment_id = await app.in_status(PENDING, buffer_after=HOUR)
    user = (await app.participants(appointment_id))[who]
    await app.event(app.coach_of(appointment_id), interval=Interval(at(14), at(15)))
    with pytest.raises(SlotUnavailable):
        await app.reschedule(user, appointment_id, at(12.5), None)
    await app.reschedule(user, appointment_id, at(12), None)
    assert app.stored(appointment_id).busy == Interval(at(12), at(14))


async def test_time_that_is_taken_between_check_and_move_is_refused(app: AppointmentApplication) -> None:
    coach = await app.free_coach()
    appointment_id = await app.appointment(coach)
    await app.appointment(coach, hour=12)
    async with app.open_work() as work:
        before = await work.appointments.get(appointment_id)
        taken = Interval(at(12), at(13))
        moved = before.rescheduled_by_client(taken, taken, app.clock.now(), by=before.client_id)
        with pytest.raises(SlotUnavailable):
            await work.appointments.save(moved)


@pytest.mark.parametrize("who", ["client", "coach"])
async def test_session_moves_into_the_future_only(app: AppointmentApplication, who: str) -> None:
    appointment_id = await app.in_status(PENDING)
    user = (await app.participants(appointment_id))[who]
    with pytest.raises(Invalid) as invalid:
        await app.reschedule(user, appointment_id, app.clock.now(), None)
    assert invalid.value.details == {"session_datetime": "Session must be scheduled in the future"}


async def test_length_of_a_session_with_a_price_cannot_change(app: AppointmentApplication) -> None:
    priced, free = await app.appointment(), await app.in_status(PENDING)
    with pytest.raises(PricedLengthFixed):
        await app.reschedule(app.coach_of(priced), priced, at(14), 2 * HOUR)
    await app.reschedule(app.coach_of(priced), priced, at(14), HOUR)
    view = await app.reschedule(app.client_of(free), free, at(14), 2 * HOUR)
    assert view.session == Interval(at(14), at(16))
    with pytest.raises(Invalid) as invalid:
        await app.reschedule(app.client_of(free), free, at(14), timedelta(minutes=14))
    assert set(invalid.value.details) == {"duration_minutes"}


async def test_move_by_the_client_does_not_increase_the_refund_of_a_later_cancellation(
    app: AppointmentApplication,
) -> None:
    appointment_id = await app.paid_appointment(await app.coach(refund_policy=RefundPolicy.of([(48, 100), (0, 30)])))
    client, app.clock.moment = app.client_of(appointment_id), at(10) - DAY
    await app.reschedule(client, appointment_id, at(10, days=14), None)
    await app.cancel(client, appointment_id)
    assert app.refunded() == [(inr(9), MessageType.BOOKING_CANCELLED)]


@pytest.mark.parametrize("who", ["coach", "admin"])
async def test_client_can_cancel_for_a_full_refund_after_a_move_by_the_coach_or_an_admin(
    app: AppointmentApplication, who: str
) -> None:
    appointment_id = await app.paid_appointment(await app.coach(refund_policy=RefundPolicy.of([(48, 100)])))
    people = await app.participants(appointment_id)
    await app.reschedule(people[who], appointment_id, at(14), None)
    app.clock.moment = at(13)
    await app.cancel(people["client"], appointment_id)
    assert app.refunded() == [(inr(30), MessageType.BOOKING_CANCELLED)]


async def test_move_of_an_unpaid_session_keeps_its_refund_policy(app: AppointmentApplication) -> None:
    policy = RefundPolicy.of([(48, 100), (0, 30)])
    appointment_id = await app.appointment(await app.coach(refund_policy=policy))
    app.clock.moment = app.clock.now() + timedelta(minutes=5)
    await app.reschedule(app.client_of(appointment_id), appointment_id, at(14), None)
    assert app.stored(appointment_id).refund_policy == policy


async def test_hold_of_a_moved_session_ends_at_its_start_at_the_latest(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    hold_until = app.stored(appointment_id).hold_until
    client, soon = app.client_of(appointment_id), app.clock.now() + timedelta(minutes=10)
    await app.reschedule(client, appointment_id, at(14), None)
    assert app.stored(appointment_id).hold_until == hold_until
    await app.reschedule(client, appointment_id, soon, None)
    assert app.stored(appointment_id).hold_until == soon


async def test_move_notifies_client_coach_crm_and_calendars(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    app.connect_calendar(app.coach_of(appointment_id))
    await app.reschedule(app.client_of(appointment_id), appointment_id, at(14), None)
    key = f"coaching:{appointment_id}"
    assert app.sent(MessageType.BOOKING_RESCHEDULED) == [
        (key, Destination.CRM),
        (key, Destination.REALTIME),
        (f"{key}:client", Destination.EMAIL),
        (f"{key}:coach", Destination.EMAIL),
    ]
    assert {row.payload["before"] for row in app.messages(MessageType.BOOKING_RESCHEDULED)} == {
        Interval(at(10), at(11))
    }
    assert len(app.messages(MessageType.CALENDAR_OUTDATED)) == 1
    planned = {row.starts_at for row in app.store.tables.of("reminders").values() if row.status == "planned"}
    assert planned == {at(14)}


@pytest.mark.parametrize("who", ["client", "coach"])
async def test_move_to_the_present_time_changes_nothing(app: AppointmentApplication, who: str) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    user, before, calls = (await app.participants(appointment_id))[who], app.store.tables, app.wake_ups.calls
    view = await app.reschedule(user, appointment_id, at(10), HOUR)
    assert view.session == Interval(at(10), at(11))
    assert (app.store.tables, app.wake_ups.calls) == (before, calls)


@pytest.mark.parametrize("status", [COMPLETED, CANCELLED])
@pytest.mark.parametrize("hour", [10, 14])
async def test_ended_session_cannot_be_moved(
    app: AppointmentApplication, status: AppointmentStatus, hour: float
) -> None:
    appointment_id = await app.in_status(status)
    for user in (app.client_of(appointment_id), app.coach_of(appointment_id)):
        with pytest.raises(NotReschedulable):
            await app.reschedule(user, appointment_id, at(hour), None)


async def test_client_of_an_inactive_coach_cannot_move_a_session(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    app.deactivate(app.coach_of(appointment_id))
    with pytest.raises(CoachInactive):
        await app.reschedule(app.client_of(appointment_id), appointment_id, at(14), None)
    await app.reschedule(await app.admin(), appointment_id, at(14), None)


async def test_repeated_move_returns_the_session(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    client = app.client_of(appointment_id)
    first, second = await app.repeated(lambda: app.reschedule(client, appointment_id, at(14), None))
    assert first == second


async def test_repeated_move_does_not_undo_a_later_move(app: AppointmentApplication) -> None:
    appointment_id = await app.in_status(CONFIRMED)
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    await app.reschedule(client, appointment_id, at(14), None)
    made = json.dumps(app.made[-1])
    await app.reschedule(coach, appointment_id, at(16), None)
    token = CLAIM.set(Claim("user:1", "key", uuid4(), made))
    try:
        view = await app.reschedule(client, appointment_id, at(14), None)
    finally:
        CLAIM.reset(token)
    assert view.session.starts_at == app.stored(appointment_id).session.starts_at == at(16)
