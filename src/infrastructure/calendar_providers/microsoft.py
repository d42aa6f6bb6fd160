"""Outlook through Microsoft Graph v1.0 (https://learn.microsoft.com/graph/api/resources/event), in a person's default
calendar.

Graph chooses an entry's id and returns it once. The `transactionId` of a request prevents a second entry if that
response was lost; an extended property finds the entry again, also after its owner has moved it.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec

from application.calendars.ports import Grant, OwnEntries, Placed
from domain.calendars import CalendarNotUnderstood, Entry, Provider
from domain.errors import Invalid
from domain.time import Interval
from infrastructure.auth.oauth import Answer
from infrastructure.calendar_providers.consent import ConsentServer
from infrastructure.calendar_providers.requests import CalendarApi, is_one_word, join_url, reasons

SCOPE = "offline_access Calendars.ReadWrite"
ALL_SECONDS = 20
_GONE = frozenset({404, 410})
# Graph's code for an id of another account: an account may reconnect with another mailbox.
_NOT_OF_THIS_MAILBOX = frozenset({"ErrorInvalidMailboxItemId", "ErrorInvalidIdMalformed"})
_FREE = frozenset({"free", "workingElsewhere"})
_PAGE, _MOST_PAGES = 500, 10
# Without the second value an entry's id changes when its owner moves it to another calendar.
_PREFER = {"Prefer": 'outlook.timezone="UTC", IdType="ImmutableId"'}
_OURS = "String {a1b53b3f-39ff-4a4e-9b9c-1a7b5c4f2f0d} Name ConveneEntry"
"""The name of the property with the key of an entry (a singleValueLegacyExtendedProperty)."""


class _Meeting(msgspec.Struct, frozen=True):
    joinUrl: str | None = None  # noqa: N815 (Graph's name)


class _Moment(msgspec.Struct, frozen=True):
    dateTime: str  # noqa: N815
    timeZone: str = "UTC"  # noqa: N815


class _Property(msgspec.Struct, frozen=True):
    value: str = ""


class _Event(msgspec.Struct, frozen=True):
    id: str
    start: _Moment | None = None
    end: _Moment | None = None
    onlineMeeting: _Meeting | None = None  # noqa: N815
    singleValueExtendedProperties: list[_Property] = []  # noqa: N815

    def __post_init__(self) -> None:
        if not is_one_word(self.id):
            raise ValueError("its id is none")

    @property
    def link(self) -> str | None:
        return join_url(self.onlineMeeting.joinUrl if self.onlineMeeting else None)

    def was_moved_to(self, session: Interval) -> bool:
        """Whether its time differs from the session, for times that it gives in UTC."""
        if self.start is None or self.end is None or {self.start.timeZone, self.end.timeZone} != {"UTC"}:
            return False
        return _interval(self.start, self.end) != session


class _Events(msgspec.Struct, frozen=True):
    value: list[_Event]


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
        """Does nothing: only the person can revoke the consent, at https://myapps.microsoft.com."""

    async def put(self, access_token: str, entry: Entry, entry_id: str | None) -> Placed:
        async with self._api.within(ALL_SECONDS):
            event = await self._change(access_token, entry, entry_id) if entry_id else None
            event = event or await self._make(access_token, entry)
        return Placed(event.id, event.link, "confirmed")

    async def _make(self, access_token: str, entry: Entry) -> _Event:
        name = {"id": _OURS, "value": str(entry.key)}
        body = {"transactionId": str(entry.key), "singleValueExtendedProperties": [name]}
        body |= _body(entry) | _text(entry)
        answer = await self._ask("POST", "/me/events", access_token, json=body)
        if answer.status == 409:  # it exists because an earlier response was lost
            made = await self._find(access_token, entry)
            changed = await self._change(access_token, entry, made) if made else None
            if changed is not None:
                return changed
            # It was created and removed again: Graph creates no entry for a known `transactionId`.
            body["transactionId"] = str(uuid4())
            answer = await self._ask("POST", "/me/events", access_token, json=body)
        event = self._api.read(answer, _Event)
        if event.was_moved_to(entry.session):
            # For a known `transactionId` Graph returns the entry as created; the booking was rescheduled since.
            event = await self._change(access_token, entry, event.id) or event
        return event

    async def _change(self, access_token: str, entry: Entry, event_id: str) -> _Event | None:
        """Returns None if it does not exist. The text of an entry with an online meeting contains the link to join:
        replacing the text would end the meeting (Graph, "Update event")."""
        answer = await self._ask("PATCH", _at(event_id), access_token, json=_body(entry))
        if self._is_gone(answer):
            return None
        event = self._api.read(answer, _Event)
        if event.onlineMeeting is None:
            answer = await self._ask("PATCH", _at(event_id), access_token, json=_text(entry))
            event = self._api.read(answer, _Event)
        return event

    async def remove(self, access_token: str, entry: Entry, entry_id: str | None) -> None:
        async with self._api.within(ALL_SECONDS):
            there = entry_id or await self._find(access_token, entry)
            if there is None:
                return
            answer = await self._ask("DELETE", _at(there), access_token)
        if not self._is_gone(answer) and not 200 <= answer.status < 300:
            raise self._api.refusal(answer)

    async def _find(self, access_token: str, entry: Entry) -> str | None:
        query = {
            "$filter": f"singleValueExtendedProperties/Any(ep: ep/id eq '{_OURS}' and ep/value eq '{entry.key}')",
            "$expand": f"singleValueExtendedProperties($filter=id eq '{_OURS}')",
            "$select": "id",
        }
        answer = await self._ask("GET", f"/me/events?{urlencode(query, quote_via=quote)}", access_token)
        named = [
            event.id
            for event in self._api.read(answer, _Events).value
            if any(each.value == str(entry.key) for each in event.singleValueExtendedProperties)
        ]
        return named[0] if named else None

    async def _ask(self, method: str, url: str, token: str, *, json: object | None = None) -> Answer:
        return await self._api.ask(method, url, token, json=json, headers=_PREFER)

    @staticmethod
    def _is_gone(answer: Answer) -> bool:
        return answer.status in _GONE or (answer.status == 400 and not _NOT_OF_THIS_MAILBOX.isdisjoint(reasons(answer)))

    async def busy(self, access_token: str, window: Interval, own: OwnEntries) -> Sequence[Interval]:
        async with self._api.within(ALL_SECONDS):
            seen = [each async for each in self._seen(access_token, window)]
        return [
            _interval(each.start, each.end)
            for each in seen
            if not each.isCancelled
            and each.showAs not in _FREE
            and each.id not in own.entry_ids
            and each.transactionId not in own.keys
            and each.start.dateTime != each.end.dateTime
        ]

    async def _seen(self, access_token: str, window: Interval) -> AsyncIterator[_Seen]:
        """Every entry that overlaps the window, with each occurrence of a series."""
        query = {
            "startDateTime": window.starts_at.isoformat(),
            "endDateTime": window.ends_at.isoformat(),
            "$select": "id,start,end,showAs,isCancelled,transactionId",
            "$top": str(_PAGE),
        }
        url: str | None = f"/me/calendarView?{urlencode(query)}"
        for _ in range(_MOST_PAGES):
            page = self._api.read(await self._ask("GET", str(url), access_token), _Page)
            for each in page.value:
                yield each
            url = page.next
            if url is None:
                return
            # The token must not be sent to an address in a response, unless it is on the same server.
            if not url.startswith(f"{self._api.base}/"):
                raise CalendarNotUnderstood("Outlook's next page lies elsewhere")
        raise CalendarNotUnderstood("Outlook's pages have no end")


