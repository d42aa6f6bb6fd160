"""`Idempotency-Key` on any POST: the same key and the same request get the same answer, and nothing is done twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from application.idempotency import CLAIM, Claim, IdempotencyKeyInUse, KeptAnswer, KeyedRequest
from domain.accounts import UserId
from domain.events import EventId
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure import container
from infrastructure.postgres.bookings.seats import PostgresSeatInventory
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.settings import Settings
from interfaces.http.app import assemble
from tests.support.description_checks import as_described
from tests.support.http import serving
from tests.support.load import many_users, some_events
from tests.support.machine_clock import SystemClock
from tests.support.people import PASSWORD, People, Person, event

REUSED = "This Idempotency-Key was used for another request"


def a_key() -> str:
    return str(uuid4())


def assert_replayed(again: httpx.Response, first: httpx.Response) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# The same answer


@pytest.mark.parametrize(
    ("path", "field"), [("/bookings", "event_id"), ("/api/bookings", "event_id"), ("/api/bookings", "session_id")]
)
async def test_repeated_booking_is_the_same_booking(john: Person, ada: Person, path: str, field: str) -> None:
    created, key = await john.creates_event(price=30), a_key()

    first = await ada.post(path, {field: created["id"]}, key=key)
    again = await ada.post(f"{path}/", {field: created["id"]}, key=key)

    assert first.status_code in (200, 201)
    assert_replayed(again, first)
    shown = (await ada.get(f"/events/{created['id']}")).json()
    assert shown["current_participants"] == 1


async def test_every_post_replays_its_answer(john: Person, ada: Person) -> None:
    created = await john.creates_event()
    booking = await ada.books(created["id"])
    for person, path, body in (
        (john, "/events", event()),
        (ada, f"/bookings/{booking['id']}/cancel", None),
        (john, f"/facilitator/events/{created['id']}/cancel", None),
    ):
        key = a_key()
        first = await person.post(path, body, key=key)
        assert_replayed(await person.post(path, body, key=key), first)


async def test_rejected_booking_is_replayed(john: Person, ada: Person, shared_people: People) -> None:
    created, key, other = await john.creates_event(max_participants=1), a_key(), await shared_people.user()
    booking = await other.books(created["id"])
    full = await ada.post("/bookings", {"event_id": created["id"]}, key=key)
    assert code_of(full) == (400, "event_full")
    await other.post(f"/bookings/{booking['id']}/cancel")

    assert_replayed(await ada.post("/bookings", {"event_id": created["id"]}, key=key), full)
    assert (await ada.post("/bookings", {"event_id": created["id"]}, key=a_key())).status_code == 201


async def test_repeated_registration_is_the_same(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    body = {"email": f"{a_key()}@example.com", "password": PASSWORD, "name": "Twice Asked"}
    key = {"Idempotency-Key": a_key()}

    first = await shared_api.post("/auth/register", json=body, headers=key)
    again = await shared_api.post("/auth/register", json=body, headers=key)

    assert first.status_code == 201
    assert_replayed(again, first)
    kept = await shared_database.fetchval("SELECT string_agg(k::text, '') FROM idempotency_keys k")
    assert PASSWORD not in kept


# Nothing kept


async def test_invalid_request_can_be_corrected_with_the_same_key(john: Person, ada: Person) -> None:
    created, key = await john.creates_event(), a_key()
    for body in ({}, {"event_id": "x"}, {"event_id": created["id"], "notes": "n" * 5000}):
        assert code_of(await ada.post("/bookings", body, key=key)) == (400, "validation_error")
    assert (await ada.post("/bookings", {"event_id": created["id"]}, key=key)).status_code == 201


async def test_unauthorized_request_stores_nothing(ada: Person, shared_database: asyncpg.Connection) -> None:
    key = a_key()
    assert (await ada.api.post("/bookings", json={"event_id": 1}, headers={"Idempotency-Key": key})).status_code == 401
    assert (await ada.post("/events", event(), key=key)).status_code == 403
    assert (await ada.post("/nowhere", {}, key=key)).status_code == 404
    assert await shared_database.fetchval("SELECT count(*) FROM idempotency_keys WHERE key = $1", key) == 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/auth/register", {"email": "taken@example.com", "password": PASSWORD, "name": "Taken"}, 400),
        ("/auth/register", {"email": "nobody"}, 400),
        ("/api/register", {"email": "taken@example.com", "password": PASSWORD, "name": "Taken"}, 400),
        ("/payment/failure", {"razorpay_order_id": "order_nobody_made"}, 404),
        ("/payment/sandbox/webhook", {}, 400),
    ],
)
async def test_rejected_request_without_an_account_is_not_stored(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, path: str, body: dict[str, str], status: int
) -> None:
    await shared_database.execute(
        "INSERT INTO users (email, name, role) VALUES ('taken@example.com', 'Taken', 'user') ON CONFLICT DO NOTHING"
    )
    key = {"Idempotency-Key": a_key()}
    for _ in range(2):
        answer = await shared_api.post(path, json=body, headers=key)
        assert answer.status_code == status
        assert "idempotency-replayed" not in answer.headers
    kept = "SELECT count(*) FROM idempotency_keys WHERE key = $1"
    assert await shared_database.fetchval(kept, key["Idempotency-Key"]) == 0


async def test_answers_with_tokens_are_not_stored(ada: Person, shared_database: asyncpg.Connection) -> None:
    key = {"Idempotency-Key": a_key()}
    body = {"email": ada.email, "password": PASSWORD}
    first, again = [await ada.api.post("/auth/login", json=body, headers=key) for _ in range(2)]

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["refresh_token"] != again.json()["refresh_token"]
    assert "idempotency-replayed" not in again.headers
    kept = await shared_database.fetchval(
        "SELECT count(*) FROM idempotency_keys WHERE key = $1", key["Idempotency-Key"]
    )
    assert kept == 0


# Another request


async def test_same_key_for_another_request_is_rejected_in_the_contract_shape(john: Person, ada: Person) -> None:
    here, there, key = await john.creates_event(), await john.creates_event(), a_key()
    first = await ada.post("/bookings", {"event_id": here["id"]}, key=key)
    assert first.status_code == 201

    for path in ("/bookings", "/bookings?page=2", "/api/bookings", "/auth/logout"):
        answer = await ada.post(path, {"event_id": there["id"]}, key=key)
        assert code_of(answer) == (422, "idempotency_key_reused")
        error = answer.json()
        if path.startswith("/api"):
            assert (error["error"], error["message"]) == ("Unprocessable Entity", REUSED)
        else:
            assert error["error"] == REUSED
    assert_replayed(await ada.post("/bookings", {"event_id": here["id"]}, key=key), first)


async def test_same_key_of_another_user_is_independent(john: Person, ada: Person, shared_people: People) -> None:
    created, key, grace = await john.creates_event(), a_key(), await shared_people.user("Grace Hopper")
    of_ada = await ada.post("/bookings", {"event_id": created["id"]}, key=key)
    of_grace = await grace.post("/bookings", {"event_id": created["id"]}, key=key)

    assert (of_ada.status_code, of_grace.status_code) == (201, 201)
    assert of_ada.json()["booking"]["id"] != of_grace.json()["booking"]["id"]
    assert of_grace.json()["booking"]["user"]["name"] == "Grace Hopper"


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\u00e9", "tab\there"])
async def test_key_has_1_to_255_printable_ascii_characters(ada: Person, key: str) -> None:
    headers = [(b"Authorization", ada.headers["Authorization"].encode()), (b"Idempotency-Key", key.encode())]
    for path in ("/bookings", "/api/bookings"):
        answer = await ada.api.post(path, headers=headers, json={"event_id": 1})
        assert code_of(answer) == (400, "idempotency_key_invalid")


async def test_two_key_headers_are_rejected(ada: Person) -> None:
    headers = [*ada.headers.items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await ada.api.post("/bookings", headers=headers, json={"event_id": 1})
    assert code_of(answer) == (400, "idempotency_key_invalid")


async def test_key_of_255_characters_is_accepted(john: Person, ada: Person) -> None:
    body, key = {"event_id": (await john.creates_event())["id"]}, a_key().ljust(255, "~")
    first = await ada.post("/bookings", body, key=key)
    assert_replayed(await ada.post("/bookings", body, key=key), first)


# Time


async def test_key_is_valid_for_72_hours_without_redis(
    john: Person, ada: Person, shared_database: asyncpg.Connection, redis_url: str
) -> None:
    key = a_key()
    first = await john.post("/events", event(), key=key)
    sent = first.request.content

    async def after(hours: int) -> httpx.Response:
        await shared_database.execute(
            "UPDATE idempotency_keys SET created_at = now() - make_interval(hours => $2) WHERE key = $1", key, hours
        )
        headers = john.headers | {"Idempotency-Key": key, "Content-Type": "application/json"}
        return await john.api.post("/events", headers=headers, content=sent)

    redis = Redis.from_url(redis_url)
    await redis.flushall()
    await redis.aclose()
    for hours in (0, 23, 71):
        assert_replayed(await after(hours), first)
    anew = await after(73)
    assert anew.status_code == 201
    assert anew.json()["event"]["id"] != first.json()["event"]["id"]
    assert_replayed(await after(0), anew)


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[PostgresIdempotencyKeys]:
    opened = Database(database_url)
    yield PostgresIdempotencyKeys(opened)
    await opened.close()


async def begin(keys: PostgresIdempotencyKeys, key: str, *, lease: float = 10, owner: str = "user:1") -> Claim:
    found = await keys.claim(
        KeyedRequest(owner, key, b"request"), lease=timedelta(seconds=lease), kept_for=timedelta(hours=72)
    )
    assert isinstance(found, Claim)
    return found


# Concurrent requests


@contextlib.asynccontextmanager
async def served(settings: Settings, *, patience: float) -> AsyncIterator[httpx.AsyncClient]:
    """An API whose requests wait so long for the first with their key."""
    parts = container.build(settings)
    answer_once = replace(parts.use_cases.answer_once, patience=patience)
    app = assemble(replace(parts, use_cases=replace(parts.use_cases, answer_once=answer_once)))
    async with (
        serving(app) as address,
        httpx.AsyncClient(base_url=address, event_hooks={"response": [as_described]}, timeout=30) as client,
    ):
        yield client


async def in_progress(database: asyncpg.Connection, key: str, *, seconds: float) -> None:
    """As if the first request with the key had gone to a process that died, and has the key for so long."""
    changed = await database.execute(
        """UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL, committed = false, made = NULL,
               leased_until = now() + make_interval(secs => $2) WHERE key = $1""",
        key,
        seconds,
    )
    assert changed == "UPDATE 1"


async def test_waiting_too_long_returns_409_and_holds_no_connection(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with served(make_settings(database_pool_size="1"), patience=0.5) as api:
        ada, key = await People(api).user(), a_key()
        await ada.post("/bookings", {"event_id": 4242}, key=key)
        await in_progress(database, key, seconds=600)

        waiting = [asyncio.create_task(ada.post("/bookings", {"event_id": 4242}, key=key)) for _ in range(20)]
        while not all(task.done() for task in waiting):
            assert (await ada.get("/profile")).status_code == 200
        for task in waiting:
            answer = task.result()
            assert code_of(answer) == (409, "idempotency_key_in_use")
            assert int(answer.headers["retry-after"]) > 0


async def test_failed_request_can_be_retried(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with served(make_settings(), patience=1) as api:
        john, key, body = await People(api).facilitator(), a_key(), event()
        await database.execute("ALTER TABLE outbox RENAME TO away")
        assert code_of(await john.post("/events", body, key=key)) == (500, "internal_error")
        await database.execute("ALTER TABLE away RENAME TO outbox")

        created = await john.post("/events", body, key=key)

        assert created.status_code == 201
        assert_replayed(await john.post("/events", body, key=key), created)
        assert await database.fetchval("SELECT count(*) FROM events") == 1


async def test_without_a_key_the_key_table_is_not_read(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> None:
    async with served(make_settings(), patience=1) as api:
        john, ada = await People(api).facilitator(), await People(api).user()
        await database.execute("DROP TABLE idempotency_keys")
        await ada.books((await john.creates_event())["id"])


# A claim that was lost


@contextlib.contextmanager
def under(claim: Claim) -> Iterator[None]:
    token = CLAIM.set(claim)
    try:
        yield
    finally:
        CLAIM.reset(token)


async def test_replaced_claim_cannot_commit(
    keys: PostgresIdempotencyKeys, database: asyncpg.Connection, database_url: str
) -> None:
    (member,) = await many_users(database, 1)
    (facilitator,) = await many_users(database, 1, role="facilitator")
    (event_id,) = await some_events(database, facilitator.id, 1, capacity=5)
    late = await begin(keys, "key", lease=0)
    claim = await begin(keys, "key")
    assert claim.runner != late.runner
    opened = Database(database_url)
    seats = PostgresSeatInventory(opened, gateway="offline")
    open_work = UnitsOfWork(opened, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None)

    async def reserve() -> object:
        return await seats.reserve(
            event_id=EventId(event_id),
            user_id=UserId(member.id),
            notes=None,
            now=SystemClock().now(),
            hold_for=None,
            request_id=None,
        )

    with under(late):
        with pytest.raises(IdempotencyKeyInUse):
            await reserve()
        with pytest.raises(IdempotencyKeyInUse):
            async with open_work() as work:
                event = await work.events.get(EventId(event_id))
                await work.events.save(event.deleted(SystemClock().now(), by=event.facilitator_id))
                await work.commit()
    await keys.keep(late, KeptAnswer(201, (), b"late"))
    await keys.release(late)
    assert await database.fetchval("SELECT count(*) FROM bookings") == 0
    assert await database.fetchval("SELECT hidden_at FROM events") is None

    with under(claim):
        reserved = await reserve()
        assert reserved is not None
    with under(replace(claim, made=await database.fetchval("SELECT made::text FROM idempotency_keys"))):
        assert await reserve() == reserved
    await opened.close()
