"""The ports of appointments, in memory and in PostgreSQL. Concurrent reservations are tested on PostgreSQL alone."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from application.outbox.ports import MessageFilter
from application.ports import PageRequest
from domain.appointments import (
    Appointment,
    AppointmentChange,
    AppointmentNotFound,
    AppointmentStatus,
    SeriesId,
)
from domain.availability import SlotUnavailable
from domain.ids import AppointmentId
from domain.outbox import Destination, MessageType
from domain.payments import PaymentStatus
from domain.time import Interval
from domain.unpaid_holds import HoldsWithCoach
from infrastructure.postgres.domain_events import UnrecordedChange
from tests.conformance.appointment_adapters import (
    START,
    AppointmentAdapters,
    cancelled,
    confirmed,
    expired,
    moved,
    of_kind,
)
from tests.conformance.booking_adapters import HOLD, HOUR, NOW, inr
from tests.domain.test_appointment_changes import TRANSITIONS

PENDING, CONFIRMED, COMPLETED, CANCELLED = AppointmentStatus
UNKNOWN = AppointmentId(UUID(int=2**127))
SUBSCRIBERS = ("client", "coach", Destination.CRM, Destination.REALTIME)


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> AppointmentAdapters:
    return of_kind(request)


# Reservation


async def test_new_appointment_is_stored_as_it_was_returned(adapters: AppointmentAdapters) -> None:
    new = await adapters.wanted(busy=(0.5, 1), series_id=SeriesId(uuid4()))
    [appointment] = await adapters.added(new)
    assert appointment is not None
    assert await adapters.stored(appointment.id) == appointment
    for field in ("client_id", "coach_id", "session", "busy", "price", "refund_policy", "notes", "hold_until"):
        assert getattr(appointment, field) == getattr(new, field)
    assert (appointment.status, appointment.payment_status) == (PENDING, PaymentStatus.PENDING)
    assert (appointment.series_id, appointment.sequence, appointment.created_at) == (new.series_id, 0, NOW)
    assert (appointment.updated_at, appointment.cancelled_at, appointment.meeting_link) == (NOW, None, None)


async def test_uncommitted_appointment_is_not_stored(adapters: AppointmentAdapters) -> None:
    new = await adapters.wanted()
    async with adapters.open_work() as work:
        [appointment] = await work.appointments.add([new], NOW)
    assert appointment is not None
    with pytest.raises(AppointmentNotFound):
        await adapters.stored(appointment.id)
    assert await adapters.sent(appointment) == []


async def test_times_that_are_not_free_are_omitted(adapters: AppointmentAdapters) -> None:
    coach, client = await adapters.coach(), await adapters.person()
    await adapters.appointment(coach, hour=2, busy=(0.5, 0))
    wanted = [await adapters.wanted(coach, client, hour=hour) for hour in (0.5, 1, 3, 3.5, 6)]
    added = await adapters.added(*wanted)
    assert [each and (each.session.starts_at - START) / HOUR for each in added] == [0.5, None, 3, None, 6]


async def test_time_of_another_coach_and_of_a_cancelled_or_completed_session_is_free(
    adapters: AppointmentAdapters,
) -> None:
    coach = await adapters.coach()
    await adapters.appointment()
    for status in (CANCELLED, COMPLETED):
        await adapters.in_status(status, coach)
    assert await adapters.added(await adapters.wanted(coach)) != [None]


async def test_unpaid_holds_are_counted_with_seats_and_a_series_once(adapters: AppointmentAdapters) -> None:
    coach, client, series_id = await adapters.coach(), await adapters.person(), SeriesId(uuid4())
    await adapters.booked(user=client)
    single = await adapters.appointment(coach, client)
    series = [await adapters.appointment(coach, client, hour=hour, series_id=series_id) for hour in (2, 4)]
    await adapters.appointment(client=client)
    await adapters.appointment(coach, client, hour=6, hold_until=None)
    await adapters.appointment(coach, client, hour=8, price=inr(0), hold_until=None)
    await adapters.appointment(coach, hour=10)
    await adapters.paid_appointment(coach, client, hour=12)
    await adapters.changed(await adapters.appointment(coach, client, hour=14), expired)

    async def counted() -> tuple[int, HoldsWithCoach]:
        async with adapters.open_work() as work:
            return await work.appointments.count_unpaid_holds(client.id, coach.id)

    assert await counted() == (4, HoldsWithCoach(bookings=2, series=1))
    assert await adapters.seats.count_unpaid_holds(client.id) == 4
    await adapters.changed(series[0], cancelled)
    assert await counted() == (4, HoldsWithCoach(bookings=2, series=1))
    await adapters.changed(series[1], lambda each: each.payment_failed(NOW, each.price))
    assert await counted() == (4, HoldsWithCoach(bookings=2, series=1))
    for each in (single, series[1]):
        await adapters.changed(each, cancelled)
    assert await counted() == (2, HoldsWithCoach(bookings=0, series=0))


# Changes


async def test_unknown_appointment_is_not_found(adapters: AppointmentAdapters) -> None:
    with pytest.raises(AppointmentNotFound):
        await adapters.stored(UNKNOWN)
    with pytest.raises(AppointmentNotFound):
        await adapters.appointments.get(UNKNOWN)
    assert await adapters.appointments.list([UNKNOWN]) == []


def applied(transition: str, appointment: Appointment) -> Appointment:
    if transition.startswith("rescheduled"):
        later = Interval(appointment.session.starts_at + HOUR, appointment.session.ends_at + HOUR)
        reschedule = getattr(appointment, transition)
        changed: Appointment = reschedule(later, later, NOW, by=appointment.client_id)
        return changed
    return TRANSITIONS[transition][1](appointment)


TO_COACH = ("coach", Destination.CRM, Destination.REALTIME)
EXPECTED: dict[str, tuple[AppointmentChange, MessageType | None, tuple[str, ...], int, bool]] = {
    # transition: entry of the history, message, its recipients, calendar jobs, whether reminders change
    "confirmed": (AppointmentChange.CONFIRMED, MessageType.BOOKING_CONFIRMED, SUBSCRIBERS, 2, False),
    "completed": (AppointmentChange.COMPLETED, MessageType.BOOKING_COMPLETED, (Destination.CRM,), 0, False),
    "cancelled": (AppointmentChange.CANCELLED, MessageType.BOOKING_CANCELLED, SUBSCRIBERS, 2, True),
    "rescheduled_by_coach": (AppointmentChange.RESCHEDULED, MessageType.BOOKING_RESCHEDULED, SUBSCRIBERS, 2, True),
    "rescheduled_by_client": (AppointmentChange.RESCHEDULED, MessageType.BOOKING_RESCHEDULED, SUBSCRIBERS, 2, True),
    "with_notes": (AppointmentChange.NOTES_CHANGED, None, (), 0, False),
    "with_meeting_link": (AppointmentChange.LINKED, None, (), 2, False),
    "with_attachment": (AppointmentChange.ATTACHMENT_ADDED, None, (), 0, False),
    "without_attachment": (AppointmentChange.ATTACHMENT_REMOVED, None, (), 0, False),
    "paid": (AppointmentChange.PAID, MessageType.PAYMENT_COMPLETED, SUBSCRIBERS, 2, False),
    "payment_failed": (
        AppointmentChange.PAYMENT_FAILED,
        MessageType.PAYMENT_FAILED,
        ("client", Destination.CRM, Destination.REALTIME),
        0,
        False,
    ),
    "reinstated": (AppointmentChange.REINSTATED, MessageType.PAYMENT_COMPLETED, SUBSCRIBERS, 2, True),
    "refunded": (AppointmentChange.REFUNDED, None, (), 0, False),
    "dispute_opened": (AppointmentChange.DISPUTE_OPENED, MessageType.DISPUTE_OPENED, TO_COACH, 0, False),
    "dispute_won": (AppointmentChange.DISPUTE_WON, MessageType.DISPUTE_WON, TO_COACH, 0, False),
    "dispute_lost": (AppointmentChange.DISPUTE_LOST, MessageType.DISPUTE_LOST, TO_COACH, 0, False),
}
CREATED = [(MessageType.BOOKING_CREATED, recipient) for recipient in SUBSCRIBERS]


async def calendar_jobs(adapters: AppointmentAdapters, appointment: Appointment) -> int:
    page = await adapters.stored_messages.list(
        MessageFilter(destination=Destination.CALENDAR), PageRequest(limit=100_000)
    )
    return sum(each.ordering_key.endswith(f":{appointment.id}") for each in page.items)


async def connected_pair(adapters: AppointmentAdapters) -> Appointment:
    """An appointment of a client and a coach who have each connected a calendar."""
    coach, client = await adapters.coach(), await adapters.person()
    for person in (coach, client):
        await adapters.connect(person, [])
    return await adapters.appointment(coach, client, hold_until=None)


def test_every_transition_has_an_expectation() -> None:
    assert set(EXPECTED) == set(TRANSITIONS) - {"booked"}


async def test_reservation_writes_every_effect(adapters: AppointmentAdapters) -> None:
    appointment = await connected_pair(adapters)
    client, coach = [
        (await adapters.appointments.get(appointment.id)).client_name,
        (await adapters.appointments.get(appointment.id)).coach_name,
    ]
    assert await adapters.changes(appointment) == ["created"]
    assert await adapters.sent(appointment) == sorted(CREATED)
    assert await calendar_jobs(adapters, appointment) == 2
    assert await adapters.reminder_states(appointment) == sorted([(client, "planned", 0), (coach, "planned", 0)] * 2)


@pytest.mark.parametrize("transition", EXPECTED)
async def test_saving_writes_every_effect(adapters: AppointmentAdapters, transition: str) -> None:
    change, message, recipients, jobs, reminders_change = EXPECTED[transition]
    appointment = await connected_pair(adapters)
    if transition in {"completed", "reinstated"}:
        appointment = await adapters.changed(appointment, confirmed if transition == "completed" else expired)
    earlier = await adapters.changes(appointment), await adapters.sent(appointment)
    jobs_before, reminders = await calendar_jobs(adapters, appointment), await adapters.reminder_states(appointment)
    changed = await adapters.changed(appointment, lambda each: applied(transition, each))
    assert await adapters.stored(appointment.id) == changed
    assert await adapters.changes(appointment) == [*earlier[0], change]
    sent = [] if message is None else [(message, recipient) for recipient in recipients]
    assert await adapters.sent(appointment) == sorted([*earlier[1], *sent])
    assert await calendar_jobs(adapters, appointment) - jobs_before == jobs
    assert (await adapters.reminder_states(appointment) != reminders) is reminders_change


async def test_moved_session_has_reminders_for_its_new_start_only(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.appointment()
    await adapters.changed(appointment, moved(5))
    states = await adapters.reminder_states(appointment)
    assert sorted((status, hour) for _, status, hour in states) == [("planned", 5)] * 4 + [("skipped", 0)] * 4


async def test_session_cannot_move_to_a_time_that_is_not_free(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    appointment = await adapters.appointment(coach)
    await adapters.appointment(coach, hour=4, busy=(1, 0))
    async with adapters.changing() as work:
        present = await work.appointments.get(appointment.id)
        with pytest.raises(SlotUnavailable):
            await work.appointments.save(moved(2.5)(present))
        await work.appointments.save(moved(0.5)(present))  # the unit of work continues
    assert (await adapters.stored(appointment.id)).session.starts_at == START + HOUR / 2
    assert await adapters.changes(appointment) == ["created", "rescheduled"]


async def test_time_of_a_reinstated_session_must_be_free(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    appointment = await adapters.changed(await adapters.appointment(coach), expired)
    other = await adapters.appointment(coach)
    async with adapters.open_work() as work:
        present = await work.appointments.get(appointment.id)
        with pytest.raises(SlotUnavailable):
            await work.appointments.save(present.reinstated(NOW, inr(30)))
    await adapters.changed(other, cancelled)
    reinstated = await adapters.changed(appointment, lambda each: each.reinstated(NOW, inr(30)))
    assert await adapters.stored(appointment.id) == reinstated


async def test_change_without_a_transition_cannot_be_saved(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.appointment()
    async with adapters.open_work() as work:
        loaded = await work.appointments.get(appointment.id)
        for changed in (loaded, replace(loaded, notes="More"), replace(cancelled(loaded), notes="More")):
            with pytest.raises(UnrecordedChange):
                await work.appointments.save(changed)


async def test_domain_event_is_written_once(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.appointment()
    async with adapters.changing() as work:
        after = cancelled(await work.appointments.get(appointment.id))
        await work.appointments.save(after)
        with pytest.raises(UnrecordedChange):
            await work.appointments.save(after)
        await work.appointments.save(after.refunded(NOW))
    assert await adapters.changes(appointment) == ["created", "cancelled", "refunded"]
    sent = [(MessageType.BOOKING_CANCELLED, recipient) for recipient in SUBSCRIBERS]
    assert await adapters.sent(appointment) == sorted(CREATED + sent)


async def test_rolled_back_change_changes_nothing(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.appointment()
    async with adapters.open_work() as work:
        await work.appointments.save(cancelled(await work.appointments.get(appointment.id)))
    assert await adapters.stored(appointment.id) == appointment
    assert await adapters.changes(appointment) == ["created"]
    assert await adapters.sent(appointment) == sorted(CREATED)


async def test_holds_of_a_coach_end_now(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    held, on_site = await adapters.appointment(coach), await adapters.appointment(coach, hour=2, hold_until=None)
    paid, other = await adapters.paid_appointment(coach, hour=4), await adapters.appointment()
    gone = await adapters.changed(await adapters.appointment(coach, hour=6), expired)
    async with adapters.changing() as work:
        await work.appointments.end_holds(coach.id, NOW + HOUR)
    found = [(await adapters.stored(each.id)).hold_until for each in (held, on_site, paid, other, gone)]
    assert found == [NOW + HOUR, None, None, NOW + HOLD, None]


async def test_refund_is_announced_to_client_coach_and_services(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.appointment()
    async with adapters.changing() as work:
        await work.messages.enqueue_appointment_refunded(appointment.id, reason="a reason", money=inr(10))
    sent = [(MessageType.BOOKING_REFUNDED, recipient) for recipient in SUBSCRIBERS]
    assert await adapters.sent(appointment) == sorted(CREATED + sent)
