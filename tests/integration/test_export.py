"""The export of an account, read from the ZIP file that the API sends."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from zipfile import ZipFile

import httpx
import pyotp
import pytest

from domain.accounts import UserId
from domain.errors import Unavailable
from infrastructure.postgres.accounts import personal_data_queries
from infrastructure.postgres.accounts.personal_data_queries import SECTIONS, PostgresPersonalData
from infrastructure.postgres.engine import Database
from tests.support.appointments import a_price_for, free_hour, uuid_of, wanted
from tests.support.people import PASSWORD, People, Person

SECRETS = ("password_hash", "fingerprint", "tokens", "token_version", "prefix", "secret", "credential_id", "public_key")
"""Columns that no export shows."""


def read(answer: httpx.Response) -> ZipFile:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream"), answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="export.zip"'
    return ZipFile(io.BytesIO(answer.content))


async def exported(person: Person) -> dict[str, Any]:
    """The records by section."""
    archive = read(await person.get("/profile/export"))
    assert archive.testzip() is None
    return {name[:-5]: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")}


@pytest.fixture
async def coach(shared_people: People, shared_database_url: str) -> Person:
    """A facilitator whose time can be booked."""
    coach = await shared_people.facilitator("Grace Hopper")
    await a_price_for(shared_database_url, await uuid_of(coach))
    return coach


@pytest.fixture
async def client(shared_people: People, coach: Person) -> Person:
    """Has a paid booking, an appointment and a file."""
    client = await shared_people.user("Ada Lovelace")
    event = await coach.creates_event(price=25)
    answer = await client.post("/bookings", {"event_id": event["id"], "notes": "I bring a mat"})
    assert answer.status_code == 201, answer.text
    session = wanted(await uuid_of(coach), free_hour(), notes="My knee")
    answer = await client.post("/booking", session)
    assert answer.status_code == 201, answer.text
    path = f"/booking/{answer.json()['id']}/attachments"
    file = {"file": ("plan.txt", b"run a little", "text/plain")}
    answer = await client.api.post(path, headers=client.headers, files=file)
    assert answer.status_code == 201, answer.text
    return client


async def test_export_has_what_is_stored_and_nothing_of_others(client: Person, coach: Person) -> None:
    archive = read(await client.get("/profile/export"))
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    files = [name for name in texts if name.startswith("files/")]
    assert [texts[name] for name in files] == ["run a little"]
    found = {name[:-5]: json.loads(text) for name, text in texts.items() if name not in files}
    assert found.keys() == SECTIONS.keys()

    (profile,) = found["profile"]
    assert (profile["email"], profile["name"]) == (client.email, client.name)
    (booking,) = found["bookings"]
    assert (booking["notes"], booking["price"], booking["event"]) == ("I bring a mat", "25.0000", "New Yoga Session")
    (appointment,) = found["appointments"]
    assert (appointment["notes"], appointment["you_are"]) == ("My knee", "client")
    assert [payment["booking"] for payment in found["payments"]] == [booking["reference"], None]
    assert [file["filename"] for file in found["files"]] == ["plan.txt"]
    assert {message["type"] for message in found["messages"]} == {"booking_created"}
    assert "account.exported" in {entry["action"] for entry in found["audit"]}
    for name in ("sessions", "reminders", "appointment_changes"):
        assert found[name], name

    everything = "".join(texts.values())
    assert coach.name not in everything
    assert coach.email not in everything
    assert not [name for name in SECRETS if f'"{name}"' in everything]


async def test_export_has_keys_and_second_factors_without_their_secrets(shared_people: People) -> None:
    person = await shared_people.user()
    for name in ("calendar sync", "revoked"):
        key = (await person.post("/api-keys", {"name": name, "scopes": ["bookings:read"]})).json()
    assert (await person.delete(f"/api-keys/{key['id']}")).status_code == 204
    factor = (await person.post("/auth/factors/totp", {"name": "Phone", "password": PASSWORD})).json()
    unconfirmed = await exported(person)
    code = {"code": pyotp.TOTP(factor["secret"]).now()}
    assert (await person.post(f"/auth/factors/totp/{factor['id']}/confirm", code)).status_code == 200
    found = await exported(person)

    assert [(each["name"], each["scopes"], each["revoked_at"] is None) for each in found["api_keys"]] == [
        ("calendar sync", ["bookings:read"], True),
        ("revoked", ["bookings:read"], False),
    ]
    assert found["api_keys"][0].keys() >= {"created_at", "last_used_at", "expires_at"}
    (phone,) = found["second_factors"]
    assert (phone["kind"], phone["name"], phone["last_used_at"]) == ("totp", "Phone", None)
    assert unconfirmed["second_factors"] == []
    everything = json.dumps(found)
    assert key["key"] not in everything
    assert factor["secret"] not in everything
    assert not [name for name in SECRETS if f'"{name}"' in everything]


async def test_facilitators_export_has_their_own_side(client: Person, coach: Person) -> None:
    found = await exported(coach)
    assert [event["title"] for event in found["events"]] == ["New Yoga Session"]
    assert [appointment["you_are"] for appointment in found["appointments"]] == ["coach"]
    assert found["profile"][0]["coach"]["timezone"] == "UTC"
    assert found["bookings"] == found["payments"] == found["files"] == []
    assert client.email not in json.dumps(found)


async def test_long_section_comes_in_parts(
    shared_people: People, coach: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await shared_people.user()
    monkeypatch.setattr(personal_data_queries, "PART", 2)
    for number in range(5):
        found = await exported(client)
        assert len(found["bookings"]) == number
        event = await coach.creates_event(in_days=number + 1)
        await client.books(event["id"])


class WaitingArchive:
    """Accepts the first part when it is told to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def add_records(self, section: str, records: Sequence[str]) -> None:
        self.began.set()
        await self.may_go_on.wait()

    async def add_file(self, name: str, content: bytes) -> None:
        raise AssertionError("the account has no file")


@pytest.fixture
async def own_database(shared_database_url: str) -> AsyncIterator[Database]:
    database = Database(shared_database_url)
    yield database
    await database.close()


async def test_process_makes_one_export_at_a_time(own_database: Database) -> None:
    """Each keeps a connection until it is complete."""
    data, archive, person = PostgresPersonalData(own_database), WaitingArchive(), UserId(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(data.export(person, archive))
        await archive.began.wait()
        with pytest.raises(Unavailable):
            await data.export(person, WaitingArchive())
        archive.may_go_on.set()
    await data.export(person, archive)


async def test_export_needs_a_login(shared_api: httpx.AsyncClient) -> None:
    assert (await shared_api.get("/profile/export")).status_code == 401
