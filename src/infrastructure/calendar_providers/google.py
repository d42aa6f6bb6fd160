"""Google Calendar (https://developers.google.com/workspace/calendar/api/v3/reference), in a person's primary calendar.

This client chooses an entry's id, so creating it twice results in one entry. A removed entry keeps its id: it is
restored by an update.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from application.calendars.ports import Grant, OwnEntries, Placed
from domain.calendars import CalendarNotUnderstood, CalendarRefused, CalendarUnavailable, Entry, Provider, without
from domain.errors import Invalid
from domain.time import Interval
from infrastructure.auth.oauth import Answer, ProviderUnavailable
from infrastructure.calendar_providers.consent import ConsentServer
from infrastructure.calendar_providers.requests import CalendarApi, is_one_word, join_url
from servicekit.date_range import in_zone

EVENTS = "https://www.googleapis.com/auth/calendar.events"
SCOPE = f"{EVENTS} https://www.googleapis.com/auth/calendar.freebusy"
ALL_SECONDS = 15
"""Limit for all requests of one call: an entry may need a read, an update and a wait for its meeting."""
_MEETING_LOOKS, _LOOK_EVERY_SECONDS = 3, 0.3
_GONE = frozenset({404, 410})
_PRIMARY = "/calendars/primary/events"
_LONGEST_QUESTION = timedelta(days=90)  # freeBusy rejects longer ranges
_PAGE, _MOST_PAGES = 500, 10
# The requested fields contain no texts of other people.
_SEEN_FIELDS = "timeZone,nextPageToken,items(id,status,transparency,start,end,attendees(self,responseStatus))"


class _EntryPoint(msgspec.Struct, frozen=True):
    uri: str = ""
    entryPointType: str = ""  # noqa: N815 (Google's name)


class _Status(msgspec.Struct, frozen=True):
    statusCode: str = ""  # noqa: N815


class _CreateRequest(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class _Conference(msgspec.Struct, frozen=True):
    entryPoints: list[_EntryPoint] = []  # noqa: N815
    createRequest: _CreateRequest = _CreateRequest()  # noqa: N815


class _Event(msgspec.Struct, frozen=True):
    id: str
    status: str = "confirmed"
    hangoutLink: str | None = None  # noqa: N815
    conferenceData: _Conference = _Conference()  # noqa: N815

    def __post_init__(self) -> None:
        if not is_one_word(self.id):
            raise ValueError("its id is none")

    @property
    def link(self) -> str | None:
        points = self.conferenceData.entryPoints
        return join_url(next((point.uri for point in points if point.entryPointType == "video"), self.hangoutLink))

    @property
    def meeting_is_pending(self) -> bool:
        return self.link is None and self.conferenceData.createRequest.status.statusCode == "pending"


class _Busy(msgspec.Struct, frozen=True):
    start: datetime
    end: datetime


class _Problem(msgspec.Struct, frozen=True):
    reason: str = ""


class _Calendar(msgspec.Struct, frozen=True):
    busy: list[_Busy] = []
    errors: list[_Problem] = []


class _FreeBusy(msgspec.Struct, frozen=True):
    calendars: dict[str, _Calendar]


class _When(msgspec.Struct, frozen=True):
    """An instant, or a day in the calendar's time zone."""

    dateTime: datetime | None = None  # noqa: N815
    date: str | None = None


class _Attendee(msgspec.Struct, frozen=True):
    self: bool = False
    responseStatus: str = ""  # noqa: N815


class _Seen(msgspec.Struct, frozen=True):
    id: str
    status: str = "confirmed"
    transparency: str = "opaque"
    start: _When = _When()
    end: _When = _When()
    attendees: list[_Attendee] = []

    @property
    def is_busy(self) -> bool:
        """Whether `freeBusy` would count the entry as busy."""
        declined = any(each.self and each.responseStatus == "declined" for each in self.attendees)
        return not declined and self.status != "cancelled" and self.transparency != "transparent"


class _Page(msgspec.Struct, frozen=True):
    items: list[_Seen] = []
    timeZone: str = "UTC"  # noqa: N815
    nextPageToken: str | None = None  # noqa: N815