def _at(event_id: str) -> str:
    return f"/me/events/{quote(event_id, safe='')}"


def _interval(starts: _Moment, ends: _Moment) -> Interval:
    try:
        return Interval(_instant(starts), _instant(ends))
    except (ValueError, Invalid):
        raise CalendarNotUnderstood("Outlook tells times that are none") from None


def _instant(moment: _Moment) -> datetime:
    """An instant in UTC, as requested. Graph writes seven digits of a second, of which Python reads six."""
    if moment.timeZone != "UTC":
        raise ValueError
    return datetime.fromisoformat(moment.dateTime).replace(tzinfo=UTC)


def _body(entry: Entry) -> dict[str, Any]:
    body: dict[str, Any] = {
        "subject": entry.title,
        "location": {"displayName": entry.link or ""},
        "start": {"dateTime": _written(entry.session.starts_at), "timeZone": "UTC"},
        "end": {"dateTime": _written(entry.session.ends_at), "timeZone": "UTC"},
        "showAs": "busy",
    }
    if entry.wants_meeting:
        body["isOnlineMeeting"] = True
    return body


def _text(entry: Entry) -> dict[str, Any]:
    text = "\n\n".join(part for part in (entry.text, entry.link) if part)
    return {"body": {"contentType": "text", "content": text}}


def _written(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()
