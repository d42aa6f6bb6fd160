"""Rules of synchronisation: jobs that bring connected calendars to the state of an appointment, and entries that a
client asks for."""

from dataclasses import replace
from uuid import UUID

import pytest

from application.calendars.connections import MAX_TOKEN, is_possible_token
from application.calendars.sync import Synced
from domain.accounts import User
from domain.appointments import AppointmentNotFound, AppointmentStatus
from domain.calendars import (
    CalendarNotConfigured,
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CalendarSyncForbidden,
    CalendarUnavailable,
    CancelledNotSynced,
    NoCalendarToSync,
    Provider,
    TokenRejected,
)
from domain.errors import DomainError, Invalid
from domain.ids import AppointmentId
from domain.outbox import Delivered, Destination, Failed, Message, MessageId, MessageType
from tests.application.calendar_application import SECOND, CalendarApplication, hours
from tests.support.memory.calendar_provider import MemoryCalendars

APPLICATION = CalendarApplication

PUT_IN, TAKEN_OUT, THERE_ALREADY = Delivered("put in"), Delivered("taken out"), Delivered("there already")


# Jobs


async def test_entry_is_created_with_a_meeting_moved_and_removed(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    assert await app.run() == [PUT_IN]
    link = app.stored(appointment_id).meeting_link
    assert link is not None
    assert app.google.shown() == [hours(10)]
    await app.run()
    await app.move(appointment_id, 15)
    assert await app.run() == [PUT_IN]
    assert app.google.shown() == [hours(15)]
    assert app.stored(appointment_id).meeting_link == link
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert await app.run() == [TAKEN_OUT]
    assert app.google.shown() == []
    assert app.stored_entries() == []


async def test_entry_of_the_client_shows_the_meeting_of_the_coach(app: CalendarApplication, coach: User) -> None:
    client = await app.person()
    await app.connected(client, Provider.OUTLOOK)
    appointment_id = await app.appointment(coach, client)
    while any(outcome != THERE_ALREADY for outcome in await app.run()):
        pass
    link = app.stored(appointment_id).meeting_link
    (hosting,), (shown,) = app.google.entries.values(), app.outlook.entries.values()
    assert hosting.link == link == shown.entry.link
    assert shown.link is None
    assert (hosting.entry.hosts, shown.entry.hosts) == (True, False)
    assert hosting.entry.title == f"Coaching: {client.name}"
    assert shown.entry.title == f"Coaching: {coach.name}"


async def test_meeting_belongs_to_the_first_of_two_calendars_of_the_coach(
    app: CalendarApplication, coach: User
) -> None:
    await app.connected(coach, Provider.OUTLOOK)
    appointment_id = await app.appointment(coach)
    while any(outcome != THERE_ALREADY for outcome in await app.run()):
        pass
    (hosting,), (shown,) = app.google.entries.values(), app.outlook.entries.values()
    assert hosting.link == app.stored(appointment_id).meeting_link == shown.entry.link
    assert shown.link is None
    await app.disconnect(coach, Provider.GOOGLE)
    later = await app.appointment(coach, hour=14)
    await app.run()
    assert app.stored(later).meeting_link in {each.link for each in app.outlook.entries.values()}


async def test_first_link_becomes_that_of_the_booking(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    calls = app.wake_ups.calls
    await app.run()
    assert app.stored(appointment_id).meeting_link is not None
    assert app.wake_ups.calls == calls + 1
    assert await app.run() == [THERE_ALREADY], "a job for each connected calendar was enqueued"


async def test_entry_that_shows_the_booking_is_not_written_again(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    while any(outcome != THERE_ALREADY for outcome in await app.run()):
        pass
    writes = app.google.calls.count("put")
    async with app.open_work() as work:
        await work.messages.enqueue_calendar_syncs_for(coach.id)
        await work.commit()
    assert await app.run() == [THERE_ALREADY]
    assert app.google.calls.count("put") == writes


async def test_job_is_retried_until_the_meeting_is_created(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    app.google.meeting_is_slow = True
    assert await app.run() == [Failed("put in, but its online meeting is not made yet")]
    assert app.google.shown() == [hours(10)]
    app.google.meeting_is_slow = False
    assert await app.run() == [PUT_IN]
    assert app.stored(appointment_id).meeting_link is not None


async def test_booking_cancelled_while_its_entry_is_written_gets_no_link(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)

    async def cancelled() -> None:
        await app.cancel(app.client_of(appointment_id), appointment_id)

    app.google.before.append(cancelled)
    assert await app.run() == [PUT_IN]
    assert app.stored(appointment_id).meeting_link is None
    await app.run()
    assert app.google.shown() == []


async def test_booking_that_changes_while_its_entry_is_written_is_synced_again(
    app: CalendarApplication, coach: User
) -> None:
    appointment_id = await app.appointment(coach)
    await app.run()
    await app.run()
    app.google.entries.clear()

    async def moved_and_synced() -> None:
        await app.move(appointment_id, 15)
        await app.run()
        assert app.google.shown() == [hours(15)]

    app.google.before.append(moved_and_synced)
    calls = app.wake_ups.calls
    await app.sync(coach, appointment_id)
    assert app.google.shown() == [hours(10)], "the older state came last"
    assert app.wake_ups.calls > calls + 1
    await app.run()
    assert app.google.shown() == [hours(15)]


async def test_calendar_connected_again_while_an_entry_is_written_gets_the_entry(
    app: CalendarApplication, coach: User
) -> None:
    await app.appointment(coach)

    async def connected_again() -> None:
        app.clock.advance(SECOND)
        await app.connected(coach)

    app.google.before.append(connected_again)
    await app.run()
    assert app.stored_entries() == [], "the entry may be in another account"
    app.google.entries.clear()
    await app.run()
    assert app.google.shown() == [hours(10)]


async def test_job_for_a_disconnected_calendar_does_nothing(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    await app.disconnect(coach, Provider.GOOGLE)
    assert await app.run() == [Delivered("not connected")]
    assert app.google.shown() == []


async def test_calendar_disconnected_while_an_entry_is_written_keeps_no_entry(
    app: CalendarApplication, coach: User
) -> None:
    appointment_id = await app.appointment(coach)

    async def disconnected() -> None:
        await app.disconnect(coach, Provider.GOOGLE)

    app.google.before.append(disconnected)
    assert await app.run() == [PUT_IN]
    assert app.stored_entries() == []
    assert app.stored(appointment_id).meeting_link is not None


async def test_job_of_a_revoked_calendar_does_nothing(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    app.google.end_consent()
    assert await app.run() == [Delivered("not connected")]


async def test_job_of_an_unknown_booking_is_dead(app: CalendarApplication, coach: User) -> None:
    ids = {"connection_id": str(app.connection(coach).id), "booking_id": str(UUID(int=999))}
    number, now = MessageId(UUID(int=999)), app.clock.now()
    message = Message(number, Destination.CALENDAR, "key", MessageType.CALENDAR_OUTDATED, ids, 1, now, None)
    assert await app.calendar_jobs.deliver(message) == Failed("there is no such booking", permanent=True)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (CalendarUnavailable("busy", retry_after=7), Failed("busy", retry_after=7 * SECOND)),
        (CalendarUnavailable("busy", retry_after=None), Failed("busy")),
        (CalendarNotUnderstood("nonsense"), Failed("nonsense")),
        (CalendarRefused("403"), Failed("403", permanent=True)),
    ],
)
async def test_failure_of_the_provider_is_retried_unless_it_is_permanent(
    app: CalendarApplication, coach: User, fault: DomainError, outcome: Failed
) -> None:
    await app.appointment(coach)
    app.google.faults.append(fault)
    assert await app.run() == [outcome]


async def test_provider_that_is_not_configured_any_more_is_retried(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    jobs = replace(app.calendar_jobs, access=replace(app.access, services=MemoryCalendars()))
    (row,) = app.messages(MessageType.CALENDAR_OUTDATED)
    message = (await app.claims.claim(Destination.CALENDAR, limit=1, lease=SECOND, probe_every=SECOND))[0]
    assert message.id == row.id
    outcome = await jobs.deliver(message)
    assert outcome == Failed(CalendarNotConfigured.message)


async def test_entry_with_a_lost_answer_is_not_created_twice(app: CalendarApplication, coach: User) -> None:
    await app.appointment(coach)
    app.google.lost = 1
    (outcome,) = await app.run()
    assert isinstance(outcome, Failed)
    await app.run()
    assert app.google.shown() == [hours(10)]


async def test_entry_with_a_lost_answer_is_removed_with_its_booking(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    app.google.lost = 1
    await app.run()
    assert app.google.shown() == [hours(10)]
    await app.cancel(app.client_of(appointment_id), appointment_id)
    await app.run()
    assert app.google.shown() == []


async def test_without_connected_calendars_no_job_is_enqueued(app: CalendarApplication) -> None:
    await app.appointment(await app.free_coach())
    assert app.messages(MessageType.CALENDAR_OUTDATED) == []


async def test_booking_cancelled_before_its_first_sync_is_never_added(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert set(await app.run()) == {TAKEN_OUT}
    assert app.google.calls.count("put") == 0


async def test_booking_cancelled_while_access_failed_is_removed_after_reconnecting(
    app: CalendarApplication, coach: User
) -> None:
    cancelled, moved = await app.appointment(coach, hour=10), await app.appointment(coach, hour=12)
    while any(outcome != THERE_ALREADY for outcome in await app.run()):
        pass
    app.google.end_consent()
    await app.cancel(app.client_of(cancelled), cancelled)
    await app.move(moved, 16)
    await app.run()
    await app.connected(coach)
    await app.run()
    assert app.google.shown() == [hours(16)]


# On request


@pytest.fixture
async def appointment_id(app: CalendarApplication, coach: User) -> AppointmentId:
    return await app.appointment(coach)


async def test_sync_adds_the_booking_to_the_connected_calendar(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    synced = await app.sync(coach, appointment_id)
    (kept,) = app.google.entries.values()
    assert synced == Synced(kept.id, kept.link, "confirmed")
    assert app.stored(appointment_id).meeting_link == kept.link
    await app.run()
    assert app.google.shown() == [hours(10)]


async def test_sync_of_the_client_creates_the_meeting_too(app: CalendarApplication) -> None:
    client, coach = await app.person(), await app.free_coach()
    appointment_id = await app.appointment(coach, client)
    await app.connected(client)
    synced = await app.sync(client, appointment_id)
    assert synced.link is not None
    assert app.stored(appointment_id).meeting_link == synced.link


async def test_sync_keeps_the_link_that_the_booking_has(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    first = await app.sync(coach, appointment_id)
    await app.connected(coach, Provider.OUTLOOK)
    second = await app.sync(coach, appointment_id, provider=Provider.OUTLOOK)
    assert second.link == first.link
    assert [each.link for each in app.outlook.entries.values()] == [None]


async def test_only_client_and_coach_sync_a_booking(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    for user in (await app.person(), await app.admin()):
        with pytest.raises(CalendarSyncForbidden):
            await app.sync(user, appointment_id)
    with pytest.raises(AppointmentNotFound):
        await app.sync(coach, AppointmentId(UUID(int=999)))


async def test_cancelled_booking_is_not_synced(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    await app.cancel(app.client_of(appointment_id), appointment_id)
    with pytest.raises(CancelledNotSynced):
        await app.sync(coach, appointment_id)
    assert app.stored(appointment_id).status is AppointmentStatus.CANCELLED


async def test_sync_needs_a_connected_calendar_or_a_token(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    with pytest.raises(NoCalendarToSync):
        await app.sync(coach, appointment_id, provider=Provider.OUTLOOK)
    with pytest.raises(CalendarNotConfigured):
        await replace(app.sync_booking, services=MemoryCalendars())(
            coach, appointment_id, Provider.GOOGLE, access_token="token", timezone=None
        )


async def test_token_of_the_request_is_used(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    app.outlook.access.add("given")
    synced = await app.sync(coach, appointment_id, provider=Provider.OUTLOOK, access_token="given")
    assert app.outlook.shown() == [hours(10)]
    assert app.stored(appointment_id).meeting_link == synced.link
    assert app.stored_entries() == []


async def test_entry_of_another_token_is_not_stored_for_the_connected_calendar(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    app.google.access.add("of-another-account")
    await app.sync(coach, appointment_id, access_token="of-another-account")
    assert app.stored_entries() == []
    await app.sync(coach, appointment_id, access_token=app.connection(coach).access_token)
    assert len(app.stored_entries()) == 1


async def test_rejected_token_of_the_request_is_not_refreshed(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    with pytest.raises(TokenRejected):
        await app.sync(coach, appointment_id, access_token="unknown")
    assert "refresh" not in app.google.calls


@pytest.mark.parametrize("token", ["", "two words", "línе", "a\nb", "x" * (MAX_TOKEN + 1)])
async def test_impossible_token_is_invalid(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId, token: str
) -> None:
    assert not is_possible_token(token)
    with pytest.raises(Invalid) as caught:
        await app.sync(coach, appointment_id, access_token=token)
    assert list(caught.value.details) == ["access_token"]


async def test_entry_has_the_time_zone_of_the_request_or_of_the_caller(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    await app.sync(coach, appointment_id)
    (kept,) = app.google.entries.values()
    assert kept.entry.timezone == "UTC"
    await app.sync(coach, appointment_id, timezone="America/New_York")
    (kept,) = app.google.entries.values()
    assert kept.entry.timezone == "America/New_York"
    with pytest.raises(Invalid):
        await app.sync(coach, appointment_id, timezone="Mars/Olympus")


@pytest.mark.parametrize("fault", [CalendarUnavailable(), CalendarNotUnderstood(), CalendarRefused()])
async def test_failure_of_the_provider_is_raised(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId, fault: DomainError
) -> None:
    app.google.faults.append(fault)
    with pytest.raises(type(fault)):
        await app.sync(coach, appointment_id)


async def test_revoked_calendar_has_to_be_connected_again(
    app: CalendarApplication, coach: User, appointment_id: AppointmentId
) -> None:
    app.google.end_consent()
    with pytest.raises(CalendarReconnect):
        await app.sync(coach, appointment_id)
    assert len(app.messages(MessageType.CALENDAR_REVOKED)) == 1