class GoogleCalendar:
    provider = Provider.GOOGLE

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        auth_url: str,
        token_url: str,
        revoke_url: str,
        api_base: str,
        seconds: float = 6,
    ) -> None:
        self._api = CalendarApi(Provider.GOOGLE, api_base, seconds=seconds)
        self._revoke_url = revoke_url
        self._consent = ConsentServer(
            self._api.connection,
            Provider.GOOGLE,
            client_id=client_id,
            client_secret=client_secret,
            auth_url=auth_url,
            token_url=token_url,
            scope=SCOPE,
            needed=(EVENTS,),
            # Without it Google issues no refresh token to an account that has consented before.
            access_type="offline",
            prompt="consent",
        )

    async def close(self) -> None:
        await self._api.connection.close()

    def consent_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        return self._consent.url(redirect_uri=redirect_uri, state=state, verifier=verifier)

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        return await self._consent.exchange(code, redirect_uri=redirect_uri, verifier=verifier)

    async def refresh(self, refresh_token: str) -> Grant:
        return await self._consent.refresh(refresh_token)

    async def revoke(self, refresh_token: str) -> None:
        try:
            await self._api.connection.post_form(self._revoke_url, {"token": refresh_token})
        except ProviderUnavailable:
            raise CalendarUnavailable from None

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        async with self._api.within(ALL_SECONDS):
            event = await self._change(access_token, entry, entry_id) if entry_id else None
            event = event or await self._make(access_token, entry)
            for _ in range(_MEETING_LOOKS if event.meeting_is_pending else 0):
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
                answer = await self._api.ask("GET", _at(event.id), access_token)
                event = self._api.read(answer, _Event)
                if not event.meeting_is_pending:
                    break
        return Placed(event.id, event.link, event.status, link_is_coming=event.meeting_is_pending)

    async def _make(self, access_token: str, entry: Entry) -> _Event:
        event_id = entry.key.hex
        answer = await self._write("POST", _PRIMARY, access_token, entry, id=event_id)
        if answer.status == 409:  # it exists because an earlier response was lost, or it was removed
            changed = await self._change(access_token, entry, event_id)
            if changed is None:
                raise CalendarUnavailable("Google Calendar says of an entry both that it is there and that it is not")
            return changed
        return self._api.read(answer, _Event)

    async def _change(self, access_token: str, entry: Entry, event_id: str) -> _Event | None:
        """None if it was deleted permanently."""
        answer = await self._write("PATCH", _at(event_id), access_token, entry)
        return None if answer.status in _GONE else self._api.read(answer, _Event)

    async def _write(self, method: str, path: str, access_token: str, entry: Entry, **more: str) -> Answer:
        url = f"{path}?conferenceDataVersion=1&sendUpdates=none"
        answer = await self._api.ask(method, url, access_token, json=more | _body(entry))
        if answer.status == 400 and entry.wants_meeting:
            # "Invalid conference type value": Meet may be disabled for the account. Then the entry has no meeting.
            answer = await self._api.ask(method, url, access_token, json=more | _body(replace(entry, hosts=False)))
        return answer

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        async with self._api.within(ALL_SECONDS):
            url = f"{_at(entry_id or entry.key.hex)}?sendUpdates=none"
            answer = await self._api.ask("DELETE", url, access_token)
        if answer.status not in _GONE and not 200 <= answer.status < 300:
            raise self._api.refusal(answer)

    async def busy(self, access_token: str, window: Interval, own: OwnEntries) -> Sequence[Interval]:
        ours = {*own.entry_ids, *(UUID(key).hex for key in own.keys)}
        async with self._api.within(ALL_SECONDS):
            try:
                times = [each for part in _parts(window) for each in await self._free_busy(access_token, part)]
            except CalendarRefused:
                # People can decline permissions one by one. The required permission allows reading entries.
                return await self._entries(access_token, window, ours)
            beside: list[Interval] = []
            if own.times:
                hull = Interval(min(each.starts_at for each in own.times), max(each.ends_at for each in own.times))
                beside = await self._entries(access_token, hull, ours)
        # freeBusy returns times without entries. Convene's entries are subtracted by their times, and other entries at
        # these times were read before.
        return [rest for each in times for rest in without(each, list(own.times))] + beside

    async def _free_busy(self, access_token: str, window: Interval) -> list[Interval]:
        asked = {
            "timeMin": window.starts_at.isoformat(),
            "timeMax": window.ends_at.isoformat(),
            "items": [{"id": "primary"}],
        }
        answer = await self._api.ask("POST", "/freeBusy", access_token, json=asked)
        calendar = self._api.read(answer, _FreeBusy).calendars.get("primary")
        if calendar is None:
            raise CalendarNotUnderstood("Google Calendar says nothing of the calendar it was asked for")
        if calendar.errors:
            raise CalendarUnavailable(f"Google Calendar does not tell busy times ({calendar.errors[0].reason[:80]})")
        try:
            return [Interval(each.start, each.end) for each in calendar.busy if each.start < each.end]
        except (Invalid, TypeError):
            raise CalendarNotUnderstood("Google Calendar tells busy times that are none") from None

    async def _entries(self, access_token: str, window: Interval, ours: Collection[str]) -> list[Interval]:
        """The busy times of entries that Convene has not created."""
        query = {
            "timeMin": window.starts_at.isoformat(),
            "timeMax": window.ends_at.isoformat(),
            "singleEvents": "true",
            "maxAttendees": "1",
            "maxResults": str(_PAGE),
            "fields": _SEEN_FIELDS,
        }
        found: list[Interval] = []
        for _ in range(_MOST_PAGES):
            answer = await self._api.ask("GET", f"{_PRIMARY}?{urlencode(query)}", access_token)
            page = self._api.read(answer, _Page)
            found += [
                taken
                for seen in page.items
                if seen.is_busy and seen.id not in ours and (taken := _time(seen, page.timeZone)) is not None
            ]
            if page.nextPageToken is None:
                return found
            query["pageToken"] = page.nextPageToken
        raise CalendarNotUnderstood("Google Calendar's pages have no end")


