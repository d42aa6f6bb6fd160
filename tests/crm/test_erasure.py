"""After `user_erased` nothing in the CRM names the person: no row of any table, no mail file, no later message."""

import asyncio
import contextlib
import email
import email.policy
import re
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

import crm.app
import crm.notification_store
from crm.database import Database
from crm.erasure import rows
from crm.erasure.eraser import Eraser, ErasureUnfinished
from crm.facilitator_events import remember_event
from crm.notifications import read_notification
from crm.settings import CrmSettings
from servicekit.mail_transport import FileTransport
from tests.crm.parts import TOKEN, a_message, connected, running_crm, settings_for, until
from tests.support.processes import running_crm_process
from tests.support.servers import free_port
from tests.support.settings import DATABASE_TIMEOUT_SECONDS

GRACE = {"id": 7, "name": "Grace Hopper", "email": "grace.hopper@example.com"}
ADA = {"id": 5, "name": "Ada Lovelace", "email": "ada@example.com"}
JOHN = {"id": 2, "name": "John Doe", "email": "facilitator@example.com"}
NAMED = re.compile(r"grace|hopper|555-0100", re.IGNORECASE)


def erasure(user_id: int = 7) -> dict[str, Any]:
    return {
        "action": "user_erased",
        "message_id": str(uuid4()),
        "occurred_at": "2026-11-21T10:00:00Z",
        "user": {"id": user_id},
    }


def about(
    client: dict[str, Any], facilitator: dict[str, Any], booking: int | str = 12, **changes: Any
) -> dict[str, Any]:
    """A message about a booking, with fields that the CRM does not know."""
    message = a_message(booking_id=booking, user=client, facilitator=facilitator, facilitator_id=facilitator["id"])
    title = f"Coaching with {facilitator['name']}"
    event = {**message["event"], "id": facilitator["id"] * 10, "title": title, "facilitator_id": facilitator["id"]}
    notes = f"Dear {facilitator['name']}, please call {client['name']}"
    return {**message, "event": event, "notes": notes, "customer": {"phone": client.get("phone")}, **changes}


CLIENT = GRACE | {"phone": "555-0100"}
MESSAGES = {
    "client": about(CLIENT, JOHN),
    "client whose id is text": about(CLIENT | {"id": "7"}, JOHN, 13),
    "facilitator": about(ADA, GRACE, 14),
    "client and facilitator": about(CLIENT, GRACE, 15),
    "client of an appointment": about(CLIENT, JOHN, str(uuid4()), kind="coaching", email_facilitator=False),
    "coach": about(ADA, GRACE, str(uuid4()), kind="coaching", email_facilitator=False),
    "event": about(ADA, GRACE, action="event_updated", booking_id=None, user=None, notes="By Grace"),
    "mailed by the booking system": about(ADA, GRACE, 16, email_facilitator=False),
}
WEBHOOKS = {
    "client": {"booking_id": 21, "user": GRACE, "event": 7, "facilitator_id": 2, "phone": "555-0100"},
    "client by user_id": {"booking_id": 22, "user_id": 7, "user": {"name": "Grace"}, "event": 7, "facilitator_id": 2},
    "paid": {"booking_id": 23, "user": GRACE, "event": {"id": 7, "title": "Grace"}, "payment_status": "paid"},
    "facilitator": {"booking_id": 24, "user": ADA, "event": {"id": 7, "facilitator_id": 7, "host": "Grace"}},
}
OTHERS = about(ADA, JOHN, 30)


async def traces(dsn: str, data: Path) -> list[str]:
    """Where the person is named: in any column of any table, and in mail files."""
    found = []
    async with connected(dsn) as connection:
        for table in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            for row in await connection.fetch(f"SELECT t::text AS whole FROM {table[0]} t"):
                found += [f"{table[0]}: {row['whole']}"] if NAMED.search(row["whole"]) else []
    for path in (data / "mail").iterdir() if (data / "mail").is_dir() else ():
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        parts = [str(part.get_content()) for part in mail.walk() if not part.is_multipart()]
        whole = " ".join([path.name, *map(str, mail.values()), *parts])
        found += [f"{path.name}"] if NAMED.search(whole) else []
    return found


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> CrmSettings:
    """With mail files, and with a server for webhooks that is not there."""
    forward = {"FORWARD_FLASK_URL": f"http://127.0.0.1:{free_port()}/hook", "FORWARD_FLASK_TOKEN": "a-token"}
    return settings_for(dsn, CONVENE_DATA=str(tmp_path), **forward)


