"""Google Calendar (https://developers.google.com/workspace/calendar/api/v3/reference), in a person's primary calendar.

We choose an entry's id, so making it twice makes one. An entry that was taken out still has its id: it is changed back
to life.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from application.ports.calendars import Grant, OwnEntries, Placed
from domain.calendars import CalendarAway, CalendarNotUnderstood, CalendarRefused, Entry, Provider, without
from domain.errors import Invalid
from domain.times import Interval
from infrastructure.calendars.grants import ConsentServer
from infrastructure.calendars.requests import CalendarApi
from infrastructure.security.oauth import ProviderAway

EVENTS = "https://www.googleapis.com/auth/calendar.events"
SCOPE = f"{EVENTS} https://www.googleapis.com/auth/calendar.freebusy"
ALL_SECONDS = 15
"""For everything one call needs: an entry may take a look, a change and a wait for its meeting."""
_MEETING_LOOKS, _LOOK_EVERY_SECONDS = 3, 0.3
_GONE = frozenset({404, 410})
_PRIMARY = "/calendars/primary/events"


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

    @property
    def link(self) -> str | None:
        points = self.conferenceData.entryPoints
        found = next((point.uri for point in points if point.entryPointType == "video"), self.hangoutLink)
        return found if found is not None and found.startswith("https://") and len(found) <= 2_048 else None

    @property
    def meeting_is_coming(self) -> bool:
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
            # Only so does Google hand out a refresh token again to somebody who has been here before.
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
        except ProviderAway:
            raise CalendarAway from None

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        async with self._api.within(ALL_SECONDS):
            event = await self._change(access_token, entry, entry_id) if entry_id else None
            event = event or await self._make(access_token, entry)
            for _ in range(_MEETING_LOOKS if event.meeting_is_coming else 0):
                await asyncio.sleep(_LOOK_EVERY_SECONDS)
                answer = await self._api.ask("GET", _at(event.id), access_token)
                event = self._api.read(answer, _Event)
                if not event.meeting_is_coming:
                    break
        return Placed(event.id, event.link, event.status, link_is_coming=event.meeting_is_coming)

    async def _make(self, access_token: str, entry: Entry) -> _Event:
        event_id = entry.key.hex
        url = f"{_PRIMARY}?conferenceDataVersion=1&sendUpdates=none"
        answer = await self._api.ask("POST", url, access_token, json={"id": event_id, **_body(entry)})
        if answer.status == 409:  # it was made and we never heard, or it was taken out
            changed = await self._change(access_token, entry, event_id)
            if changed is None:
                raise CalendarAway("Google Calendar says of an entry both that it is there and that it is not")
            return changed
        return self._api.read(answer, _Event)

    async def _change(self, access_token: str, entry: Entry, event_id: str) -> _Event | None:
        """None where it is gone for good."""
        url = f"{_at(event_id)}?conferenceDataVersion=1&sendUpdates=none"
        answer = await self._api.ask("PATCH", url, access_token, json=_body(entry))
        return None if answer.status in _GONE else self._api.read(answer, _Event)

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        async with self._api.within(ALL_SECONDS):
            url = f"{_at(entry_id or entry.key.hex)}?sendUpdates=none"
            answer = await self._api.ask("DELETE", url, access_token)
        if answer.status not in _GONE and not 200 <= answer.status < 300:
            raise self._api.refusal(answer)

    async def busy(self, access_token: str, window: Interval, own: OwnEntries) -> Sequence[Interval]:
        asked = {
            "timeMin": window.starts_at.isoformat(),
            "timeMax": window.ends_at.isoformat(),
            "items": [{"id": "primary"}],
        }
        async with self._api.within(ALL_SECONDS):
            found = self._api.read(await self._api.ask("POST", "/freeBusy", access_token, json=asked), _FreeBusy)
        calendar = found.calendars.get("primary")
        if calendar is None:
            raise CalendarNotUnderstood("Google Calendar says nothing of the calendar it was asked for")
        if calendar.errors:
            raise CalendarRefused(f"Google Calendar does not tell busy times ({calendar.errors[0].reason[:80]})")
        try:
            # Google tells times, not entries, so ours go by their times.
            times = [Interval(each.start, each.end) for each in calendar.busy if each.start < each.end]
        except (Invalid, TypeError):
            raise CalendarNotUnderstood("Google Calendar tells busy times that are none") from None
        return [rest for each in times for rest in without(each, list(own.times))]


def _at(event_id: str) -> str:
    return f"{_PRIMARY}/{quote(event_id, safe='')}"


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
