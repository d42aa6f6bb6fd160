"""The use cases of connected calendars over adapters in memory, with those of appointments."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from application.calendars.busy_times import ConnectedCalendars, ReadBusyTimes
from application.calendars.connections import BeginCalendarConsent, ConnectCalendar, DisconnectCalendar
from application.calendars.ports import Grant
from application.calendars.sync import CalendarJobs, RecordEntry, SyncBooking, Synced
from application.calendars.tokens import CalendarAccess
from application.oauth import OAuthAttempts
from domain.accounts import User
from domain.calendars import Provider
from domain.ids import AppointmentId
from domain.outbox import Destination, Outcome
from domain.time import Interval
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import HOUR
from tests.application.deliveries import attempt_each
from tests.support.memory.accounts import MemoryAttempts
from tests.support.memory.calendar_provider import MemoryCalendar, MemoryCalendars
from tests.support.memory.calendars import MemoryBusyTimeStore, MemoryConnectionQueries
from tests.support.memory.claims import MemoryOutboxClaims
from tests.support.memory.rows import StoredConnection, StoredEntry

BACK = "https://front-end.example/calendar"


class CalendarApplication(AppointmentApplication):
    """One person's calendars at both providers. `busy_times` of the other use cases are those of the calendars."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.google = MemoryCalendar(Provider.GOOGLE)
        self.outlook = MemoryCalendar(Provider.OUTLOOK, rotates=True)
        services = MemoryCalendars(self.google, self.outlook)
        self.attempts = OAuthAttempts(MemoryAttempts(self.store), self.clock)
        self.begin_consent = BeginCalendarConsent(services, self.attempts, {BACK})
        self.connect = ConnectCalendar(self.open_work, services, self.attempts, self.wake_ups, self.clock)
        self.disconnect = DisconnectCalendar(self.open_work, services)
        self.connections = MemoryConnectionQueries(self.store)
        self.access = self.other_process()
        self.record = RecordEntry(self.open_work, self.wake_ups, self.clock)
        self.calendar_jobs = CalendarJobs(self.open_work, self.access, self.record)
        self.sync_booking = SyncBooking(self.open_work, services, self.access, self.record)
        self.busy_store = MemoryBusyTimeStore(self.store, self.clock)
        self.read_busy_times = ReadBusyTimes(self.busy_store, self.access, self.clock)
        self.connected_calendars = ConnectedCalendars(self.read_busy_times)
        self.claims = MemoryOutboxClaims(self.store, self.clock)

    def other_process(self) -> CalendarAccess:
        """The access of another process to the same connections."""
        services = MemoryCalendars(self.google, self.outlook)
        return CalendarAccess(self.open_work, services, self.wake_ups, self.clock)

    async def consent(self, user: User, provider: Provider = Provider.GOOGLE) -> tuple[str, str]:
        """Code and state of the provider's redirect."""
        url, state = await self.begin_consent(user, provider, BACK)
        code, returned = self.calendar(provider).consent(url)
        assert returned == state
        return code, state

    async def connected(self, user: User, provider: Provider = Provider.GOOGLE) -> Grant:
        code, state = await self.consent(user, provider)
        return await self.connect(user, provider, BACK, code=code, state=state)

    def calendar(self, provider: Provider) -> MemoryCalendar:
        return self.google if provider is Provider.GOOGLE else self.outlook

    def connection(self, user: User, provider: Provider = Provider.GOOGLE) -> StoredConnection:
        row: StoredConnection = self.store.tables.of("calendar_connections")[user.id, provider]
        return row

    def replace_connection(self, user: User, **changes: Any) -> None:
        row = replace(self.connection(user), **changes)
        self.store.tables.of("calendar_connections")[user.id, row.provider] = row

    def stored_entries(self) -> Sequence[StoredEntry]:
        return list(self.store.tables.of("calendar_entries").values())

    async def run(self) -> Sequence[Outcome]:
        """Attempts each calendar job once that is due."""
        return await attempt_each(self.claims, Destination.CALENDAR, self.calendar_jobs)

    async def connected_coach(self) -> User:
        coach = await self.free_coach()
        await self.connected(coach)
        return coach

    async def move(self, appointment_id: AppointmentId, hour: float) -> None:
        await self.reschedule(self.client_of(appointment_id), appointment_id, at(hour), None)

    async def sync(self, user: User, appointment_id: AppointmentId, **more: Any) -> Synced:
        usual: dict[str, Any] = {"access_token": None, "timezone": None}
        provider = more.pop("provider", Provider.GOOGLE)
        return await self.sync_booking(user, appointment_id, provider, **usual | more)


def hours(starts: float, ends: float | None = None) -> Interval:
    """A time of `THE_DAY`; an hour by default."""
    return Interval(at(starts), at(starts) + HOUR if ends is None else at(ends))


MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
