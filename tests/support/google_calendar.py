"""Google Calendar for tests: its token endpoint and Calendar API v3, with the published shapes and refusals."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.calendar_faults import Faults, Serve, as_json, form_of
from tests.support.calendar_grants import BACK, CLIENT_ID, CLIENT_SECRET, Grants
from tests.support.receivers import Receiver, Request, answer, receiving

PAGE = 2
_ID = set("0123456789abcdefghijklmnopqrstuv")
SCOPE = "https://www.googleapis.com/auth/calendar.events https://www.googleapis.com/auth/calendar.freebusy"


def refusal(status: int, reason: str, message: str = "No") -> bytes:
    """https://developers.google.com/workspace/calendar/api/guides/errors"""
    domain = "usageLimits" if "Exceeded" in reason else "global"
    error = {"errors": [{"domain": domain, "reason": reason, "message": message}], "code": status, "message": message}
    return as_json({"error": error}, status)


@dataclass
class FakeGoogleCalendar:
    """One calendar. `foreign` are its owner's own busy times, `more` entries that `freeBusy` does not include;
    `slow_meetings`: so many looks until a link is there; `has_meet`: whether it may make any."""

    receiver: Receiver
    grants: Grants = field(default_factory=lambda: Grants(rotates=False, scope=SCOPE, prefix="ya29"))
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    foreign: list[tuple[str, str]] = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    slow_meetings: int = 0
    has_meet: bool = True
    revoked: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        url = self.receiver.url
        return {
            "google_client_id": CLIENT_ID,
            "google_client_secret": CLIENT_SECRET,
            "google_auth_url": f"{url}/auth",
            "google_token_url": f"{url}/token",
            "google_revoke_url": f"{url}/revoke",
            "google_calendar_api_base": f"{url}/calendar/v3",
            "oauth_redirect_allowlist": BACK,
        }

    @property
    def live(self) -> dict[str, dict[str, Any]]:
        return {name: event for name, event in self.events.items() if event["status"] != "cancelled"}

    def asked(self, method: str, part: str = "") -> list[Request]:
        return [each for each in self.receiver.requests if each.method == method and part in each.path]

    async def behave(self, request: Request, writer: asyncio.StreamWriter) -> bytes | None:
        path = urlsplit(request.path).path
        if path == "/token":
            return await self.grants.faults(lambda: self.grants.token(form_of(request)), writer)
        if path == "/revoke":
            self.revoked.append(form_of(request)["token"])
            return answer(200)
        serve: Serve = lambda: self._serve(request, path.removeprefix("/calendar/v3"))  # noqa: E731
        return await self.faults(serve, writer)

    def _serve(self, request: Request, path: str) -> bytes:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.grants.access:
            return refusal(401, "authError", "Invalid Credentials")
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        if (request.method, path) == ("POST", "/freeBusy"):
            return self._free_busy(request.json)
        if "conferenceData" in (request.json if request.body else {}) and not self.has_meet:
            return refusal(400, "invalid", "Invalid conference type value.")
        if (request.method, path) == ("POST", "/calendars/primary/events"):
            return self._insert(request.json, query)
        if (request.method, path) == ("GET", "/calendars/primary/events"):
            return self._list(query)
        event_id = unquote(path.removeprefix("/calendars/primary/events/"))
        event = self.events.get(event_id)
        if event is None:
            return refusal(404, "notFound", "Not Found")
        if request.method == "DELETE":
            if event["status"] == "cancelled":
                return refusal(410, "deleted", "Resource has been deleted")
            event["status"] = "cancelled"
            return answer(204, b"")
        if request.method == "PATCH":
            self._put(event, request.json, query)
        return as_json(self._seen(event))

    def _insert(self, body: dict[str, Any], query: dict[str, str]) -> bytes:
        event_id = body["id"]
        if not 5 <= len(event_id) <= 1024 or not set(event_id) <= _ID:
            return refusal(400, "invalid", "Invalid resource id value.")
        if event_id in self.events:
            return refusal(409, "duplicate", "The requested identifier already exists.")
        self.events[event_id] = {"kind": "calendar#event", "status": "confirmed"}
        self._put(self.events[event_id], body, query)
        return as_json(self._seen(self.events[event_id]))

    def _put(self, event: dict[str, Any], body: dict[str, Any], query: dict[str, str]) -> None:
        assert query["sendUpdates"] == "none"
        wanted = body.pop("conferenceData", None)
        event.update(body)
        if wanted and query.get("conferenceDataVersion") == "1" and "conferenceData" not in event:
            create = wanted["createRequest"]
            assert create["conferenceSolutionKey"] == {"type": "hangoutsMeet"}
            event["conferenceData"] = {"createRequest": {**create, "status": {"statusCode": "pending"}}}
            event["looks"] = self.slow_meetings

    def _seen(self, event: dict[str, Any]) -> dict[str, Any]:
        conference = event.get("conferenceData")
        if conference and "entryPoints" not in conference:
            if event["looks"] <= 0:
                link = f"https://meet.google.com/{event['id'][:3]}-{event['id'][3:7]}-{event['id'][7:10]}"
                conference["createRequest"]["status"]["statusCode"] = "success"
                conference["entryPoints"] = [{"entryPointType": "video", "uri": link, "label": link[8:]}]
                event["hangoutLink"] = link
            event["looks"] -= 1
        return {name: value for name, value in event.items() if name != "looks"}

    def _free_busy(self, body: dict[str, Any]) -> bytes:
        assert body["items"] == [{"id": "primary"}]
        window = tuple(datetime.fromisoformat(body[name]) for name in ("timeMin", "timeMax"))
        if window[1] - window[0] > timedelta(days=90):
            return refusal(400, "timeRangeTooLong", "The requested time range is too long.")
        own = [(event["start"]["dateTime"], event["end"]["dateTime"]) for event in self.live.values()]
        times = sorted((datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in [*self.foreign, *own])
        merged: list[tuple[datetime, datetime]] = []
        for starts, ends in times:
            if ends <= window[0] or window[1] <= starts:
                continue
            if merged and starts <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(ends, merged[-1][1]))
            else:
                merged.append((starts, ends))
        busy = [{"start": a.isoformat(), "end": b.isoformat()} for a, b in merged]
        return as_json(
            {
                "kind": "calendar#freeBusy",
                "timeMin": body["timeMin"],
                "timeMax": body["timeMax"],
                "calendars": {"primary": {"busy": busy}},
            }
        )

    def _list(self, query: dict[str, str]) -> bytes:
        assert (query["singleEvents"], query["maxAttendees"]) == ("true", "1")
        assert "summary" not in query["fields"]
        window = tuple(datetime.fromisoformat(query[name]) for name in ("timeMin", "timeMax"))
        foreign = [
            {"id": f"foreign{number}", "status": "confirmed", "start": {"dateTime": starts}, "end": {"dateTime": ends}}
            for number, (starts, ends) in enumerate(self.foreign)
        ]
        found = [
            event
            for event in [*foreign, *self.more, *self.live.values()]
            if "dateTime" not in event["start"]
            or (_moment(event["start"]) < window[1] and _moment(event["end"]) > window[0])
        ]
        skip = int(query.get("pageToken", "0"))
        page = {"kind": "calendar#events", "timeZone": "Europe/Berlin", "items": found[skip : skip + PAGE]}
        return as_json(page | ({"nextPageToken": str(skip + PAGE)} if skip + PAGE < len(found) else {}))


def _moment(when: dict[str, str]) -> datetime:
    return datetime.fromisoformat(when["dateTime"])


@contextlib.asynccontextmanager
async def fake_google_calendar() -> AsyncIterator[FakeGoogleCalendar]:
    async with receiving() as receiver:
        calendar = FakeGoogleCalendar(receiver)
        receiver.behave = calendar.behave
        yield calendar
