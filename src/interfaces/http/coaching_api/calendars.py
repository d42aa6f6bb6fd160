"""Contract E: calendars at Google and Microsoft."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.calendars.connections import BeginCalendarConsent, ConnectCalendar, DisconnectCalendar
from application.calendars.ports import ConnectionQueries
from application.calendars.sync import SyncBooking
from domain.api_keys import Scope
from domain.calendars import ConnectionStatus, Provider
from domain.ids import AppointmentId
from interfaces.http.authentication import CREATES, ISSUES_TOKENS, signed_in
from interfaces.http.coaching_api.parameters import ProviderInPath, RedirectUri
from interfaces.http.injection import Inject
from interfaces.http.schemas import whole_seconds

TAGS = ["Contract E: calendars"]


class ConsentUrl(Struct):
    auth_url: str
    state: str


class ConsentCode(Struct):
    code: str
    state: str


class CalendarTokens(Struct):
    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str


class BookingToSync(Struct):
    booking_id: UUID
    calendar_type: Provider
    access_token: str | None = None
    timezone: str | None = None


class SyncedEntry(Struct):
    event_id: str
    meeting_link: str | None
    status: str


class ConnectionBody(Struct):
    provider: Provider
    status: ConnectionStatus
    connected_at: datetime
    busy_times_read_at: datetime | None


def _consent(provider: Provider, name: str) -> list[Any]:
    """The two steps of connecting a calendar of this provider."""

    @get(f"/calendar/{provider}/auth-url", operation_id=f"get{name}Consent", tags=TAGS, guards=[signed_in.without_keys])
    async def auth_url(
        redirect_uri: FromQuery[RedirectUri], actor: Inject[Actor], begin_calendar_consent: Inject[BeginCalendarConsent]
    ) -> ConsentUrl:
        return ConsentUrl(*await begin_calendar_consent(actor.user, provider, redirect_uri))

    @post(
        f"/calendar/{provider}/exchange-token",
        operation_id=f"connect{name}",
        tags=TAGS,
        status_code=200,
        guards=[signed_in.without_keys],
        opt={ISSUES_TOKENS: True, CREATES: True},
    )
    async def exchange_token(
        redirect_uri: FromQuery[RedirectUri],
        data: JSONBody[ConsentCode],
        actor: Inject[Actor],
        connect_calendar: Inject[ConnectCalendar],
    ) -> Response[CalendarTokens]:
        grant = await connect_calendar(actor.user, provider, redirect_uri, code=data.code, state=data.state)
        tokens = CalendarTokens(
            grant.access_token, grant.refresh_token or "", int(grant.lifetime.total_seconds()), grant.token_type
        )
        return Response(tokens, headers={"Cache-Control": "no-store"})

    return [auth_url, exchange_token]


@post(
    "/calendar/sync-booking",
    operation_id="syncBooking",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.CALENDARS_WRITE)],
)
async def sync(data: JSONBody[BookingToSync], actor: Inject[Actor], sync_booking: Inject[SyncBooking]) -> SyncedEntry:
    synced = await sync_booking(
        actor.user,
        AppointmentId(data.booking_id),
        data.calendar_type,
        access_token=data.access_token,
        timezone=data.timezone,
    )
    return SyncedEntry(synced.entry_id, synced.link, synced.status)


@get(
    "/calendar/connections",
    operation_id="listCalendarConnections",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.CALENDARS_READ)],
)
async def list_connections(actor: Inject[Actor], connection_queries: Inject[ConnectionQueries]) -> list[ConnectionBody]:
    """The calling account's connected calendars. `reconnect`: the provider has revoked the access."""
    return [
        ConnectionBody(
            each.provider,
            each.status,
            whole_seconds(each.connected_at),
            whole_seconds(each.busy_read_at) if each.busy_read_at else None,
        )
        for each in await connection_queries.list_of(actor.user.id)
    ]


@delete(
    "/calendar/{provider:str}",
    operation_id="disconnectCalendar",
    tags=TAGS,
    status_code=204,
    guards=[signed_in.with_scope(Scope.CALENDARS_WRITE)],
)
async def disconnect(
    provider: FromPath[ProviderInPath], actor: Inject[Actor], disconnect_calendar: Inject[DisconnectCalendar]
) -> None:
    await disconnect_calendar(actor.user, provider)


ROUTES: list[Any] = [
    *_consent(Provider.GOOGLE, "GoogleCalendar"),
    *_consent(Provider.OUTLOOK, "Outlook"),
    sync,
    list_connections,
    disconnect,
]
