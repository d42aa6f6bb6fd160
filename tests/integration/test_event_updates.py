"""A new title, time, place or link of an event goes to every participant with an update of their calendar entry."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import asyncpg
import httpx
import pytest
from icalendar import Calendar, Component

from domain.outbox import Destination, MessageType
from infrastructure.email.composer import MailComposer
from tests.support.messages import a_message
from tests.support.people import People, Person
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="no-reply@convene.example", public_url="https://book.example.org")
BEFORE = {
    "title": "Morning Yoga",
    "starts_at": "2026-12-01T10:00:00+00:00",
    "ends_at": "2026-12-01T11:30:00+00:00",
    "location": "Studio B",
    "virtual_link": "https://meet.example.com/abc",
}
CHANGES: dict[str, dict[str, Any]] = {
    "name": {"title": "Evening {title} Yoga"},
    "time": {"starts_at": "2026-12-02T10:00:00+00:00", "ends_at": "2026-12-02T11:30:00+00:00"},
    "place": {"location": "Garden"},
    "link": {"virtual_link": "https://meet.example.com/new"},
}


def composed(*names: str) -> EmailMessage:
    event = {name: value for changed in names for name, value in CHANGES[changed].items()}
    message = a_message(MessageType.BOOKING_MOVED, destination=Destination.EMAIL, event=event, before=BEFORE)
    return received(COMPOSER.compose(message))


def lines_of(mail: EmailMessage) -> list[str]:
    body = mail.get_body(("plain",))
    assert body is not None
    content: str = body.get_content()
    return content.splitlines()


def entry_of(mail: EmailMessage) -> Component:
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = Calendar.from_ical(part.get_content())
    assert calendar["METHOD"] == "REQUEST"
    [entry] = calendar.walk("VEVENT")
    return entry


@pytest.mark.parametrize(
    "names", [names for count in range(1, 5) for names in itertools.combinations(CHANGES, count)], ids="+".join
)
def test_subject_names_the_changed_fields(names: tuple[str, ...]) -> None:
    mail = composed(*names)
    title = "Evening {title} Yoga" if "name" in names else "Morning Yoga"
    *first, last = names
    listed = f"{', '.join(first)} and {last}" if first else last
    assert mail["Subject"] == f"New {listed}: {title}"
    lines = lines_of(mail)
    sentence = next(line for line in lines if "Your booking stays valid" in line)
    assert all(name in sentence for name in names)
    assert ("Previous name: Morning Yoga" in lines) == ("name" in names)
    assert ("Previous time: Tuesday, 1 December 2026, 10:00 to 11:30 UTC" in lines) == ("time" in names)
    assert ("Previous place: Studio B" in lines) == ("place" in names)
    entry = entry_of(mail)
    assert entry["SUMMARY"] == title
    assert entry["LOCATION"] == ("Garden" if "place" in names else "Studio B")
    assert ("Join online: https://meet.example.com/new" in lines) == ("link" in names)


def test_message_without_changed_fields_can_be_mailed() -> None:
    mail = received(COMPOSER.compose(a_message(MessageType.BOOKING_MOVED, destination=Destination.EMAIL)))
    assert mail["Subject"] == "Changed: Morning Yoga"


@pytest.fixture
async def booked(shared_people: People, ada: Person) -> tuple[Person, dict[str, Any]]:
    john = await shared_people.facilitator()
    event = await john.creates_event(title="Yoga")
    await ada.books(event["id"])
    return john, event


async def updates(database: asyncpg.Connection, event: dict[str, Any]) -> list[str]:
    """What was written into the outbox about the event since it was booked."""
    rows = await database.fetch(
        """SELECT fact, destination FROM outbox WHERE (snapshot -> 'event' ->> 'id')::bigint = $1
           AND fact NOT IN ('booking_created', 'event_created') ORDER BY seq""",
        event["id"],
    )
    return [f"{row['fact']} {row['destination']}" for row in rows]


UPDATED = ["event_updated crm", "booking_moved email"]


def _moved(event: dict[str, Any]) -> dict[str, Any]:
    starts, ends = (datetime.fromisoformat(event[name]) for name in ("start_datetime", "end_datetime"))
    day = timedelta(days=1)
    return {"start_datetime": (starts + day).isoformat(), "end_datetime": (ends + day).isoformat()}


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("/events", lambda _: {"title": "Renamed"}, UPDATED),
        ("/events", _moved, UPDATED),
        ("/events", lambda _: {"location": "Garden"}, UPDATED),
        ("/events", lambda _: {"location": None}, UPDATED),
        ("/events", lambda _: {"virtual_link": "https://meet.example.com/new"}, UPDATED),
        ("/events", lambda _: {"virtual_link": None}, UPDATED),
        ("/api/sessions", lambda _: {"title": "Renamed"}, UPDATED),
        ("/events", lambda _: {"price": 31}, []),
        ("/events", lambda _: {"description": "Other"}, []),
        ("/events", lambda _: {"max_participants": 20}, []),
        ("/events", lambda _: {"category": "Other"}, []),
        ("/events", lambda _: {"title": "Yoga"}, []),
        ("/events", lambda _: {}, []),
    ],
)
async def test_participants_and_crm_get_visible_changes_only(
    shared_database: asyncpg.Connection,
    booked: tuple[Person, dict[str, Any]],
    path: str,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    expected: list[str],
) -> None:
    john, event = booked
    answer = await john.put(f"{path}/{event['id']}", change(event))
    assert answer.is_success, answer.text
    assert await updates(shared_database, event) == expected


async def test_cancelled_booking_gets_no_update_and_an_entry_keeps_its_uid(
    shared_api: httpx.AsyncClient,
    shared_people: People,
    shared_database: asyncpg.Connection,
    booked: tuple[Person, dict[str, Any]],
) -> None:
    john, event = booked
    bela = await shared_people.user("Bela")
    booking = await bela.books(event["id"])
    assert (await bela.post(f"/bookings/{booking['id']}/cancel")).is_success
    for title in ("First", "Second"):
        assert (await john.put(f"/events/{event['id']}", {"title": title})).is_success
    rows = await shared_database.fetch(
        """SELECT snapshot -> 'booking' ->> 'uid' AS uid, snapshot -> 'before' ->> 'title' AS before,
                  (snapshot -> 'event' ->> 'version')::int AS version
           FROM outbox WHERE destination = 'email' AND (snapshot -> 'event' ->> 'id')::bigint = $1
             AND (snapshot -> 'booking' ->> 'id')::bigint <> $2 ORDER BY seq""",
        *(event["id"], booking["id"]),
    )
    assert [row["before"] for row in rows] == [None, "Yoga", "First"]
    assert len({row["uid"] for row in rows}) == 1
    versions = [row["version"] for row in rows]
    assert versions == sorted(set(versions))


async def test_ended_event_can_be_renamed_without_mails(
    shared_database: asyncpg.Connection, booked: tuple[Person, dict[str, Any]]
) -> None:
    john, event = booked
    await shared_database.execute(
        "UPDATE events SET starts_at = now() - interval '2 hours', ends_at = now() - interval '1 hour' WHERE id = $1",
        event["id"],
    )
    assert (await john.put(f"/events/{event['id']}", {"title": "Renamed"})).is_success
    assert await updates(shared_database, event) == ["event_updated crm"]