def _at(event_id: str) -> str:
    return f"{_PRIMARY}/{quote(event_id, safe='')}"


def _parts(window: Interval) -> Iterator[Interval]:
    since = window.starts_at
    while since < window.ends_at:
        until = min(since + _LONGEST_QUESTION, window.ends_at)
        yield Interval(since, until)
        since = until


def _time(seen: _Seen, zone: str) -> Interval | None:
    """The interval of an entry; None for an entry without a duration."""
    try:
        starts_at, ends_at = (_instant(each, zone) for each in (seen.start, seen.end))
        return Interval(starts_at, ends_at) if starts_at < ends_at else None
    except (Invalid, TypeError, ValueError, KeyError, OverflowError):
        raise CalendarNotUnderstood("Google Calendar tells times that are none") from None


def _instant(when: _When, zone: str) -> datetime:
    if when.dateTime is not None:
        if when.dateTime.tzinfo is None:
            raise ValueError
        return in_zone(when.dateTime, UTC)
    return datetime.combine(date.fromisoformat(when.date or ""), time(), ZoneInfo(zone)).astimezone(UTC)


def _body(entry: Entry) -> dict[str, Any]:
    body: dict[str, Any] = {
        "summary": entry.title,
        "description": "\n\n".join(part for part in (entry.text, entry.link) if part),
        "location": entry.link or "",
        "start": {"dateTime": entry.session.starts_at.isoformat(), "timeZone": entry.timezone},
        "end": {"dateTime": entry.session.ends_at.isoformat(), "timeZone": entry.timezone},
        "status": "confirmed",
        "extendedProperties": {"private": {"convene": str(entry.key)}},
    }
    if entry.wants_meeting:
        meet = {"requestId": entry.key.hex, "conferenceSolutionKey": {"type": "hangoutsMeet"}}
        body["conferenceData"] = {"createRequest": meet}
    return body
