"""Contract E: calendars that people keep at Google or Microsoft."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts import Actor
from application.calendars import BeginCalendarConsent, ConnectCalendar, DisconnectCalendar, SyncBooking
from application.ports.calendars import ConnectionReader
from domain.calendars import CalendarNotConnected, Provider
from domain.coaching import CoachingId
from interfaces.http.actor import GIVES_TOKENS, MAKES, signed_in
from interfaces.http.injection import Given
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
    provider: str
    status: str
    connected_at: datetime
    busy_times_read_at: datetime | None


@get("/calendar/google/auth-url", operation_id="getGoogleCalendarConsent", tags=TAGS, guards=[signed_in])
async def google_auth_url(
    redirect_uri: FromQuery[str], actor: Given[Actor], begin_calendar_consent: Given[BeginCalendarConsent]
) -> ConsentUrl:
    return ConsentUrl(*await begin_calendar_consent(actor.user, Provider.GOOGLE, redirect_uri))


@get("/calendar/outlook/auth-url", operation_id="getOutlookConsent", tags=TAGS, guards=[signed_in])
async def outlook_auth_url(
    redirect_uri: FromQuery[str], actor: Given[Actor], begin_calendar_consent: Given[BeginCalendarConsent]
) -> ConsentUrl:
    return ConsentUrl(*await begin_calendar_consent(actor.user, Provider.OUTLOOK, redirect_uri))


@post(
    "/calendar/google/exchange-token",
    operation_id="connectGoogleCalendar",
    tags=TAGS,
    status_code=200,
    guards=[signed_in],
    opt={GIVES_TOKENS: True, MAKES: True},
)
async def exchange_google_code(
    redirect_uri: FromQuery[str],
    data: JSONBody[ConsentCode],
    actor: Given[Actor],
    connect_calendar: Given[ConnectCalendar],
) -> Response[CalendarTokens]:
    return await _connected(connect_calendar, actor, Provider.GOOGLE, redirect_uri, data)


@post(
    "/calendar/outlook/exchange-token",
    operation_id="connectOutlook",
    tags=TAGS,
    status_code=200,
    guards=[signed_in],
    opt={GIVES_TOKENS: True, MAKES: True},
)
async def exchange_outlook_code(
    redirect_uri: FromQuery[str],
    data: JSONBody[ConsentCode],
    actor: Given[Actor],
    connect_calendar: Given[ConnectCalendar],
) -> Response[CalendarTokens]:
    return await _connected(connect_calendar, actor, Provider.OUTLOOK, redirect_uri, data)


@post("/calendar/sync-booking", operation_id="syncBooking", tags=TAGS, status_code=200, guards=[signed_in])
async def sync(data: JSONBody[BookingToSync], actor: Given[Actor], sync_booking: Given[SyncBooking]) -> SyncedEntry:
    synced = await sync_booking(
        actor.user,
        CoachingId(data.booking_id),
        data.calendar_type,
        access_token=data.access_token,
        timezone=data.timezone,
    )
    return SyncedEntry(synced.entry_id, synced.link, synced.status)


@get("/calendar/connections", operation_id="listCalendarConnections", tags=TAGS, guards=[signed_in])
async def list_connections(actor: Given[Actor], connection_reader: Given[ConnectionReader]) -> list[ConnectionBody]:
    """The calendars that whoever asks has connected. `reconnect` is the status of one that refuses us from now on."""
    return [
        ConnectionBody(
            each.provider,
            each.status,
            whole_seconds(each.connected_at),
            whole_seconds(each.busy_read_at) if each.busy_read_at else None,
        )
        for each in await connection_reader.list_of(actor.user.id)
    ]


@delete("/calendar/{provider:str}", operation_id="disconnectCalendar", tags=TAGS, status_code=204, guards=[signed_in])
async def disconnect(
    provider: FromPath[str], actor: Given[Actor], disconnect_calendar: Given[DisconnectCalendar]
) -> None:
    if provider not in set(Provider):
        raise CalendarNotConnected
    await disconnect_calendar(actor.user, Provider(provider))


ROUTES: list[Any] = [
    google_auth_url,
    outlook_auth_url,
    exchange_google_code,
    exchange_outlook_code,
    sync,
    list_connections,
    disconnect,
]


async def _connected(
    connect_calendar: ConnectCalendar, actor: Actor, provider: Provider, redirect_uri: str, data: ConsentCode
) -> Response[CalendarTokens]:
    grant = await connect_calendar(actor.user, provider, redirect_uri, code=data.code, state=data.state)
    tokens = CalendarTokens(
        grant.access_token, grant.refresh_token or "", int(grant.lifetime.total_seconds()), grant.token_type
    )
    return Response(tokens, headers={"Cache-Control": "no-store"})
