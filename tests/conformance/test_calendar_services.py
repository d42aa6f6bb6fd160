"""The port of calendar providers, in memory and as clients of local servers of Google and Microsoft."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from application.calendars.ports import CalendarService, Grant, OwnEntries
from domain.calendars import (
    CalendarNotUnderstood,
    CalendarReconnect,
    CalendarRefused,
    CalendarUnavailable,
    ConsentRefused,
    Entry,
    Provider,
    TokenRejected,
)
from domain.errors import DomainError
from domain.time import Interval
from infrastructure.calendar_providers.google import GoogleCalendar
from infrastructure.calendar_providers.microsoft import OutlookCalendar
from tests.support import calendar_faults as faults
from tests.support.calendar_grants import BACK, CLIENT_ID, CLIENT_SECRET
from tests.support.google_calendar import FakeGoogleCalendar, fake_google_calendar
from tests.support.google_calendar import refusal as google_refusal
from tests.support.memory.calendar_provider import MemoryCalendar
from tests.support.outlook import FakeOutlook, fake_outlook
from tests.support.outlook import refusal as graph_refusal

START = datetime(2031, 3, 10, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = Interval(START - 24 * HOUR, START + 100 * 24 * HOUR)
NOTHING = OwnEntries((), (), ())
VERIFIER, STATE = "v" * 43, "state"


def hours(starts: float) -> Interval:
    return Interval(START + starts * HOUR, START + (starts + 1) * HOUR)


class World(Protocol):
    """What the owner of the calendar and the provider do."""

    def consent(self, url: str) -> tuple[str, str]: ...
    def end_access(self) -> None: ...
    def end_consent(self) -> None: ...
    def is_busy(self, time: Interval) -> None: ...
    def shown(self) -> list[Interval]:
        """The times of Convene's entries."""
        ...

    def fails_once(self, error: type[DomainError]) -> None: ...
    def loses_an_answer(self) -> None: ...


class MemoryWorld:
    def __init__(self, calendar: MemoryCalendar) -> None:
        self.calendar = calendar
        self.consent, self.shown = calendar.consent, calendar.shown
        self.end_access, self.end_consent = calendar.end_access, calendar.end_consent

    def is_busy(self, time: Interval) -> None:
        self.calendar.foreign.append(time)

    def fails_once(self, error: type[DomainError]) -> None:
        self.calendar.faults.append(error())

    def loses_an_answer(self) -> None:
        self.calendar.lost = 1


class ServerWorld:
    def __init__(self, calendar: FakeGoogleCalendar | FakeOutlook) -> None:
        self.calendar = calendar
        self.consent, self.end_access = calendar.grants.consent, calendar.grants.end_access
        self.end_consent = calendar.grants.revoke

    def is_busy(self, time: Interval) -> None:
        starts, ends = (each.replace(tzinfo=None).isoformat() for each in (time.starts_at, time.ends_at))
        if isinstance(self.calendar, FakeGoogleCalendar):
            self.calendar.foreign.append((f"{starts}+00:00", f"{ends}+00:00"))
        else:
            self.calendar.busy(starts, ends)

    def shown(self) -> list[Interval]:
        moments = [(event["start"]["dateTime"], event["end"]["dateTime"]) for event in self.calendar.live.values()]
        times = [Interval(*(_utc(moment) for moment in both)) for both in moments]
        return sorted(times, key=lambda each: each.starts_at)

    def fails_once(self, error: type[DomainError]) -> None:
        refused = google_refusal(403, "forbidden")
        if isinstance(self.calendar, FakeOutlook):
            refused = graph_refusal(403, "ErrorAccessDenied")
        kinds = {
            CalendarUnavailable: faults.server_error,
            CalendarNotUnderstood: faults.not_json,
            CalendarRefused: faults.saying(refused),
        }
        self.calendar.faults.next.append(kinds[error])

    def loses_an_answer(self) -> None:
        self.calendar.faults.next.append(faults.lost_answer)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass
class Kind:
    service: CalendarService
    world: World
    rotates: bool

    async def granted(self) -> Grant:
        url = self.service.consent_url(redirect_uri=BACK, state=STATE, verifier=VERIFIER)
        code, _ = self.world.consent(url)
        return await self.service.exchange(code, redirect_uri=BACK, verifier=VERIFIER)

    async def token(self) -> str:
        return (await self.granted()).access_token


