"""The ports of connected calendars, in memory and in PostgreSQL.

PostgreSQL takes the times of connections from its own clock; that of the suites is set to the present at their start.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from application.calendars.ports import BusyTimeStore, CoachCalendar, ConnectionQueries, OwnEntries, Placed
from domain.accounts import Role, User, UserId
from domain.appointments import Appointment, AppointmentCancelReason, NewAppointment
from domain.calendars import ConnectionId, Entry, Provider, entry_key
from domain.ids import AppointmentId
from domain.outbox import ALWAYS_SERVED, Destination, MessageType, routes_for
from domain.refunds import RefundPolicy
from domain.time import Interval
from infrastructure.auth.token_encryption import SecretBox
from infrastructure.postgres.calendars.busy_times import PostgresBusyTimeStore
from infrastructure.postgres.calendars.connections import PostgresConnectionQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.conformance.booking_adapters import DAY, HOUR, NOW, BookingAdapters, in_memory, in_postgres, inr, to
from tests.support.memory.calendars import MemoryBusyTimeStore, MemoryConnectionQueries
from tests.support.memory.store import SettableClock, Store

GOOGLE, OUTLOOK = Provider.GOOGLE, Provider.OUTLOOK
EXPIRES, LATER = NOW + HOUR, NOW + 2 * HOUR
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
WINDOW = Interval(NOW, NOW + 30 * DAY)
UNKNOWN = ConnectionId(UUID(int=999))
_hours = count(1)


@dataclass
class CalendarAdapters:
    """`coach` has sessions at another hour each."""

    accounts: BookingAdapters
    queries: ConnectionQueries
    busy_times: BusyTimeStore

    async def connected(
        self, user: User, provider: Provider = GOOGLE, *, access: str = "access", refresh: str = "refresh"
    ) -> ConnectionId:
        async with self.accounts.changing() as work:
            return await work.calendars.keep(user.id, provider, access, refresh, EXPIRES)

    async def coach(self) -> User:
        return await self.accounts.person(Role.FACILITATOR)

    async def appointment(
        self, coach: User, client: User | None = None, *, starts_in: timedelta = DAY, notes: str | None = None
    ) -> Appointment:
        client = client or await self.accounts.person()
        starts_at = NOW + starts_in + next(_hours) * HOUR
        session = Interval(starts_at, starts_at + HOUR)
        policy = RefundPolicy()
        new = NewAppointment(client.id, coach.id, session, session, inr(0), policy, notes, hold_until=None)
        async with self.accounts.changing() as work:
            (added,) = await work.appointments.add([new], NOW)
        assert added is not None
        return added

    async def cancel(self, appointment: Appointment) -> None:
        async with self.accounts.changing() as work:
            stored = await work.appointments.get(appointment.id)
            reason = AppointmentCancelReason.BY_PERSON
            await work.appointments.save(stored.cancelled(NOW, reason, by=stored.client_id))

    async def put(self, connection_id: ConnectionId, appointment: Appointment, *, owner: UserId | None = None) -> None:
        """The entry of the appointment is in the calendar of its coach."""
        async with self.accounts.changing() as work:
            job = await work.calendars.find_job(appointment.id, owner or appointment.coach_id, connection_id)
            assert job is not None
            placed = Placed(f"entry of {appointment.id}", "https://meet.example/1", "confirmed")
            await work.calendars.keep_entry(connection_id, job, placed, NOW)

    async def syncs(self, connection_id: ConnectionId, appointment: Appointment) -> int:
        """The number of jobs for the appointment and the calendar."""
        messages = await self.accounts.messages(f"calendar:{connection_id}:{appointment.id}")
        assert messages == to(MessageType.CALENDAR_OUTDATED, Destination.CALENDAR) * len(messages)
        return len(messages)

    async def stale(self, coach: User, older_than: timedelta = MINUTE) -> list[CoachCalendar]:
        return list(await self.busy_times.list_stale(coach.uuid, older_than=older_than))

    async def busy(self, coach: User) -> list[Interval]:
        async with self.accounts.open_work() as work:
            found = await work.coaches.busy(coach.id, WINDOW)
        return sorted(found, key=lambda each: each.starts_at)


def calendars_in_memory() -> CalendarAdapters:
    store, clock = Store(), SettableClock(NOW)
    accounts = in_memory(store, clock)
    return CalendarAdapters(accounts, MemoryConnectionQueries(store), MemoryBusyTimeStore(store, clock))


def calendars_in_postgres(database: Database) -> CalendarAdapters:
    accounts, box = in_postgres(database), SecretBox(["ab" * 32])
    accounts.open_work = UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None, box=box)
    return CalendarAdapters(accounts, PostgresConnectionQueries(database), PostgresBusyTimeStore(database))


@pytest.fixture(params=["memory", "postgres"])
def calendars(request: pytest.FixtureRequest) -> CalendarAdapters:
    if request.param == "memory":
        return calendars_in_memory()
    return calendars_in_postgres(request.getfixturevalue("postgres_database"))


# Connections


async def test_connection_is_found_with_its_tokens(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    async with calendars.accounts.open_work() as work:
        found = await work.calendars.find(coach.id, GOOGLE)
        assert found is not None
        assert (found.id, found.user_id, found.provider, found.status) == (connection_id, coach.id, GOOGLE, "active")
        assert (found.access_token, found.refresh_token, found.expires_at) == ("access", "refresh", EXPIRES)
        assert found.refreshing_until is None
        assert await work.calendars.find_locked(connection_id) == found
        assert await work.calendars.find(coach.id, OUTLOOK) is None
        assert await work.calendars.find_locked(UNKNOWN) is None


async def test_connecting_again_replaces_the_tokens_and_outdates_the_entries(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    appointment = await calendars.appointment(coach)
    connection_id = await calendars.connected(coach)
    await calendars.put(connection_id, appointment)
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(connection_id, "revoked")
    assert await calendars.connected(coach, access="new access", refresh="new refresh") == connection_id
    async with calendars.accounts.open_work() as work:
        found = await work.calendars.find(coach.id, GOOGLE)
        job = await work.calendars.find_job(appointment.id, coach.id, connection_id)
    assert found is not None
    assert (found.access_token, found.refresh_token, found.status) == ("new access", "new refresh", "active")
    assert job is not None
    assert job.entry_id is not None
    assert not job.is_done


async def test_lease_and_new_tokens_of_a_refresh_are_kept(calendars: CalendarAdapters) -> None:
    connection_id = await calendars.connected(await calendars.coach())
    async with calendars.accounts.changing() as work:
        await work.calendars.lease_refresh(connection_id, LATER)
    async with calendars.accounts.changing() as work:
        leased = await work.calendars.find_locked(connection_id)
        assert leased is not None
        assert leased.refreshing_until == LATER
        await work.calendars.keep_tokens(connection_id, "a", "r", LATER)
    async with calendars.accounts.open_work() as work:
        found = await work.calendars.find_locked(connection_id)
    assert found is not None
    assert (found.access_token, found.refresh_token, found.expires_at) == ("a", "r", LATER)
    assert found.refreshing_until is None


async def test_revoked_connection_is_shown_as_such(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    await calendars.connected(coach, OUTLOOK)
    connection_id = await calendars.connected(coach, GOOGLE)
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(connection_id, "revoked")
    views = await calendars.queries.list_of(coach.id)
    assert [(view.provider, view.status) for view in views] == [(GOOGLE, "reconnect"), (OUTLOOK, "active")]
    assert all(view.busy_read_at is None for view in views)
    assert list(await calendars.queries.list_of((await calendars.coach()).id)) == []


async def test_forgotten_connection_is_deleted_with_its_entries(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    appointment, connection_id = await calendars.appointment(coach), await calendars.connected(coach)
    await calendars.put(connection_id, appointment)
    async with calendars.accounts.changing() as work:
        forgotten = await work.calendars.forget(coach.id, GOOGLE)
        assert await work.calendars.forget(coach.id, GOOGLE) is None
    assert forgotten is not None
    assert forgotten.refresh_token == "refresh"
    again = await calendars.connected(coach)
    assert again != connection_id
    async with calendars.accounts.open_work() as work:
        job = await work.calendars.find_job(appointment.id, coach.id, again)
    assert job is not None
    assert job.entry_id is None


# Jobs and entries


async def test_job_has_the_state_of_the_appointment(calendars: CalendarAdapters) -> None:
    coach, client = await calendars.coach(), await calendars.accounts.person()
    other, connection_id = await calendars.coach(), await calendars.connected(coach)
    appointment = await calendars.appointment(coach, client, notes="Career")
    async with calendars.accounts.open_work() as work:
        job = await work.calendars.find_job(appointment.id, coach.id, connection_id)
        theirs = await work.calendars.find_job(appointment.id, client.id, None)
        stranger = await work.calendars.find_job(appointment.id, other.id, None)
        unknown = await work.calendars.find_job(AppointmentId(UUID(int=999)), coach.id, connection_id)
    assert job is not None
    assert job.entry == Entry(
        key=entry_key(appointment.id, coach.id),
        title=f"Coaching: {client.name}",
        text="Career",
        session=appointment.session,
        timezone="UTC",
        link=None,
        hosts=True,
    )
    assert (job.booking_id, job.status, job.sequence) == (appointment.id, "pending", 0)
    assert (job.entry_id, job.put_sequence, job.put_link) == (None, None, None)
    assert job.connected_at is not None
    assert theirs is not None
    assert (theirs.entry.title, theirs.entry.hosts) == (f"Coaching: {coach.name}", False)
    assert theirs.connected_at is None
    assert (stranger, unknown) == (None, None)


async def test_first_active_calendar_of_the_coach_hosts_the_meeting(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    first, second = await calendars.connected(coach, OUTLOOK), await calendars.connected(coach, GOOGLE)
    appointment = await calendars.appointment(coach)

    async def hosting() -> list[bool]:
        async with calendars.accounts.open_work() as work:
            jobs = [await work.calendars.find_job(appointment.id, coach.id, each) for each in (first, second)]
        return [job is not None and job.entry.hosts for job in jobs]

    assert await hosting() == [True, False]
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(first, "revoked")
    assert (await hosting())[1]


async def test_kept_entry_is_part_of_the_job_until_it_is_forgotten(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id, appointment = await calendars.connected(coach), await calendars.appointment(coach)
    for _ in range(2):
        await calendars.put(connection_id, appointment)
    async with calendars.accounts.changing() as work:
        job = await work.calendars.find_job(appointment.id, coach.id, connection_id)
        assert job is not None
        assert (job.entry_id, job.put_sequence) == (f"entry of {appointment.id}", 0)
        assert job.put_link == "https://meet.example/1"
        await work.calendars.forget_entry(connection_id, appointment.id)
        job = await work.calendars.find_job(appointment.id, coach.id, connection_id)
        assert job is not None
        assert job.entry_id is None


async def test_entry_of_an_earlier_connection_is_not_kept(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id, appointment = await calendars.connected(coach), await calendars.appointment(coach)
    async with calendars.accounts.open_work() as work:
        job = await work.calendars.find_job(appointment.id, coach.id, connection_id)
    assert job is not None
    assert job.connected_at is not None
    before = replace(job, connected_at=job.connected_at - SECOND)
    async with calendars.accounts.changing() as work:
        await work.calendars.keep_entry(connection_id, before, Placed("entry", None, "confirmed"), NOW)
        found = await work.calendars.find_job(appointment.id, coach.id, connection_id)
    assert found is not None
    assert found.entry_id is None


# Messages


async def test_one_job_is_enqueued_for_each_calendar_of_client_and_coach(calendars: CalendarAdapters) -> None:
    coach, client = await calendars.coach(), await calendars.accounts.person()
    appointment = await calendars.appointment(coach, client)
    connections = [await calendars.connected(coach), await calendars.connected(coach, OUTLOOK)]
    connections += [await calendars.connected(client), await calendars.connected(await calendars.coach())]
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(connections[1], "revoked")
        await work.messages.enqueue_calendar_syncs_of([appointment.id])
    assert [await calendars.syncs(each, appointment) for each in connections] == [1, 0, 1, 0]


async def test_jobs_for_an_account_are_those_of_its_future_appointments(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    ahead, over = await calendars.appointment(coach), await calendars.appointment(coach, starts_in=-1_000 * DAY)
    cancelled, other = await calendars.appointment(coach), await calendars.appointment(await calendars.coach())
    await calendars.cancel(cancelled)
    before = [await calendars.syncs(connection_id, each) for each in (ahead, over, cancelled, other)]
    async with calendars.accounts.changing() as work:
        await work.messages.enqueue_calendar_syncs_for(coach.id)
    after = [await calendars.syncs(connection_id, each) for each in (ahead, over, cancelled, other)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 0, 1, 0]


async def test_mail_about_a_revoked_calendar_is_enqueued(calendars: CalendarAdapters) -> None:
    connection_id = await calendars.connected(await calendars.coach())
    async with calendars.accounts.changing() as work:
        await work.messages.enqueue_calendar_revoked(connection_id)
    found = await calendars.accounts.messages(f"calendar:{connection_id}")
    assert found == to(MessageType.CALENDAR_REVOKED, Destination.EMAIL)


# Busy times


async def claimed(calendars: CalendarAdapters, *connections: ConnectionId) -> list[bool]:
    due = {each.id for each in await calendars.busy_times.claim_due(limit=10_000, every=HOUR)}
    return [each in due for each in connections]


async def test_active_calendars_of_coaches_are_claimed_once(calendars: CalendarAdapters) -> None:
    connections = [await calendars.connected(await calendars.coach()) for _ in range(2)]
    connections.append(await calendars.connected(await calendars.accounts.person(Role.ADMIN)))
    connections.append(await calendars.connected(await calendars.accounts.person()))
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(connections[1], "revoked")
    assert await claimed(calendars, *connections) == [True, False, True, False]
    assert await claimed(calendars, *connections) == [False] * 4


async def test_claims_are_limited(calendars: CalendarAdapters) -> None:
    for _ in range(2):
        await calendars.connected(await calendars.coach())
    assert len(await calendars.busy_times.claim_due(limit=1, every=HOUR)) == 1


async def test_read_busy_times_replace_older_ones(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    (calendar,) = await calendars.stale(coach)
    assert calendar == CoachCalendar(connection_id, coach.id, GOOGLE)
    now = datetime.now(UTC)
    first, second = (Interval(NOW + day * DAY, NOW + day * DAY + HOUR) for day in (1, 2))
    await calendars.busy_times.keep(calendar, [first, first], began=now, next_in=HOUR)
    assert await calendars.busy(coach) == [first]
    assert await calendars.stale(coach) == []
    assert await claimed(calendars, connection_id) == [False]
    await calendars.busy_times.keep(calendar, [second], began=now - SECOND, next_in=HOUR)
    assert await calendars.busy(coach) == [first], "newer ones are stored"
    await calendars.busy_times.keep(calendar, [second], began=now + SECOND, next_in=-HOUR)
    assert await calendars.busy(coach) == [second]
    assert await claimed(calendars, connection_id) == [True]
    (view,) = await calendars.queries.list_of(coach.id)
    assert view.busy_read_at == now + SECOND


async def test_busy_times_of_an_earlier_or_revoked_connection_are_not_kept(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    (calendar,) = await calendars.stale(coach)
    await calendars.busy_times.keep(calendar, [WINDOW], began=NOW - DAY, next_in=HOUR)
    assert await calendars.busy(coach) == []
    async with calendars.accounts.changing() as work:
        await work.calendars.give_up(connection_id, "revoked")
    await calendars.busy_times.keep(calendar, [WINDOW], began=datetime.now(UTC), next_in=HOUR)
    assert await calendars.busy(coach) == []
    assert await calendars.stale(coach) == []


async def test_postponed_calendar_is_not_due(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    (calendar,) = await calendars.stale(coach)
    await calendars.busy_times.postpone(calendar, "busy", at_most=HOUR)
    assert await claimed(calendars, connection_id) == [False]
    await calendars.busy_times.postpone(calendar, "busy", at_most=-HOUR)
    assert await claimed(calendars, connection_id) == [True]


async def test_own_entries_are_live_sessions_and_entries_at_their_time(calendars: CalendarAdapters) -> None:
    coach = await calendars.coach()
    connection_id = await calendars.connected(coach)
    live, cancelled = await calendars.appointment(coach), await calendars.appointment(coach)
    gone = await calendars.appointment(coach)
    await calendars.appointment(coach, starts_in=60 * DAY)
    await calendars.put(connection_id, cancelled)
    for each in (cancelled, gone):
        await calendars.cancel(each)
    (calendar,) = await calendars.stale(coach)
    own = await calendars.busy_times.own_entries(calendar, WINDOW)
    expected = [live, cancelled]
    assert own == OwnEntries(
        entry_ids={f"entry of {cancelled.id}"},
        keys={str(entry_key(each.id, coach.id)) for each in expected},
        times=own.times,
    )
    assert sorted(own.times, key=lambda each: each.starts_at) == [each.session for each in expected]
