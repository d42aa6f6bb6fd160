"""Composition of calendars for web and worker."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from application.calendars.busy_times import ConnectedCalendars, ReadBusyTimes
from application.calendars.connections import BeginCalendarConsent, ConnectCalendar, DisconnectCalendar
from application.calendars.ports import ConnectionQueries
from application.calendars.sync import CalendarJobs, RecordEntry, SyncBooking
from application.calendars.tokens import CalendarAccess
from application.oauth import OAuthAttempts
from application.outbox.ports import WakeUps
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from infrastructure.calendar_providers.registry import CalendarRegistry
from infrastructure.postgres.accounts.oauth_attempts import PostgresAttempts
from infrastructure.postgres.calendars.busy_times import PostgresBusyTimeStore
from infrastructure.postgres.calendars.connections import PostgresConnectionQueries
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings

if TYPE_CHECKING:
    from infrastructure.calendar_providers.google import GoogleCalendar
    from infrastructure.calendar_providers.microsoft import OutlookCalendar


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calendars:
    """The parts that deal with connected calendars."""

    services: CalendarRegistry
    begin_calendar_consent: BeginCalendarConsent
    connect_calendar: ConnectCalendar
    disconnect_calendar: DisconnectCalendar
    sync_booking: SyncBooking
    connection_queries: ConnectionQueries
    jobs: CalendarJobs
    access: CalendarAccess
    read_busy_times: ReadBusyTimes
    busy_times: ConnectedCalendars


def build_calendars(
    settings: Settings, database: Database, open_work: OpenUnitOfWork, wake_ups: WakeUps, clock: Clock
) -> Calendars:
    services = build_services(settings)
    attempts = OAuthAttempts(PostgresAttempts(database), clock)
    access = CalendarAccess(open_work, services, wake_ups, clock)
    record = RecordEntry(open_work, wake_ups, clock)
    read_busy_times = ReadBusyTimes(PostgresBusyTimeStore(database), access, clock)
    return Calendars(
        services=services,
        begin_calendar_consent=BeginCalendarConsent(services, attempts, frozenset(settings.oauth_redirect_allowlist)),
        connect_calendar=ConnectCalendar(open_work, services, attempts, wake_ups, clock),
        disconnect_calendar=DisconnectCalendar(open_work, services),
        sync_booking=SyncBooking(open_work, services, access, record),
        connection_queries=PostgresConnectionQueries(database),
        jobs=CalendarJobs(open_work, access, record),
        access=access,
        read_busy_times=read_busy_times,
        busy_times=ConnectedCalendars(read_busy_times),
    )


def build_services(settings: Settings) -> CalendarRegistry:
    """A service is imported if it is configured: its HTTP client takes 0.1 s of CPU in each process."""
    services: list[GoogleCalendar | OutlookCalendar] = []
    if settings.google_client_id and settings.google_client_secret:
        from infrastructure.calendar_providers import google

        services.append(
            google.GoogleCalendar(
                settings.google_client_id,
                settings.google_client_secret,
                auth_url=settings.google_auth_url,
                token_url=settings.google_token_url,
                revoke_url=settings.google_revoke_url,
                api_base=settings.google_calendar_api_base,
            )
        )
    if settings.microsoft_client_id and settings.microsoft_client_secret:
        from infrastructure.calendar_providers import microsoft

        services.append(
            microsoft.OutlookCalendar(
                settings.microsoft_client_id,
                settings.microsoft_client_secret,
                authority=settings.microsoft_authority,
                graph_base=settings.microsoft_graph_base,
            )
        )
    return CalendarRegistry(services)