@pytest.fixture(params=["google in memory", "outlook in memory", "google", "outlook"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    name, _, is_in_memory = request.param.partition(" ")
    provider = Provider(name)
    rotates = provider is Provider.OUTLOOK
    if is_in_memory:
        calendar = MemoryCalendar(provider, rotates=rotates)
        yield Kind(calendar, MemoryWorld(calendar), rotates)
    elif provider is Provider.GOOGLE:
        async with fake_google_calendar() as google:
            url = google.receiver.url
            service = GoogleCalendar(
                CLIENT_ID,
                CLIENT_SECRET,
                auth_url=f"{url}/auth",
                token_url=f"{url}/token",
                revoke_url=f"{url}/revoke",
                api_base=f"{url}/calendar/v3",
            )
            yield Kind(service, ServerWorld(google), rotates)
            await service.close()
    else:
        async with fake_outlook() as outlook:
            url = outlook.receiver.url
            client = OutlookCalendar(CLIENT_ID, CLIENT_SECRET, authority=f"{url}/common", graph_base=f"{url}/v1.0")
            yield Kind(client, ServerWorld(outlook), rotates)
            await client.close()


def entry(starts: float = 0, *, link: str | None = None, hosts: bool = True) -> Entry:
    return Entry(uuid4(), "Coaching: Ada", "Notes", hours(starts), "UTC", link, hosts)


# Consent


async def test_consent_url_has_the_address_the_state_and_a_challenge(kind: Kind) -> None:
    url = kind.service.consent_url(redirect_uri=BACK, state=STATE, verifier=VERIFIER)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert (query["redirect_uri"], query["state"], query["code_challenge_method"]) == (BACK, STATE, "S256")
    assert VERIFIER not in url
    assert kind.world.consent(url)[1] == STATE


async def test_code_is_exchanged_once_for_tokens(kind: Kind) -> None:
    code, _ = kind.world.consent(kind.service.consent_url(redirect_uri=BACK, state=STATE, verifier=VERIFIER))
    grant = await kind.service.exchange(code, redirect_uri=BACK, verifier=VERIFIER)
    assert grant.refresh_token is not None
    assert (grant.token_type, grant.lifetime) == ("Bearer", timedelta(seconds=3599))
    with pytest.raises(ConsentRefused):
        await kind.service.exchange(code, redirect_uri=BACK, verifier=VERIFIER)


@pytest.mark.parametrize("changed", ["code", "redirect_uri", "verifier"])
async def test_code_needs_its_address_and_its_verifier(kind: Kind, changed: str) -> None:
    code, _ = kind.world.consent(kind.service.consent_url(redirect_uri=BACK, state=STATE, verifier=VERIFIER))
    given = {"code": code, "redirect_uri": BACK, "verifier": VERIFIER} | {changed: "another"}
    with pytest.raises(ConsentRefused):
        await kind.service.exchange(given["code"], redirect_uri=given["redirect_uri"], verifier=given["verifier"])


async def test_refresh_issues_a_token_that_is_accepted(kind: Kind) -> None:
    first = await kind.granted()
    assert first.refresh_token is not None
    kind.world.end_access()
    second = await kind.service.refresh(first.refresh_token)
    assert second.access_token != first.access_token
    assert (second.refresh_token is not None) is kind.rotates
    assert await kind.service.busy(second.access_token, WINDOW, NOTHING) == []
    if kind.rotates:
        with pytest.raises(CalendarReconnect):
            await kind.service.refresh(first.refresh_token)


async def test_refresh_after_the_consent_was_revoked_needs_a_new_connection(kind: Kind) -> None:
    grant = await kind.granted()
    kind.world.end_consent()
    with pytest.raises(CalendarReconnect):
        await kind.service.refresh(str(grant.refresh_token))


async def test_consent_can_be_revoked(kind: Kind) -> None:
    await kind.service.revoke(str((await kind.granted()).refresh_token))


# Entries


async def test_entry_is_created_once_for_its_key(kind: Kind) -> None:
    token, put = await kind.token(), entry()
    first = await kind.service.put(token, put, None)
    second = await kind.service.put(token, put, None)
    assert (first.entry_id, first.status) == (second.entry_id, "confirmed")
    assert kind.world.shown() == [hours(0)]
    await kind.service.put(token, entry(2), None)
    assert kind.world.shown() == [hours(0), hours(2)]


async def test_entry_is_moved(kind: Kind) -> None:
    token, put = await kind.token(), entry()
    first = await kind.service.put(token, put, None)
    for entry_id, starts in ((first.entry_id, 3), (None, 5)):
        moved = await kind.service.put(token, replace(put, session=hours(starts)), entry_id)
        assert moved.entry_id == first.entry_id
        assert kind.world.shown() == [hours(starts)]


async def test_meeting_is_created_once_if_it_is_wanted(kind: Kind) -> None:
    token, put = await kind.token(), entry()
    first = await kind.service.put(token, put, None)
    assert first.link is not None
    assert not first.link_is_coming
    again = await kind.service.put(token, replace(put, session=hours(3)), first.entry_id)
    assert again.link == first.link
    for other in (entry(5, hosts=False), entry(7, link="https://meet.example/1")):
        assert (await kind.service.put(token, other, None)).link is None


async def test_entry_that_its_owner_removed_is_created_again(kind: Kind) -> None:
    token, put = await kind.token(), entry()
    first = await kind.service.put(token, put, None)
    await kind.service.remove(token, put, first.entry_id)
    assert kind.world.shown() == []
    await kind.service.put(token, put, first.entry_id)
    assert kind.world.shown() == [hours(0)]


@pytest.mark.parametrize("knows_its_id", [True, False])
async def test_removing_an_entry_twice_succeeds(kind: Kind, knows_its_id: bool) -> None:
    token, put = await kind.token(), entry()
    placed = await kind.service.put(token, put, None)
    for _ in range(2):
        await kind.service.remove(token, put, placed.entry_id if knows_its_id else None)
        assert kind.world.shown() == []


async def test_entry_with_a_lost_answer_is_updated_and_removed(kind: Kind) -> None:
    token, put = await kind.token(), entry()
    kind.world.loses_an_answer()
    with pytest.raises(CalendarUnavailable):
        await kind.service.put(token, put, None)
    await kind.service.put(token, replace(put, session=hours(3)), None)
    assert kind.world.shown() == [hours(3)]
    await kind.service.remove(token, put, None)
    assert kind.world.shown() == []


# Busy times


async def test_busy_times_are_those_of_the_window_without_own_entries(kind: Kind) -> None:
    token, put, other = await kind.token(), entry(), entry(2)
    by_id = await kind.service.put(token, put, None)
    await kind.service.put(token, other, None)
    kind.world.is_busy(hours(4))
    kind.world.is_busy(hours(101 * 24))
    own = OwnEntries({by_id.entry_id}, {str(other.key)}, [put.session, other.session])
    assert list(await kind.service.busy(token, WINDOW, own)) == [hours(4)]
    found = await kind.service.busy(token, WINDOW, NOTHING)
    assert sorted(found, key=lambda each: each.starts_at) == [hours(0), hours(2), hours(4)]


# Failures

CALLS: dict[str, Callable[[CalendarService, str], object]] = {
    "put": lambda service, token: service.put(token, entry(), None),
    "remove": lambda service, token: service.remove(token, entry(), "abcdef"),
    "busy": lambda service, token: service.busy(token, WINDOW, NOTHING),
}


@pytest.mark.parametrize("call", CALLS)
async def test_token_that_ended_is_rejected(kind: Kind, call: str) -> None:
    token = await kind.token()
    kind.world.end_access()
    with pytest.raises(TokenRejected):
        await CALLS[call](kind.service, token)  # type: ignore[misc]


@pytest.mark.parametrize("error", [CalendarUnavailable, CalendarRefused, CalendarNotUnderstood])
async def test_failure_is_raised_by_its_kind(kind: Kind, error: type[DomainError]) -> None:
    token = await kind.token()
    kind.world.fails_once(error)
    with pytest.raises(error):
        await kind.service.put(token, entry(), None)
    await kind.service.put(token, entry(), None)
