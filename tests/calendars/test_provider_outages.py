"""A provider that is slow, endless or talks nonsense: bounded in time and size, and no word of it believed."""

import asyncio
import itertools
import time
from datetime import timedelta
from uuid import uuid4

import pytest

from application.calendars.ports import CalendarService, OwnEntries
from domain.calendars import CalendarNotUnderstood, CalendarReconnect, CalendarRefused, CalendarUnavailable, Entry
from domain.errors import DomainError
from domain.time import Interval
from infrastructure.calendar_providers.google import GoogleCalendar
from infrastructure.calendar_providers.microsoft import OutlookCalendar
from tests.calendars.calendar_harness import ON_GOOGLE, FakeCalendar, at
from tests.support import calendar_faults as faults
from tests.support.calendar_grants import BACK, CLIENT_ID, CLIENT_SECRET
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.google_calendar import refusal as google_refusal
from tests.support.outlook import refusal as graph_refusal

SECONDS = 0.1
"""The limit where the provider never comes to an end."""
GENEROUS_SECONDS = 5
"""The limit where the provider answers, however busy this machine is."""
ENTRY = Entry(
    key=uuid4(),
    title="Coaching: Ada",
    text="",
    session=Interval(at(3, 10), at(3, 11)),
    timezone="UTC",
    link=None,
    hosts=True,
)
WINDOW = Interval(at(0, 0), at(60, 0))
NOTHING = OwnEntries((), (), ())
CALLS = ["put", "change", "remove", "busy", "refresh", "exchange"]


@pytest.fixture
def service(calendar: FakeCalendar, request: pytest.FixtureRequest) -> GoogleCalendar | OutlookCalendar:
    fault = getattr(request.node, "callspec", None) and request.node.callspec.params.get("fault")
    seconds = SECONDS if fault in {"hang", "drip"} else GENEROUS_SECONDS
    url = calendar.receiver.url
    if isinstance(calendar, FakeGoogleCalendar):
        return GoogleCalendar(
            CLIENT_ID,
            CLIENT_SECRET,
            auth_url=f"{url}/auth",
            token_url=f"{url}/token",
            revoke_url=f"{url}/revoke",
            api_base=f"{url}/calendar/v3",
            seconds=seconds,
        )
    return OutlookCalendar(
        CLIENT_ID, CLIENT_SECRET, authority=f"{url}/common", graph_base=f"{url}/v1.0", seconds=seconds
    )


async def call(service: CalendarService, name: str, tokens: dict[str, str]) -> object:
    token = tokens["access_token"]
    match name:
        case "put":
            return await service.put(token, ENTRY, None)
        case "change":
            return await service.put(token, ENTRY, "abcdef")
        case "remove":
            await service.remove(token, ENTRY, "abcdef")
            return None
        case "busy":
            return await service.busy(token, WINDOW, NOTHING)
        case "exchange":
            return await service.exchange("code", redirect_uri=BACK, verifier="verifier")
    return await service.refresh(tokens["refresh_token"])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("hang", (CalendarUnavailable,)),
        ("drip", (CalendarUnavailable,)),
        ("server_error", (CalendarUnavailable,)),
        ("lost_answer", (CalendarUnavailable,)),
        ("ten_megabytes", (CalendarNotUnderstood,)),
        ("not_json", (CalendarNotUnderstood,)),
        ("wrong_types", (CalendarNotUnderstood,)),
        ("elsewhere", (CalendarNotUnderstood,)),
    ],
)
async def test_every_call_ends_with_a_documented_error(
    service: GoogleCalendar | OutlookCalendar,
    calendar: FakeCalendar,
    name: str,
    fault: str,
    kinds: tuple[type[DomainError], ...],
) -> None:
    tokens = calendar.grants.hand_out()
    calendar.faults.always = calendar.grants.faults.always = getattr(faults, fault)
    began = time.monotonic()
    try:
        if name == "remove" and fault in {"not_json", "wrong_types"}:
            await call(service, name, tokens)  # nothing is read of a success
        else:
            with pytest.raises(kinds):
                await call(service, name, tokens)
    finally:
        await service.close()
    # Not a speed: without its bound the call would never end.
    assert time.monotonic() - began < 30


async def test_revoked_consent_differs_from_other_errors(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar
) -> None:
    tokens = calendar.grants.hand_out()
    for error in ("invalid_grant", "interaction_required"):
        calendar.grants.faults.next.append(faults.saying(faults.as_json({"error": error}, 400)))
        with pytest.raises(CalendarReconnect):
            await service.refresh(tokens["refresh_token"])
    for error in ("invalid_client", "temporarily_unavailable"):
        calendar.grants.faults.next.append(faults.saying(faults.as_json({"error": error}, 400)))
        with pytest.raises(CalendarUnavailable):
            await service.refresh(tokens["refresh_token"])
    await service.close()


