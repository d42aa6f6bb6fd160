"""Outlook for tests: Microsoft's token endpoint and Graph v1.0, with the published shapes and refusals."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.calendar_faults import Faults, Serve, as_json, form_of
from tests.support.calendar_grants import BACK, CLIENT_ID, CLIENT_SECRET, Grants
from tests.support.receivers import Receiver, Request, answer, receiving

_numbers = itertools.count(1)
PAGE = 3


def refusal(status: int, code: str, **headers: str) -> bytes:
    """https://learn.microsoft.com/graph/errors"""
    inner = {"date": "2026-01-12T08:30:00", "request-id": "r", "client-request-id": "c"}
    return as_json({"error": {"code": code, "message": "No.", "innerError": inner}}, status, **headers)


@dataclass
class FakeOutlook:
    """One calendar. `foreign` are entries of its owner, as `calendarView` shows them; `repeats`: a `transactionId` that
    was used is answered with what it made, instead of 409 (both have been seen)."""

    receiver: Receiver
    grants: Grants = field(default_factory=lambda: Grants(rotates=True, scope="Calendars.ReadWrite", prefix="EwBwA8l6"))
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    transactions: dict[str, str] = field(default_factory=dict)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    next_page: str | None = None
    repeats: bool = False

    @property
    def settings(self) -> dict[str, str]:
        url = self.receiver.url
        return {
            "microsoft_client_id": CLIENT_ID,
            "microsoft_client_secret": CLIENT_SECRET,
            "microsoft_authority": f"{url}/common",
            "microsoft_graph_base": f"{url}/v1.0",
            "oauth_redirect_allowlist": BACK,
        }

    @property
    def live(self) -> dict[str, dict[str, Any]]:
        return self.events

    def asked(self, method: str, part: str = "") -> list[Request]:
        return [each for each in self.receiver.requests if each.method == method and part in each.path]

    def busy(self, starts: str, ends: str, show_as: str = "busy", *, cancelled: bool = False) -> None:
        self.foreign.append(
            {
                "id": f"AAMk-foreign-{next(_numbers)}=",
                "start": {"dateTime": f"{starts}.0000000", "timeZone": "UTC"},
                "end": {"dateTime": f"{ends}.0000000", "timeZone": "UTC"},
                "showAs": show_as,
                "isCancelled": cancelled,
            }
        )

    async def behave(self, request: Request, writer: asyncio.StreamWriter) -> bytes | None:
        path = urlsplit(request.path).path
        if path == "/common/oauth2/v2.0/token":
            return await self.grants.faults(lambda: self.grants.token(form_of(request)), writer)
        serve: Serve = lambda: self._serve(request, path.removeprefix("/v1.0"))  # noqa: E731
        return await self.faults(serve, writer)

    def _serve(self, request: Request, path: str) -> bytes:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.grants.access:
            return refusal(401, "InvalidAuthenticationToken")
        if (request.method, path) == ("GET", "/me/calendarView"):
            return self._view(request)
        assert 'IdType="ImmutableId"' in request.headers["prefer"]
        if (request.method, path) == ("POST", "/me/events"):
            return self._create(request.json)
        if (request.method, path) == ("GET", "/me/events"):
            return self._find(request)
        event = self.events.get(unquote(path.removeprefix("/me/events/")))
        if event is None:
            return refusal(404, "ErrorItemNotFound")
        if request.method == "DELETE":
            del self.events[event["id"]]
            return answer(204, b"")
        self._put(event, request.json)
        return as_json(event)

    def _create(self, body: dict[str, Any]) -> bytes:
        made = self.events.get(self.transactions.get(body["transactionId"], ""))
        if made is not None and self.repeats:
            return as_json(made, 201)
        if body["transactionId"] in self.transactions:
            return refusal(409, "ErrorDuplicateTransactionId")
        event = {"id": f"AAMkAGI/1+{next(_numbers)}=", "transactionId": body["transactionId"]}
        self.transactions[body["transactionId"]] = event["id"]
        self.events[event["id"]] = event
        self._put(event, body)
        return as_json(event, 201)

    def _put(self, event: dict[str, Any], body: dict[str, Any]) -> None:
        assert body["start"]["timeZone"] == body["end"]["timeZone"] == "UTC"
        event.update({name: value for name, value in body.items() if name != "transactionId"})
        if "body" in body and event.get("onlineMeeting"):
            # The way into the meeting stood in the text (https://learn.microsoft.com/graph/api/event-update).
            event.update(onlineMeeting=None, isOnlineMeeting=False)
        if body.get("isOnlineMeeting") and not event.get("onlineMeeting"):
            link = f"https://teams.microsoft.com/l/meetup-join/{event['id'][-4:-1]}"
            event["onlineMeeting"] = {"joinUrl": link}
            event["onlineMeetingProvider"] = "teamsForBusiness"

    def _find(self, request: Request) -> bytes:
        """https://learn.microsoft.com/graph/api/singlevaluelegacyextendedproperty-get"""
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        wanted = re.fullmatch(
            r"singleValueExtendedProperties/Any\(ep: ep/id eq '(.+)' and ep/value eq '(.+)'\)", query["$filter"]
        )
        assert wanted is not None
        name, value = wanted.groups()
        assert query["$expand"] == f"singleValueExtendedProperties($filter=id eq '{name}')"
        kept = {"id": name, "value": value}
        found = [
            {"id": event["id"], "singleValueExtendedProperties": [kept]}
            for event in self.events.values()
            if kept in event["singleValueExtendedProperties"]
        ]
        return as_json({"value": found})

    def _view(self, request: Request) -> bytes:
        assert 'outlook.timezone="UTC"' in request.headers["prefer"]
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        window = tuple(datetime.fromisoformat(query[name]) for name in ("startDateTime", "endDateTime"))
        own = [
            {"id": each["id"], "start": each["start"], "end": each["end"], "showAs": each["showAs"]}
            | {"transactionId": each["transactionId"], "isCancelled": False}
            for each in self.events.values()
        ]
        found = [
            each
            for each in [*self.foreign, *own]
            if _moment(each["start"]) < window[1] and _moment(each["end"]) > window[0]
        ]
        skip = int(query.get("$skip", "0"))
        page: dict[str, Any] = {"value": found[skip : skip + PAGE]}
        if skip + PAGE < len(found):
            base = request.path.partition("&$skip=")[0]
            page["@odata.nextLink"] = self.next_page or f"{self.receiver.url}{base}&$skip={skip + PAGE}"
        return as_json(page)


def _moment(moment: dict[str, str]) -> datetime:
    return datetime.fromisoformat(moment["dateTime"]).replace(tzinfo=UTC)


@contextlib.asynccontextmanager
async def fake_outlook() -> AsyncIterator[FakeOutlook]:
    async with receiving() as receiver:
        outlook = FakeOutlook(receiver)
        receiver.behave = outlook.behave
        yield outlook
