"""An account that has used everything is erased: afterwards nothing that identifies its owner is stored anywhere, in
the booking system and in the CRM."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx
import pyotp
import pytest
from redis.asyncio import Redis

from application.audit.ports import UNKEYED_TRAIL
from domain.accounts import UserId
from domain.outbox import Destination
from infrastructure.container import DeliveryParts, build_deliveries
from infrastructure.container.erasure import STATEMENTS
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.observability.logging import configure_logging
from infrastructure.postgres.erasure.statements import run
from infrastructure.postgres.erasure.store import PostgresErasureStore, values_of
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from servicekit.database import Connection
from tests.conftest import a_client
from tests.crm.fixtures import _a_database as a_crm_database
from tests.crm.parts import TOKEN, connected, running_crm
from tests.crm.parts import settings_for as crm_settings_for
from tests.support.appointments import a_price_for, free_hour, uuid_of, wanted
from tests.support.calendar_grants import BACK
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.http import serving
from tests.support.messages import deliver_due, until
from tests.support.people import PASSWORD, Person, event
from tests.support.person_search import PersonSearch
from tests.support.process_harness import LONG_RUN
from tests.support.receivers import receiving

NAME = "Zoë Quillfeather-Ōkubo"
FORMER_NAME = "Zenobia Thistlewood"
PHONE = "+49 170 5550199"
EMAIL = "zoe.quillfeather@example.net"
FORMER_EMAIL = "zenobia.t@example.org"
SAID = f"Ask {NAME}, {EMAIL}, {PHONE}"
CONTROLS = ("change_mails", "events", "outbox", "users")
"""Tables whose statements are omitted in every run; a long run omits those of each table."""
DELETED_WITH_ANOTHER = {"delivery_attempts", "calendar_entries"}
SEARCH = PersonSearch(NAME, FORMER_NAME, PHONE, EMAIL, FORMER_EMAIL)


@dataclass(frozen=True, slots=True)
class Crm:
    """What the CRM stores. `data` has the files of its mails."""

    database: asyncpg.Connection
    data: Path

    async def found(self) -> set[str]:
        """The tables that name the person, and `mail`."""
        await until(
            lambda: self.database.fetchval("SELECT NOT EXISTS (SELECT FROM notifications WHERE status = 'pending')")
        )
        found = {name.partition(".")[0] for name in await SEARCH.in_database(self.database)}
        return found | ({"mail"} if SEARCH.in_files(self.data) else set())


@dataclass
class Installation:
    settings: Settings
    api: httpx.AsyncClient
    database: asyncpg.Connection
    parts: DeliveryParts
    crm: Crm
    calendar: FakeGoogleCalendar
    public_url: str
    zoe: Person = field(init=False)
    grace: Person = field(init=False)
    bob: Person = field(init=False)

    async def work(self) -> None:
        """Everything that a worker would deliver."""
        while await self.database.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')"):
            for destination in Destination:
                await deliver_due(self.parts.deliver_due, destination)

    async def erase(self) -> int:
        """What a worker does until the account is erased; returns the number of attempts."""
        for attempt in range(1, 10):
            if await self.parts.carry_out_erasures():
                return attempt
            await self.work()
        raise AssertionError(await self.database.fetch("SELECT * FROM outbox WHERE status = 'pending'"))

    async def registers(self, name: str, email: str, role: str) -> Person:
        body = {"email": email, "password": PASSWORD, "name": name, "role": role}
        answer = await self.api.post("/auth/register", json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.status_code == 201, answer.text
        await self.database.execute("UPDATE users SET is_verified = true WHERE email = $1", email)
        return await self.logs_in(name, email)

    async def logs_in(self, name: str, email: str) -> Person:
        answer = await self.api.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Person(self.api, body["user"]["id"], name, email, body["access_token"], body["refresh_token"])

    async def connects_calendar(self, person: Person) -> None:
        asked = await person.get("/calendar/google/auth-url", params={"redirect_uri": BACK})
        code, state = self.calendar.grants.consent(asked.json()["auth_url"])
        answer = await person.api.post(
            "/calendar/google/exchange-token",
            params={"redirect_uri": BACK},
            headers=person.headers,
            json={"code": code, "state": state},
        )
        assert answer.status_code == 200, answer.text

    async def pays(self, url: str) -> None:
        answer = await self.api.post(f"{url.removeprefix(self.public_url)}/paid")
        assert answer.status_code == 303, answer.text
        await deliver_due(self.parts.deliver_due, Destination.PAYMENTS)


async def ok(answer: Any) -> Any:
    answer = await answer
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


@pytest.fixture
async def crm_dsn(postgres: EmbeddedPostgres) -> str:
    return await a_crm_database(postgres)


@pytest.fixture
async def installation(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection, crm_dsn: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    crm_settings = crm_settings_for(crm_dsn, CONVENE_DATA=str(tmp_path))
    async with receiving() as google, running_crm(crm_settings) as crm, connected(crm_dsn) as crm_database:
        calendar = FakeGoogleCalendar(google)
        google.behave = calendar.behave
        settings = make_shared_settings(
            **calendar.settings,
            crm_service_url=str(crm.base_url),
            crm_bearer_token=TOKEN,
            payment_provider="sandbox",
            public_url="http://127.0.0.1:5000",
            rate_limit_enabled="true",
            change_mail_merge_minutes="5",
        )
        parts = build_deliveries(settings)
        async with serving(create_app(settings)) as address, a_client(address) as api:
            stored = Crm(crm_database, tmp_path)
            yield Installation(settings, api, emptied_database, parts, stored, calendar, settings.public_url)
        await parts.close()


async def has_used_everything(at: Installation) -> None:
    at.grace = await at.registers("Grace Hopper", "grace@example.com", "facilitator")
    at.bob = await at.registers("Bob Noyce", "bob@example.com", "user")
    zoe = await at.registers(FORMER_NAME, FORMER_EMAIL, "user")
    await uses_account(at, zoe)
    await books_as_client(at)
    await appoints_as_client(at)
    await at.database.execute("UPDATE users SET role = 'facilitator' WHERE id = $1", zoe.id)
    await at.database.execute("INSERT INTO facilitator_profiles (user_id, bio) VALUES ($1, $2)", zoe.id, SAID)
    await offers_as_facilitator(at)
    await appoints_as_coach(at)
    await at.work()


async def uses_account(at: Installation, zoe: Person) -> None:
    await ok(
        at.api.put("/profile", headers=zoe.headers | {"Idempotency-Key": "1"}, json={"name": NAME, "phone": PHONE})
    )
    for password in ("wrong", PHONE):
        await at.api.post("/auth/login", json={"email": FORMER_EMAIL, "password": password})
    await ok(zoe.post("/profile/email", {"email": EMAIL, "password": PASSWORD}))
    await at.work()
    await at.database.execute("UPDATE users SET email = $1 WHERE id = $2", EMAIL, zoe.id)
    at.zoe = zoe = await at.logs_in(NAME, EMAIL)
    await ok(at.api.post("/auth/password/forgot", json={"email": EMAIL}))
    await ok(zoe.post("/api-keys", {"name": f"Key of {NAME}", "scopes": ["bookings:read"]}))
    started = await ok(zoe.post("/auth/factors/totp", {"name": f"Phone of {NAME}", "password": PASSWORD}))
    code = pyotp.TOTP(started["secret"]).now()
    await ok(zoe.post(f"/auth/factors/totp/{started['id']}/confirm", {"code": code}))
    await ok(zoe.post("/calendar/feed"))
    await at.work()


async def books_as_client(at: Installation) -> None:
    """A paid seat, an unpaid one, an invitation, and an event that is over with a review."""
    for number, pays in enumerate((True, False)):
        created = await at.grace.creates_event(title=f"Class {number}")
        body = {"event_id": created["id"], "notes": f"{SAID} {number}"}
        booked = await ok(at.zoe.post("/bookings", body, key=f"book {number}"))
        if pays:
            await at.pays(booked["payment_url"])
        other = await ok(at.bob.post("/bookings", {"event_id": created["id"]}))
        await at.pays(other["payment_url"])
        body = {"subject": f"About {NAME}", "text": f"Hello\n{NAME} ({EMAIL}, {PHONE}) brings tea"}
        await ok(at.grace.post(f"/facilitator/events/{created['id']}/messages", body))
    over = await at.grace.creates_event(title="Over", price=0)
    await at.zoe.books(over["id"])
    await at.database.execute(
        """UPDATE events SET starts_at = now() - interval '2 h', ends_at = now() - interval '1 h' WHERE id = $1""",
        over["id"],
    )
    await at.parts.complete_bookings()
    await ok(at.zoe.post(f"/events/{over['id']}/reviews", {"rating": 5, "comment": SAID}))
    invited = await at.grace.creates_event(title="Invited", price=0)
    body = {"name": NAME, "email": EMAIL}
    await ok(at.grace.post(f"/facilitator/events/{invited['id']}/bookings", body))


async def appoints_as_client(at: Installation) -> None:
    coach = await uuid_of(at.grace)
    await a_price_for(at.settings.database_url, coach)
    await at.connects_calendar(at.zoe)
    await at.connects_calendar(at.grace)
    for number in range(2):
        booked = await ok(at.zoe.post("/booking", wanted(coach, free_hour(), notes=f"{SAID} {number}")))
        await ok(at.zoe.patch(f"/booking/{booked['id']}", {"notes": f"Changed. {SAID}"}))
        file = {"file": (f"{NAME}.txt", SAID.encode(), "text/plain")}
        path = f"/booking/{booked['id']}/attachments"
        answer = await at.api.post(path, headers=at.zoe.headers, files=file)
        assert answer.status_code == 201, answer.text
        if booked.get("payment_url"):
            await at.pays(booked["payment_url"])
    await at.work()
    # One is over: nothing cancels it, and its entry is still in the calendars.
    await at.database.execute(
        """UPDATE coaching_bookings SET status = 'completed', starts_at = starts_at - interval '9 days',
           ends_at = ends_at - interval '9 days', busy_from = busy_from - interval '9 days',
           busy_until = busy_until - interval '9 days' WHERE id = $1""",
        booked["id"],
    )


async def offers_as_facilitator(at: Installation) -> None:
    """An event that is ahead and one that is over, with a participant each."""
    for ahead in (True, False):
        details = event(title=f"Yoga with {NAME}", description=SAID, location=f"At {NAME}'s", virtual_link=None)
        created = (await ok(at.zoe.post("/events", details)))["event"]
        booked = await ok(at.bob.post("/bookings", {"event_id": created["id"], "notes": "I bring tea"}))
        await at.pays(booked["payment_url"])
        body = {"subject": f"From {NAME}", "text": SAID}
        await ok(at.zoe.post(f"/facilitator/events/{created['id']}/messages", body))
        body = {"name": "Eve", "email": "eve@example.com"}
        await ok(at.zoe.post(f"/facilitator/events/{created['id']}/bookings", body))
        if not ahead:
            await at.database.execute(
                "UPDATE events SET starts_at = now() - interval '2 h', ends_at = now() - interval '1 h' WHERE id = $1",
                created["id"],
            )
            await at.parts.complete_bookings()
        else:
            await ok(at.api.put(f"/events/{created['id']}", headers=at.zoe.headers, json={"location": "Hall"}))
    await at.zoe.creates_event(title=f"Nobody comes to {NAME}")


async def appoints_as_coach(at: Installation) -> None:
    coach = await uuid_of(at.zoe)
    await a_price_for(at.settings.database_url, coach)
    booked = await ok(at.bob.post("/booking", wanted(coach, free_hour(), notes=f"With {NAME}")))
    await at.pays(booked["payment_url"])


async def assert_each_table_needs_its_statements(at: Installation) -> None:
    """The negative control: without the statements of a table, the search finds something there."""
    found_before = {name.partition(".")[0] for name in await SEARCH.in_database(at.database)}
    assert len(found_before) > 15, found_before
    store = PostgresErasureStore(at.parts.database, STATEMENTS, UNKEYED_TRAIL)
    zoe = UserId(at.zoe.id)
    uuid = await at.database.fetchval("SELECT uuid FROM users WHERE id = $1", zoe)
    values = values_of(zoe, uuid, await store.find_identifiers(zoe))
    every = sorted(found_before - DELETED_WITH_ANOTHER)
    for omitted in (None, *(every if LONG_RUN else CONTROLS)):
        statements = [each for each in STATEMENTS if not re.match(rf"(UPDATE|DELETE FROM) {omitted} ", each.strip())]
        transaction = at.database.transaction()
        await transaction.start()
        try:
            await run(cast(Connection, at.database), statements, values)
            found = {name.partition(".")[0] for name in await SEARCH.in_database(at.database)}
        finally:
            await transaction.rollback()
        assert omitted in found if omitted else not found, (omitted, found)


async def is_kept_without_a_name(at: Installation) -> None:
    """What others and the accounting need is still there."""
    rows = await at.database.fetch(
        """SELECT p.amount, p.status, p.refunded, u.name FROM payments p JOIN bookings b ON b.id = p.booking_id
           JOIN users u ON u.id = b.user_id WHERE u.id = $1 ORDER BY p.id""",
        at.zoe.id,
    )
    assert [tuple(row) for row in rows] == [(30, "refunded", 30, "Deleted user"), (30, "failed", 0, "Deleted user")]
    events = {each["id"]: each for each in (await ok(at.bob.get("/bookings")))["bookings"]}
    assert len(events) == 4
    yoga = await at.database.fetch("SELECT title, status FROM events WHERE facilitator_id = $1 ORDER BY id", at.zoe.id)
    assert [tuple(row) for row in yoga] == [
        ("Yoga with Deleted user", "cancelled"),
        ("Yoga with Deleted user", "active"),
        ("Deleted event", "cancelled"),
    ]
    assert not await at.database.fetchval("SELECT count(*) FROM calendar_connections WHERE user_id = $1", at.zoe.id)


async def asks_for_erasure(at: Installation, **body: str) -> httpx.Response:
    return await at.api.request("DELETE", "/profile", headers=at.zoe.headers, json=body)


async def test_nothing_that_identifies_the_person_is_left(
    installation: Installation, capfd: pytest.CaptureFixture[str]
) -> None:
    # Takes many seconds: the person uses everything over HTTP, with mails, payments and calendars.
    at = installation
    configure_logging("debug")
    try:
        await has_used_everything(at)
        await assert_each_table_needs_its_statements(at)
        answer = await asks_for_erasure(at, password=PASSWORD)
        assert answer.status_code == 202, answer.text
        assert (await at.zoe.get("/profile")).status_code == 401
        await at.erase()
        assert await at.crm.found() == {"notifications", "facilitators", "facilitator_events", "mail"}, "not sent yet"
        await at.work()
    finally:
        configure_logging("warning")
    assert await at.crm.found() == set()
    await is_kept_without_a_name(at)
    found = await SEARCH.in_database(at.database)
    assert found == {}
    assert SEARCH.in_files(Path(at.settings.convene_data)) == {}
    async with Redis.from_url(at.settings.redis_url) as redis:
        assert await SEARCH.in_redis(redis) == {}
    output = capfd.readouterr()
    assert SEARCH.found_in((output.out + output.err).encode()) == set()