@pytest.mark.parametrize("entry_id", ["", "a\x00b", "a\r\nb", "a b", "x" * 3_000])
async def test_invalid_entry_id_is_rejected(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar, entry_id: str
) -> None:
    tokens = calendar.grants.hand_out()
    calendar.faults.next.append(faults.saying(faults.as_json({"id": entry_id}, 201)))
    with pytest.raises(CalendarNotUnderstood):
        await call(service, "put", tokens)
    await service.close()


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a.example/\r\nBcc: x", "https://a.example/\x00", "x"])
async def test_invalid_meeting_link_is_dropped(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar, link: str
) -> None:
    tokens = calendar.grants.hand_out()
    said = {"id": "abcdef", "hangoutLink": link, "onlineMeeting": {"joinUrl": link}}
    calendar.faults.next.append(faults.saying(faults.as_json(said, 201)))
    reserved = await service.put(tokens["access_token"], ENTRY, None)
    assert (reserved.entry_id, reserved.link) == ("abcdef", None)
    await service.close()


@pytest.mark.parametrize("year", ["0001", "9999"])
async def test_busy_times_out_of_range_are_rejected(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar, year: str
) -> None:
    tokens = calendar.grants.hand_out()
    starts, ends = f"{year}-01-01T00:00:00", f"{year}-12-31T23:59:59"
    busy = [{"start": f"{starts}+14:00", "end": f"{ends}-12:00"}]
    entry = {"id": "e", "start": {"dateTime": starts}, "end": {"dateTime": ends}}
    calendar.faults.always = faults.saying(
        faults.as_json({"calendars": {"primary": {"busy": busy}}, "value": [entry, entry | {"end": {"dateTime": "0"}}]})
    )
    with pytest.raises(CalendarNotUnderstood):
        await call(service, "busy", tokens)
    await service.close()


@pytest.mark.parametrize("token", ["", "two words", "l\u00edne", "a\nb", "x" * 20_000])
async def test_invalid_token_is_rejected(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar, token: str
) -> None:
    given = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
    calendar.grants.faults.next.append(faults.saying(faults.as_json(given)))
    with pytest.raises(CalendarNotUnderstood):
        await service.refresh("refresh")
    await service.close()


@ON_GOOGLE  # Microsoft answers 429
@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"])
async def test_google_rate_limit_403_is_temporary_and_other_403_is_not(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar, reason: str
) -> None:
    tokens = calendar.grants.hand_out()
    calendar.faults.next += [faults.saying(google_refusal(403, each)) for each in (reason, "forbidden")]
    with pytest.raises(CalendarUnavailable):
        await call(service, "put", tokens)
    with pytest.raises(CalendarRefused, match="Google Calendar answered 403 forbidden"):
        await call(service, "put", tokens)
    await service.close()


async def test_rate_limit_says_how_long_to_wait(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar
) -> None:
    tokens = calendar.grants.hand_out()
    too_often = graph_refusal(429, "ApplicationThrottled", Retry_After="7300")
    if isinstance(calendar, FakeGoogleCalendar):
        too_often = google_refusal(429, "rateLimitExceeded").replace(b"\r\n\r\n", b"\r\nRetry-After: 7300\r\n\r\n", 1)
    calendar.faults.next.append(faults.saying(too_often))
    with pytest.raises(CalendarUnavailable) as caught:
        await call(service, "put", tokens)
    assert caught.value.retry_after == 7300
    await service.close()


async def test_unreadable_calendar_is_reported(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar
) -> None:
    tokens = calendar.grants.hand_out()
    said = {"error": {"code": "ErrorAccessDenied", "errors": [{"reason": "insufficientPermissions"}]}}
    calendar.faults.always = faults.saying(faults.as_json(said, 403))
    with pytest.raises(CalendarRefused, match="403"):
        await call(service, "busy", tokens)
    await service.close()


async def test_concurrent_calls_are_independent(
    service: GoogleCalendar | OutlookCalendar, calendar: FakeCalendar
) -> None:
    tokens = calendar.grants.hand_out()
    start = at(1, 0)
    calendar.faults.next.append(faults.hang)
    window = Interval(start, start + timedelta(days=1))
    calls = [asyncio.create_task(service.busy(tokens["access_token"], window, NOTHING)) for _ in range(8)]
    answered = [await each for each in itertools.islice(asyncio.as_completed(calls), 7)]
    assert answered == [[]] * 7
    (hanging,) = [each for each in calls if not each.done()]
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await service.close()
