"""Outlook through Microsoft Graph v1.0 (https://learn.microsoft.com/graph/api/resources/event), in a person's default
calendar.

Graph chooses an entry's id and tells it once. Where that answer was lost the entry is found again by our
`transactionId`, which Graph also uses to refuse a second one.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec

from application.ports.calendars import Grant, OwnEntries, Placed
from domain.calendars import CalendarNotUnderstood, Entry, Provider
from domain.errors import Invalid
from domain.times import Interval
from infrastructure.calendars.grants import ConsentServer
from infrastructure.calendars.requests import CalendarApi

SCOPE = "offline_access Calendars.ReadWrite"
ALL_SECONDS = 20
_GONE = frozenset({404, 410})
_FREE = frozenset({"free", "workingElsewhere"})
_AROUND = timedelta(days=31)
_PAGE, _MOST_PAGES = 100, 30
_IN_UTC = {"Prefer": 'outlook.timezone="UTC"'}


class _Meeting(msgspec.Struct, frozen=True):
    joinUrl: str | None = None  # noqa: N815 (Graph's name)


class _Event(msgspec.Struct, frozen=True):
    id: str
    onlineMeeting: _Meeting | None = None  # noqa: N815

    @property
    def link(self) -> str | None:
        found = self.onlineMeeting.joinUrl if self.onlineMeeting else None
        return found if found is not None and found.startswith("https://") and len(found) <= 2_048 else None


class _Moment(msgspec.Struct, frozen=True):
    dateTime: str  # noqa: N815
    timeZone: str = "UTC"  # noqa: N815


class _Seen(msgspec.Struct, frozen=True):
    id: str
    start: _Moment
    end: _Moment
    showAs: str = "busy"  # noqa: N815
    isCancelled: bool = False  # noqa: N815
    transactionId: str | None = None  # noqa: N815


class _Page(msgspec.Struct, frozen=True):
    value: list[_Seen]
    next: str | None = msgspec.field(default=None, name="@odata.nextLink")


class OutlookCalendar:
    provider = Provider.OUTLOOK

    def __init__(
        self, client_id: str, client_secret: str, *, authority: str, graph_base: str, seconds: float = 6
    ) -> None:
        self._api = CalendarApi(Provider.OUTLOOK, graph_base, seconds=seconds)
        self._consent = ConsentServer(
            self._api.connection,
            Provider.OUTLOOK,
            client_id=client_id,
            client_secret=client_secret,
            auth_url=f"{authority}/oauth2/v2.0/authorize",
            token_url=f"{authority}/oauth2/v2.0/token",
            scope=SCOPE,
            response_mode="query",
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
        """Microsoft lets only the person themselves do this, at https://myapps.microsoft.com."""

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        async with self._api.within(ALL_SECONDS):
            event = await self._change(access_token, entry, entry_id) if entry_id else None
            event = event or await self._make(access_token, entry)
        return Placed(event.id, event.link, "confirmed")

    async def _make(self, access_token: str, entry: Entry) -> _Event:
        body = {"transactionId": str(entry.key), **_body(entry)}
        answer = await self._api.ask("POST", "/me/events", access_token, json=body)
        if answer.status == 409:  # it was made, and we never heard
            made = await self._find(access_token, entry)
            changed = await self._change(access_token, entry, made) if made else None
            if changed is not None:
                return changed
            # It was made and is gone: a name that Graph has seen makes nothing any more.
            body["transactionId"] = str(uuid4())
            answer = await self._api.ask("POST", "/me/events", access_token, json=body)
        return self._api.read(answer, _Event)

    async def _change(self, access_token: str, entry: Entry, event_id: str) -> _Event | None:
        """None where it is gone."""
        answer = await self._api.ask("PATCH", _at(event_id), access_token, json=_body(entry))
        return None if answer.status in _GONE else self._api.read(answer, _Event)

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        async with self._api.within(ALL_SECONDS):
            there = entry_id or await self._find(access_token, entry)
            if there is None:
                return
            answer = await self._api.ask("DELETE", _at(there), access_token)
        if answer.status not in _GONE and not 200 <= answer.status < 300:
            raise self._api.refusal(answer)

    async def _find(self, access_token: str, entry: Entry) -> str | None:
        around = Interval(entry.session.starts_at - _AROUND, entry.session.ends_at + _AROUND)
        seen = [each async for each in self._seen(access_token, around)]
        return next((each.id for each in seen if each.transactionId == str(entry.key)), None)

    async def busy(self, access_token: str, window: Interval, own: OwnEntries) -> Sequence[Interval]:
        async with self._api.within(ALL_SECONDS):
            seen = [each async for each in self._seen(access_token, window)]
        return [
            _interval(each)
            for each in seen
            if not each.isCancelled
            and each.showAs not in _FREE
            and each.id not in own.entry_ids
            and each.transactionId not in own.keys
            and each.start.dateTime != each.end.dateTime
        ]

    async def _seen(self, access_token: str, window: Interval) -> AsyncIterator[_Seen]:
        """Every occurrence of every series that touches the window."""
        query = {
            "startDateTime": window.starts_at.isoformat(),
            "endDateTime": window.ends_at.isoformat(),
            "$select": "id,start,end,showAs,isCancelled,transactionId",
            "$top": str(_PAGE),
        }
        url: str | None = f"/me/calendarView?{urlencode(query)}"
        for _ in range(_MOST_PAGES):
            page = self._api.read(await self._api.ask("GET", str(url), access_token, headers=_IN_UTC), _Page)
            for each in page.value:
                yield each
            url = page.next
            if url is None:
                return
            # A token must not go where an answer says, unless that is where it came from.
            if not url.startswith(f"{self._api.base}/"):
                raise CalendarNotUnderstood("Outlook's next page lies elsewhere")
        raise CalendarNotUnderstood("Outlook's pages have no end")


def _at(event_id: str) -> str:
    return f"/me/events/{quote(event_id, safe='')}"


def _interval(seen: _Seen) -> Interval:
    try:
        return Interval(_instant(seen.start), _instant(seen.end))
    except (ValueError, Invalid):
        raise CalendarNotUnderstood("Outlook tells times that are none") from None


def _instant(moment: _Moment) -> datetime:
    """UTC was asked for. Graph writes seven digits of a second, of which Python reads six."""
    if moment.timeZone != "UTC":
        raise ValueError
    return datetime.fromisoformat(moment.dateTime).replace(tzinfo=UTC)


def _body(entry: Entry) -> dict[str, Any]:
    body: dict[str, Any] = {
        "subject": entry.title,
        "body": {"contentType": "text", "content": "\n\n".join(part for part in (entry.text, entry.link) if part)},
        "location": {"displayName": entry.link or ""},
        "start": {"dateTime": _written(entry.session.starts_at), "timeZone": "UTC"},
        "end": {"dateTime": _written(entry.session.ends_at), "timeZone": "UTC"},
        "showAs": "busy",
    }
    if entry.wants_meeting:
        body["isOnlineMeeting"] = True
    return body


def _written(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()
