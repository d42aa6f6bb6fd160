"""A person's bookings as a calendar that programs subscribe to, read back by other people's programs."""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import vobject
from icalendar import Calendar

from infrastructure import container
from infrastructure.observability.logging import configure_logging
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from interfaces.http.log_redaction import shown
from tests.support.calendar_server import CalendarServer, running_calendar_server
from tests.support.http import serving
from tests.support.people import PASSWORD, People, Person


async def opened(person: Person) -> str:
    """The path of their feed."""
    answer = await person.post("/calendar/feed")
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["url"]
    assert re.fullmatch(r"https?://[^/]+/calendar/feed/[\w-]{43}\.ics", url)
    return httpx.URL(url).path


async def entries(api: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """By what stands in their UID before the deployment's own domain."""
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    found = [(str(entry["UID"]).split("@"), entry) for entry in Calendar.from_ical(answer.text).walk("VEVENT")]
    assert len({domain for (_, domain), _ in found}) <= 1
    return {name: entry for (name, _), entry in found}


def named(found: Mapping[str, Any]) -> dict[str, Any]:
    return {uid.partition("@")[0]: entry for uid, entry in found.items()}


async def session_of(client: Person, coach: Person, *, in_days: int = 3, notes: str | None = None) -> dict[str, Any]:
    uuid = (await coach.get("/profile")).json()["uuid"]
    at = (datetime.now(UTC) + timedelta(days=in_days)).replace(hour=10, minute=0, second=0, microsecond=0)
    wanted = {"coach_id": uuid, "session_datetime": at.isoformat(), "duration_minutes": 60, "notes": notes}
    answer = await client.post("/booking", json=wanted)
    assert answer.status_code == 201, answer.text
    booked: dict[str, Any] = answer.json()
    return booked


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


NOT_FOUND = (404, "Calendar not found")


async def test_feed_contains_all_bookings_with_the_uids_of_the_invitations(
    api: httpx.AsyncClient, people: People
) -> None:
    john, ada = await people.facilitator("Mira Sol"), await people.user()
    event = await john.creates_event(title="Morning Yoga")
    booking = await ada.books(event["id"])
    session = await session_of(ada, john, notes="Career; questions, and <b>more</b>")

    hers = await entries(api, await opened(ada))
    assert hers.keys() == {f"booking-{booking['id']}", f"coaching-{session['id']}"}
    place, appointment = hers[f"booking-{booking['id']}"], hers[f"coaching-{session['id']}"]
    assert (place["SUMMARY"], place["STATUS"], place["LOCATION"]) == ("Morning Yoga", "CONFIRMED", "Studio B")
    assert (appointment["SUMMARY"], appointment["STATUS"]) == ("Coaching with Mira Sol", "TENTATIVE")
    assert appointment["DTSTART"].dt == datetime.fromisoformat(session["session_datetime"])
    assert str(appointment["DESCRIPTION"]).startswith("Career; questions, and <b>more</b>")
    assert "ATTENDEE" not in appointment
    assert "ORGANIZER" not in appointment

    his = await entries(api, await opened(john))
    assert his.keys() == {f"event-{event['id']}", f"coaching-{session['id']}"}
    assert his[f"coaching-{session['id']}"]["SUMMARY"] == "Coaching with Ada Lovelace"


async def an_hour_passes(database: asyncpg.Connection) -> None:
    for table in ("events", "bookings"):
        await database.execute(f"UPDATE {table} SET created_at = created_at - interval '1 hour'")


async def test_change_increases_the_sequence_of_the_entry(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    john, ada = await people.facilitator(), await people.user()
    event = await john.creates_event()
    await ada.books(event["id"])
    await an_hour_passes(database)
    path = await opened(ada)
    [(uid, before)] = (await entries(api, path)).items()
    assert (await john.put(f"/events/{event['id']}", {"location": "Garden"})).is_success
    [(same, after)] = (await entries(api, path)).items()
    assert same == uid
    assert after["SEQUENCE"] > before["SEQUENCE"]
    assert after["LOCATION"] == "Garden"
    assert before["LAST-MODIFIED"].dt == before["DTSTAMP"].dt
    assert after["LAST-MODIFIED"].dt == after["DTSTAMP"].dt
    updated_at = await database.fetchval("SELECT updated_at FROM events WHERE id = $1", event["id"])
    assert after["DTSTAMP"].dt == updated_at.replace(microsecond=0) > before["DTSTAMP"].dt
    [(_, own)] = (await entries(api, await opened(john))).items()
    assert own["LAST-MODIFIED"].dt == own["DTSTAMP"].dt == updated_at.replace(microsecond=0)


async def test_entry_keeps_its_uid_when_the_public_url_changes(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    paths: list[str] = []

    async def uids(public_url: str) -> set[str]:
        app = create_app(make_settings(public_url=public_url))
        async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
            if not paths:
                people = People(api)
                john, ada = await people.facilitator(), await people.user()
                await session_of(ada, john)
                await ada.books((await john.creates_event())["id"])
                paths.extend([await opened(ada), await opened(john)])
            feeds = [Calendar.from_ical((await api.get(path)).text) for path in paths]
            return {str(entry["UID"]) for feed in feeds for entry in feed.walk("VEVENT")}

    first = await uids("https://book.example.org")
    assert {uid.partition("-")[0] for uid in first} == {"booking", "coaching", "event"}
    assert not any("example" in uid for uid in first)
    assert await uids("https://events.example.com") == first
    mailed = await database.fetch(
        """SELECT coalesce(snapshot -> 'booking' ->> 'uid', snapshot -> 'coaching' ->> 'uid') AS uid FROM outbox
           WHERE destination = 'email' AND fact <> 'email_verification'"""
    )
    assert {row["uid"] for row in mailed} == {uid for uid in first if not uid.startswith("event")}


async def test_earlier_deployment_keeps_the_host_of_its_uids(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    await database.execute("TRUNCATE calendar_identity")
    old = make_settings(public_url="https://book.example.org")
    async with serving(create_app(old)) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api)
        john, ada = await people.facilitator(), await people.user()
        booking = await ada.books((await john.creates_event())["id"])
        path = await opened(ada)
        before = [str(entry["UID"]) for entry in (await entries(api, path)).values()]
    assert before == [f"booking-{booking['id']}@book.example.org"]
    for settings in (old, make_settings(public_url="https://events.example.com")):
        parts = container.build_deliveries(settings)
        await parts.calendar_identity.store()
        await parts.close()
    new = make_settings(public_url="https://events.example.com")
    async with serving(create_app(new)) as address, httpx.AsyncClient(base_url=address) as api:
        assert [str(entry["UID"]) for entry in (await entries(api, path)).values()] == before
    [message] = await database.fetch(
        """SELECT snapshot FROM outbox
           WHERE fact = 'booking_created' AND destination = 'email' AND NOT snapshot ? 'recipient'"""
    )
    assert json.loads(message["snapshot"])["booking"]["uid"] is None


async def test_unpaid_seat_is_tentative_until_paid(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    app = create_app(make_settings(payment_provider="sandbox"))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api)
        john, ada = await people.facilitator(), await people.user()
        booking = await ada.books((await john.creates_event())["id"])
        free = await ada.books((await john.creates_event(price=0))["id"])
        await an_hour_passes(database)
        path = await opened(ada)
        name = f"booking-{booking['id']}"
        before = await entries(api, path)
        assert before[name]["STATUS"] == "TENTATIVE"
        assert "meet.google.com" not in str(before[name].to_ical())
        assert before[f"booking-{free['id']}"]["STATUS"] == "CONFIRMED"
        answer = await john.post(f"/facilitator/bookings/{booking['id']}/payment", {"payment_status": "completed"})
        assert answer.is_success, answer.text
        after = (await entries(api, path))[name]
        assert after["STATUS"] == "CONFIRMED"
        assert "meet.google.com" in str(after.to_ical())
        assert after["SEQUENCE"] > before[name]["SEQUENCE"]
        received_at = await database.fetchval("SELECT max(received_at) FROM payments")
        assert after["DTSTAMP"].dt == received_at.replace(microsecond=0) > before[name]["DTSTAMP"].dt


async def test_new_address_revokes_the_old_one(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    ada = await people.user()
    first = await opened(ada)
    second = await opened(ada)
    assert first != second
    assert refused(await api.get(first)) == NOT_FOUND
    assert (await api.get(second)).status_code == 200
    answer = await ada.delete("/calendar/feed")
    assert (answer.status_code, answer.content) == (204, b"")
    assert refused(await api.get(second)) == NOT_FOUND
    assert (await api.head(second)).status_code == 404
    assert (await ada.delete("/calendar/feed")).status_code == 204
    third = await opened(ada)
    token = third.rpartition("/")[2].removesuffix(".ics")
    rows = await database.fetch("SELECT * FROM calendar_feeds")
    assert token not in str(rows)
    assert len(rows[0]["fingerprint"]) == 32
    await database.execute("UPDATE users SET is_active = false WHERE id = $1", ada.id)
    assert refused(await api.get(third)) == NOT_FOUND


async def test_feed_address_ends_with_all_logins(api: httpx.AsyncClient, people: People) -> None:
    ada, bob = await people.user(), await people.user()
    hers, his = await opened(ada), await opened(bob)
    assert (await ada.post("/auth/logout")).status_code == 200
    assert (await api.get(hers)).status_code == 200, "another log-out is of one login"
    changed = {"current_password": PASSWORD, "new_password": "another password"}
    assert (await bob.post("/auth/password", changed)).status_code == 200
    assert refused(await api.get(his)) == NOT_FOUND
    eve = await people.user()
    theirs = await opened(eve)
    assert (await eve.post("/auth/logout", {"everywhere": True})).status_code == 200
    assert refused(await api.get(theirs)) == NOT_FOUND


@pytest.mark.parametrize(
    "change", [lambda path: path.removesuffix(".ics"), lambda path: path + "x", str.upper, str.lower]
)
async def test_changed_feed_address_is_not_found(
    api: httpx.AsyncClient, people: People, change: Callable[[str], str]
) -> None:
    path = await opened(await people.user())
    head, _, last = path.rpartition("/")
    assert refused(await api.get(f"{head}/{change(last)}")) == NOT_FOUND
    assert refused(await api.get(f"{head}/%ff%fe.ics")) == NOT_FOUND


async def test_feed_requires_a_login_to_be_opened(api: httpx.AsyncClient) -> None:
    assert refused(await api.post("/calendar/feed")) == (401, "Not authenticated")
    assert refused(await api.delete("/calendar/feed")) == (401, "Not authenticated")


async def test_conditional_request_returns_304(api: httpx.AsyncClient, people: People) -> None:
    john = await people.facilitator()
    await john.creates_event()
    path = await opened(john)
    first = await api.get(path)
    assert first.headers["content-type"] == "text/calendar; charset=utf-8"
    assert first.headers["cache-control"] == "private, no-cache"
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"else", {etag}', "*"):
        again = await api.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await api.get(path, headers={"If-None-Match": '"else"'})).status_code == 200
    await john.creates_event()
    changed = await api.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    head = await api.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_feed_secret_is_not_logged(
    make_settings: Callable[..., Settings], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        app = create_app(make_settings(log_level="info"))
        async with serving(app) as address, httpx.AsyncClient(base_url=address) as api:
            path = await opened(await People(api).user())
            await api.get(path)
            await api.get(path + "/more")
    finally:
        configure_logging("warning")
    said = capfd.readouterr().err
    paths = [json.loads(line)["path"] for line in said.splitlines() if '"request"' in line]
    assert paths[-2:] == ["/calendar/feed/…"] * 2
    assert path.rpartition("/")[2].removesuffix(".ics") not in said
    assert shown("/calendar/feed") == "/calendar/feed"


async def test_feed_is_parsed_by_other_programs(api: httpx.AsyncClient, people: People) -> None:
    john, ada = await people.facilitator('Mira "Sol"; x'), await people.user()
    await ada.books((await john.creates_event(title="योग सत्र 🧘, \\ ; long " + "x" * 150))["id"])
    await session_of(ada, john, notes="one\ntwo")
    text = (await api.get(await opened(ada))).text
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert "\r\nREFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in text
    assert "\r\nMETHOD" not in text
    calendar = vobject.readOne(text)
    said = {entry.summary.value: entry for entry in calendar.vevent_list}
    assert said.keys() == {"योग सत्र 🧘, \\ ; long " + "x" * 150, 'Coaching with Mira "Sol"; x'}
    assert said['Coaching with Mira "Sol"; x'].description.value.startswith("one\ntwo\n\nBooking ")


@pytest.fixture
async def calendar_server(tmp_path: Path) -> AsyncIterator[CalendarServer]:
    async with running_calendar_server(tmp_path) as server:
        yield server


async def test_calendar_server_accepts_every_entry_and_finds_it_by_time(
    api: httpx.AsyncClient, people: People, calendar_server: CalendarServer
) -> None:
    john, ada = await people.facilitator(), await people.user()
    event = await john.creates_event(in_days=3, title="Morning Yoga")
    booking = await ada.books(event["id"])
    session = await session_of(ada, john, in_days=5)
    path = await opened(ada)
    for entry in (await entries(api, path)).values():
        await calendar_server.put(str(entry["UID"]), entry)

    now = datetime.now(UTC)
    found = named(await calendar_server.between(now, now + timedelta(days=30)))
    assert found.keys() == {f"booking-{booking['id']}", f"coaching-{session['id']}"}
    appointment = found[f"coaching-{session['id']}"]
    assert (appointment["SUMMARY"], appointment["STATUS"]) == ("Coaching with John Facilitator", "TENTATIVE")
    assert appointment["DTSTART"].dt == datetime.fromisoformat(session["session_datetime"])

    # Moved by the facilitator: the same entry, put again, is found at its new time only.
    starts = now.replace(microsecond=0) + timedelta(days=20)
    moved = {"start_datetime": starts.isoformat(), "end_datetime": (starts + timedelta(hours=1)).isoformat()}
    assert (await john.put(f"/events/{event['id']}", moved)).is_success
    uid = f"booking-{booking['id']}"
    entry = (await entries(api, path))[uid]
    await calendar_server.put(str(entry["UID"]), entry)
    assert uid not in named(await calendar_server.between(now, now + timedelta(days=10)))
    found = named(await calendar_server.between(now + timedelta(days=10), now + timedelta(days=30)))
    assert [entry["DTSTART"].dt for entry in found.values()] == [starts]