@pytest.fixture
async def client(settings: CrmSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running_crm(settings) as client:
        yield client


async def send(client: httpx.AsyncClient, body: dict[str, Any], key: str | None = None, path: str = "/notify") -> Any:
    answer = await client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def fill(client: httpx.AsyncClient) -> None:
    for key, message in MESSAGES.items():
        await send(client, message, key.replace(" ", "-"))
    for key, webhook in WEBHOOKS.items():
        await send(client, webhook, key.replace(" ", "-"), "/webhook")
    await send(client, OTHERS, "others")


async def fill_and_mail(client: httpx.AsyncClient, dsn: str) -> None:
    await fill(client)
    async with connected(dsn) as connection:
        await until(
            lambda: connection.fetchval("SELECT NOT EXISTS (SELECT FROM notifications WHERE status = 'pending')")
        )


async def others(dsn: str) -> Any:
    async with connected(dsn) as connection:
        return await connection.fetch("SELECT n::text FROM notifications n WHERE message_id = 'others'")


async def test_nothing_is_left_of_an_erased_user(client: httpx.AsyncClient, dsn: str, tmp_path: Path) -> None:
    await fill_and_mail(client, dsn)
    before, known = await traces(dsn, tmp_path), await others(dsn)
    tables = ("notifications", "crm_bookings", "crm_booking_deliveries", "facilitators", "facilitator_events")
    for kind in (*tables, "20"):  # names of mail files begin with the year
        assert any(trace.startswith(kind) for trace in before), kind
    assert await send(client, erasure()) == {"status": "erased", "message": "Personal data erased", "user_id": 7}
    assert await traces(dsn, tmp_path) == []
    assert await others(dsn) == known
    mails = [path.name for path in (tmp_path / "mail").iterdir()]
    assert len(mails) == 1, "the mail about the booking of another client is kept"

    listed = (await client.get("/notifications", params={"include": "events"})).json()
    shown = {item["message_id"].replace("-", " "): item for item in listed}
    assert shown["client"]["user_name"] == "Deleted user"
    assert shown["client"]["user_email"] is None
    assert shown["client"]["response"] == "Email sent successfully to facilitator@example.com"
    assert shown["client"]["event_title"] == "Coaching with John Doe"
    assert shown["coach"]["user_name"] == ADA["name"]
    assert shown["coach"]["event_title"] is shown["facilitator"]["response"] is None
    events = (await client.get("/api/facilitator/events/7")).json()
    assert [event["title"] for event in events] == [None]
    webhooks = (await client.get("/webhooks")).json()["webhooks"]
    assert [webhook["user_name"] for webhook in webhooks] == [ADA["name"], *["Deleted user"] * 3]
    async with connected(dsn) as connection:
        kept = "SELECT body FROM crm_booking_deliveries WHERE destination = 'payment'"
        assert await connection.fetchval(kept) == '{"booking_id":23,"user_id":7,"event_id":7}'


async def test_messages_that_arrive_later_are_stored_without_the_person(
    client: httpx.AsyncClient, dsn: str, tmp_path: Path
) -> None:
    await send(client, MESSAGES["client"], "client")
    await send(client, erasure())
    await fill_and_mail(client, dsn)  # also replays the message from before the erasure
    assert await traces(dsn, tmp_path) == []
    listed = (await client.get("/notifications", params={"include": "events"})).json()
    shown = {item["message_id"].replace("-", " "): item for item in listed}
    assert shown.keys() == {*MESSAGES, "others"}
    assert shown["facilitator"]["status"] == shown["client and facilitator"]["status"] == "skipped"
    assert shown["client"]["user_name"] == shown["client whose id is text"]["user_name"] == "Deleted user"
    assert shown["client whose id is text"]["status"] == "sent", "the facilitator learns of the booking"


async def test_without_the_look_at_erased_users_a_late_message_names_the_person(
    settings: CrmSettings, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crm.notification_store, "NAMES_NO_ERASED_USER", "true")
    async with running_crm(settings) as client:
        await send(client, erasure())
        await send(client, MESSAGES["client"])
    assert len(await traces(dsn, tmp_path)) == 2


async def test_repeated_erasure_is_confirmed_again(client: httpx.AsyncClient, dsn: str) -> None:
    await send(client, MESSAGES["client"])
    message = erasure()
    answers = await asyncio.gather(*(send(client, message, "the-same") for _ in range(3)))
    assert {answer["status"] for answer in answers} == {"erased"}
    async with connected(dsn) as connection:
        (known,) = await connection.fetch("SELECT user_id, erased_at FROM erased_users")
        assert await send(client, message, "the-same") == answers[0]
        assert [known] == await connection.fetch("SELECT user_id, erased_at FROM erased_users")
        assert await connection.fetchval("SELECT count(*) FROM notifications") == 1


@pytest.mark.parametrize(
    ("user", "code"),
    [(None, "missing_fields"), ({}, "missing_fields"), ({"id": None}, "missing_fields")]
    + [({"id": wrong}, "validation_error") for wrong in (0, -7, "7", 7.5, True, [7])]
    + [([], "validation_error"), ("7", "validation_error")],
)
async def test_erasure_without_a_user_is_refused(crm: httpx.AsyncClient, crm_dsn: str, user: Any, code: str) -> None:
    answer = await crm.post("/notify", json=erasure() | {"user": user})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    async with connected(crm_dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM erased_users") == 0


WAITS_FOR_A_LOCK = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
"""
MANY = rows.REPLACED + 100
_FILL = """
INSERT INTO notifications (message_id, body, user_name, user_email, status)
SELECT n, jsonb_build_object('user', jsonb_build_object('id', 7, 'name', 'Grace'), 'event', '{}'::jsonb),
    'Grace', 'grace@example.com', 'skipped'
FROM generate_series(1, $1::int) n
"""


async def test_erasure_goes_on_after_a_crash_between_batches(dsn: str, tmp_path: Path) -> None:
    environ = {"CRM_DATABASE_URL": dsn, "CRM_BEARER_TOKEN": TOKEN, "CONVENE_DATA": str(tmp_path)}
    environ["DATABASE_TIMEOUT_SECONDS"] = DATABASE_TIMEOUT_SECONDS
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with connected(dsn) as connection, connected(dsn) as owner:
        await connection.execute(_FILL, MANY)
        held = owner.transaction()
        await held.start()
        await owner.execute("SELECT FROM notifications WHERE id = $1 FOR UPDATE", MANY)
        with running_crm_process(environ, tmp_path) as process:
            host, port = process.address
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=headers, timeout=60) as client:
                asked = asyncio.create_task(client.post("/notify", json=erasure()))

                await until(lambda: connection.fetchval(WAITS_FOR_A_LOCK))
                process.kill()
                assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], httpx.TransportError)
        await held.rollback()
        assert await connection.fetchval("SELECT notifications_until FROM erased_users") == rows.REPLACED
    assert len(await traces(dsn, tmp_path)) == MANY - rows.REPLACED
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path))) as client:
        await send(client, erasure())
    assert await traces(dsn, tmp_path) == []


async def test_erasure_that_takes_longer_asks_for_another_attempt(
    settings: CrmSettings, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crm.app, "Eraser", partial(Eraser, seconds=0.0))
    answers: list[httpx.Response] = []
    async with connected(dsn) as connection, running_crm(settings) as client:
        await connection.execute(_FILL, MANY)
        while not answers or answers[-1].status_code == 503:
            answers.append(await client.post("/notify", json=erasure()))
    for unfinished in answers[:-1]:
        assert unfinished.json()["code"] == "erasure_unfinished"
        assert unfinished.headers["retry-after"] == "1"
    assert len(answers) >= 3
    assert answers[-1].status_code == 200


IS_BEGUN = "SELECT EXISTS (SELECT FROM erased_users)"


async def _erase_while_it_is_stored(settings: CrmSettings, dsn: str, *, waits: bool = True) -> None:
    """Erases the client of a message that is being stored, by a statement that does not see the erasure."""
    message = MESSAGES["client"]
    async with connected(dsn) as owner, connected(dsn) as watch, running_crm(settings) as client:
        transaction = owner.transaction()
        await transaction.start()
        await remember_event(owner, read_notification(message))  # the message waits for this event
        storing = asyncio.create_task(send(client, message))
        await until(lambda: watch.fetchval(WAITS_FOR_A_LOCK))
        erasing = asyncio.create_task(send(client, erasure()))
        await until(lambda: watch.fetchval(IS_BEGUN))
        if not waits:
            await erasing
        await transaction.rollback()
        await asyncio.gather(storing, erasing)


async def test_message_that_is_being_stored_is_erased(settings: CrmSettings, dsn: str, tmp_path: Path) -> None:
    await _erase_while_it_is_stored(settings, dsn)
    assert await traces(dsn, tmp_path) == []


async def test_without_waiting_for_writers_a_message_that_is_being_stored_is_missed(
    settings: CrmSettings, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_wait(_self: Eraser, _check: object) -> None:
        pass

    monkeypatch.setattr(Eraser, "_wait_for_writers", no_wait)
    await _erase_while_it_is_stored(settings, dsn, waits=False)
    assert await traces(dsn, tmp_path)


@pytest.mark.parametrize("waits", [True, False])
async def test_mail_that_is_being_sent_is_waited_for(
    settings: CrmSettings, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    """Without the wait (the negative control) its file is written afterwards, with the name of the person."""
    begun, may_end, found = threading.Event(), threading.Event(), asyncio.Event()
    write, before_a_delivery = FileTransport._write, rows._before_a_delivery

    def slow(self: FileTransport, name: str, octets: bytes) -> None:
        begun.set()
        assert may_end.wait(60)
        write(self, name, octets)

    def look(named: Sequence[Any], in_delivery: Collection[Any]) -> Sequence[Any]:
        found.set()
        return before_a_delivery(named, in_delivery) if waits else named

    monkeypatch.setattr(FileTransport, "_write", slow)
    monkeypatch.setattr(rows, "_before_a_delivery", look)
    async with running_crm(settings) as client:
        mailing = asyncio.create_task(send(client, MESSAGES["client"]))
        await until(begun.is_set)
        erasing = asyncio.create_task(send(client, erasure()))
        await until(found.is_set)
        if not waits:
            await erasing
        may_end.set()
        await asyncio.gather(mailing, erasing)
    assert bool(await traces(dsn, tmp_path)) is not waits


async def test_pending_mail_to_the_person_is_skipped(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), SMTP_URL=f"smtp://127.0.0.1:{free_port()}")
    async with running_crm(settings) as client:
        await send(client, MESSAGES["facilitator"], "to-the-person")
        await send(client, MESSAGES["client"], "about-the-person")
        await send(client, erasure())
        items = (await client.get("/notifications")).json()
    status = {item["message_id"]: (item["status"], item["response"]) for item in items}
    assert status["to-the-person"] == ("skipped", "No email: the account of the facilitator was erased")
    assert status["about-the-person"][0] == "pending"
    assert await traces(dsn, tmp_path) == []


async def test_webhook_that_is_being_delivered_is_waited_for(dsn: str, tmp_path: Path) -> None:
    database = Database(dsn, timeout=float(DATABASE_TIMEOUT_SECONDS))
    eraser = Eraser(database, tmp_path / "mail", lambda _: None, seconds=0.0)
    async with connected(dsn) as connection:
        await connection.execute(
            """WITH webhook AS (
                INSERT INTO crm_bookings (body, booking_id, user_id, user_name)
                VALUES ('{"booking_id": 1, "user": {"id": 7, "name": "Grace"}}', 1, 7, 'Grace') RETURNING *
            )
            INSERT INTO crm_booking_deliveries (crm_booking_id, destination, body, lease, next_attempt_at)
            SELECT id, 'forward', body, uuidv7(), now() + interval '1 hour' FROM webhook"""
        )
        for _ in range(3):
            with pytest.raises(ErasureUnfinished):
                await eraser.erase(7)
        assert len(await traces(dsn, tmp_path)) == 2
        await connection.execute("UPDATE crm_booking_deliveries SET lease = NULL")

        async def erased() -> bool:
            with contextlib.suppress(ErasureUnfinished):
                await eraser.erase(7)
                return True
            return False

        await until(erased)
    await database.close()
    assert await traces(dsn, tmp_path) == []
