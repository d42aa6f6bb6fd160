"""The same request again, with its idempotency key, at another process: at once, after a crash, after a 503."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.resilience.conftest import CREATED, CREATED_AND_CANCELLED, SeatInventory, Site, open_site
from tests.support.callers import Address, Answer, Caller
from tests.support.callers import request as as_bytes
from tests.support.people import PASSWORD
from tests.support.people import event as event_body
from tests.support.processes import ApiProcess, running_apis, server_environ

LOST = (409, "idempotency_answer_lost")


def a_key() -> str:
    return str(uuid4())


def is_replayed(answer: Answer) -> bool:
    return answer.header("Idempotency-Replayed") == "true"


async def ask(address: Address, request: bytes) -> Answer:
    caller = await Caller.connect(address)
    try:
        return await caller(request)
    finally:
        caller.close()


# At once


async def test_fifty_concurrent_requests_with_one_key_make_one_booking(site: Site) -> None:
    event = await site.event(capacity=100)
    (person,) = await site.users(1)

    answers = await site.all_at_once([person.booking_request(event, key=a_key())] * 50)

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert sum(not is_replayed(answer) for answer in answers) == 1
    assert await site.seats(event) == SeatInventory(capacity=100, booked=1, live=1)
    assert list((await site.messages_by_booking(event)).values()) == [CREATED]


async def test_fifty_concurrent_requests_with_one_key_make_one_event(site: Site) -> None:
    before = await number_of_events(site)

    answers = await site.all_at_once([site.facilitator.http_request("POST", "/events", event_body(), key=a_key())] * 50)

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert await number_of_events(site) == before + 1


async def test_without_claim_before_work_one_key_has_many_effects(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with open_site(postgres, redis_url, tmp_path, module=("tests.support.naive_idempotency",)) as site:
        event = await site.event(capacity=100)
        (person,) = await site.users(1)

        booked = await site.all_at_once([person.booking_request(event, key=a_key())] * 50)
        await site.all_at_once([site.facilitator.http_request("POST", "/events", event_body(), key=a_key())] * 50)

        assert {answer.status for answer in booked} == {201, 400}
        assert await number_of_events(site) > 2


async def test_concurrent_requests_with_keys_do_not_oversell(site: Site) -> None:
    event = await site.event(capacity=30)
    people = await site.users(100)

    answers = await site.all_at_once([person.booking_request(event, key=a_key()) for person in people])

    assert sorted(answer.status for answer in answers) == [201] * 30 + [400] * 70
    assert await site.seats(event) == SeatInventory(capacity=30, booked=30, live=30)
    assert await site.broken_commits(event) == []
    assert list((await site.messages_by_booking(event)).values()) == [CREATED] * 30


# After a crash


@pytest.fixture(scope="module")
async def crashing_site(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Processes that die after any commit and before the answer, one for each test."""
    directory = tmp_path_factory.mktemp("doomed")
    async with open_site(postgres, redis_url, directory, apis=2, module=("tests.support.crash_injection",)) as opened:
        yield opened


@contextlib.asynccontextmanager
async def another_process(site: Site, redis_url: str, directory: Path) -> AsyncIterator[ApiProcess]:
    with running_apis(1, server_environ(site.dsn, redis_url, directory, log_level="warning"), directory) as (process,):
        await process.ready()
        yield process


async def dies_of(process: ApiProcess, request: bytes) -> None:
    with pytest.raises(ConnectionError):
        await ask(process.address, request)


_LEASE_IS_HALF_OVER = "SELECT max(leased_until) < now() + interval '5 seconds' FROM idempotency_keys"


# Takes 12 s: a lease of 10 s ends by itself.
async def test_booking_repeated_after_a_crash_before_the_answer_is_the_same(
    crashing_site: Site, redis_url: str, tmp_path: Path
) -> None:
    event = await crashing_site.event(capacity=10, price=30)
    (person,) = await crashing_site.users(1)
    request = person.booking_request(event, key=a_key())

    await dies_of(crashing_site.processes[0], request)
    assert await crashing_site.seats(event) == SeatInventory(capacity=10, booked=1, live=1)

    async with another_process(crashing_site, redis_url, tmp_path) as process:
        # The lease is not shortened: it ends before a waiting request, which waits for as long, gets its 409.
        await until(lambda: crashing_site.database.fetchval(_LEASE_IS_HALF_OVER))
        answers = await asyncio.gather(*(ask(process.address, request) for _ in range(5)))
        late = await ask(process.address, request)
        shown = await ask(process.address, person.http_request("GET", "/bookings"))

    (booking,) = shown.json["bookings"]
    assert {answer.status for answer in [*answers, late]} == {201}
    assert len({answer.body for answer in [*answers, late]}) == 1
    late_booking = late.json["booking"]
    for field in ("id", "booking_reference", "status", "payment_status", "user", "created_at"):
        assert late_booking[field] == booking[field]
    assert {name: booking["event"][name] for name in late_booking["event"]} == late_booking["event"]
    assert booking["payment_reference"] in late.json["payment_url"]
    assert await crashing_site.seats(event) == SeatInventory(capacity=10, booked=1, live=1)
    assert list((await crashing_site.messages_by_booking(event)).values()) == [CREATED]


async def test_event_repeated_after_a_crash_before_the_answer_is_the_same(
    crashing_site: Site, redis_url: str, tmp_path: Path
) -> None:
    before = await number_of_events(crashing_site)
    request = crashing_site.facilitator.http_request("POST", "/events", event_body(), key=a_key())

    await dies_of(crashing_site.processes[1], request)
    assert await number_of_events(crashing_site) == before + 1
    await leases_end(crashing_site)

    async with another_process(crashing_site, redis_url, tmp_path) as process:
        answers = [await ask(process.address, request) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    made = answers[0].json["event"]["id"]
    assert made == await crashing_site.database.fetchval("SELECT max(id) FROM events")
    assert await number_of_events(crashing_site) == before + 1


REVIEW = {"rating": 5, "comment": "Calm"}


# Takes 4 s: six processes of the API.
async def test_other_requests_repeated_after_a_crash_return_the_same_answer(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    crashing = ("tests.support.crash_injection", "unanswered")
    async with open_site(postgres, redis_url, tmp_path, apis=5, module=crashing) as site:
        person, host = (await site.users(1))[0], site.facilitator
        async with another_process(site, redis_url, tmp_path) as process:
            cancelled, paid, held, attended = [await site.event(capacity=10, price=30) for _ in range(4)]
            bookings = {
                event: (await ask(process.address, person.booking_request(event))).json["booking"]["id"]
                for event in (cancelled, paid, held, attended)
            }
            await site.database.execute(
                "UPDATE events SET starts_at = now() - interval '2 h', ends_at = now() - interval '1 h' WHERE id = $1",
                attended,
            )
            newcomer = {"email": "newcomer@example.com", "password": PASSWORD, "name": "New Comer"}
            requests = [
                person.http_request("POST", f"/bookings/{bookings[cancelled]}/cancel", key=a_key()),
                person.http_request("POST", f"/events/{attended}/reviews", REVIEW, key=a_key()),
                as_bytes("POST", "/auth/register", body=newcomer, key=a_key()),
                host.http_request("POST", f"/facilitator/bookings/{bookings[paid]}/payment", key=a_key()),
                host.http_request("POST", f"/facilitator/events/{held}/cancel", key=a_key()),
            ]
            for crashing_process, request in zip(site.processes, requests, strict=True):
                await dies_of(crashing_process, request)
            await leases_end(site)

            twice = [
                await asyncio.gather(*(ask(process.address, request) for request in requests)),
                [await ask(process.address, request) for request in requests],
            ]

        for first, again in zip(*twice, strict=True):
            assert first.status in (200, 201), first.json
            assert (again.status, again.body, is_replayed(again)) == (first.status, first.body, True)
        bodies = [answer.json for answer in twice[0]]
        assert bodies[1]["review"]["rating"] == 5
        assert bodies[2]["user"]["email"] == "newcomer@example.com"
        assert bodies[3]["payment_status"] == "completed"
        assert await site.database.fetchval("SELECT count(*) FROM reviews") == 1
        assert await site.database.fetchval("SELECT count(*) FROM users WHERE email = 'newcomer@example.com'") == 1
        assert await site.database.fetchval("SELECT count(*) FROM payments WHERE received_at IS NOT NULL") == 1
        for event in (cancelled, held):
            assert list((await site.messages_by_booking(event)).values()) == [CREATED_AND_CANCELLED]


async def test_without_recorded_result_the_answer_is_lost_after_a_crash(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with open_site(
        postgres, redis_url, tmp_path, apis=1, module=("tests.support.crash_injection", "unnamed")
    ) as site:
        event = await site.event(capacity=10, price=30)
        (person,) = await site.users(1)
        async with another_process(site, redis_url, tmp_path) as process:
            booked = await ask(process.address, person.booking_request(event))
            cancel = person.http_request("POST", f"/bookings/{booked.json['booking']['id']}/cancel", key=a_key())

            await dies_of(site.processes[0], cancel)
            await leases_end(site)

            for _ in range(2):
                answer = await ask(process.address, cancel)
                assert (answer.status, answer.json["code"]) == LOST
        assert await site.seats(event) == SeatInventory(capacity=10, booked=0, live=0)
        assert list((await site.messages_by_booking(event)).values()) == [CREATED_AND_CANCELLED]


async def test_request_repeated_after_a_crash_during_a_lock_wait_makes_one_booking(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    async with open_site(postgres, redis_url, tmp_path, apis=2) as site:
        event = await site.event(capacity=10)
        (person,) = await site.users(1)
        request = person.booking_request(event, key=a_key())
        holder = await asyncpg.connect(site.dsn)
        try:
            async with holder.transaction():
                await holder.execute("UPDATE events SET booked = booked WHERE id = $1", event)
                asked = asyncio.create_task(ask(site.processes[0].address, request))
                await until(lambda: someone_waits(site))
                site.processes[0].kill()
                with pytest.raises(ConnectionError):
                    await asked
        finally:
            await holder.close()

        await leases_end(site)
        # PostgreSQL notices the lost client only when it answers: the booking is made.
        answer = await ask(site.processes[1].address, request)
        assert answer.status == 201
        assert list(await site.messages_by_booking(event)) == [answer.json["booking"]["id"]]


# After a 503


# Takes 10 s: answers come after 4 s.
async def test_requests_repeated_after_a_503_return_the_one_booking(impatient_site: Site) -> None:
    site = impatient_site
    holder = await asyncpg.connect(site.dsn)
    made = False
    try:
        async with asyncio.timeout(120):
            # On a slow machine even the statements that were begun last may have been given up before the row is free.
            while not made:
                event = await site.event(capacity=50)
                requests = [person.booking_request(event, key=a_key()) for person in await site.users(40)]
                async with holder.transaction():
                    await holder.execute("UPDATE events SET booked = booked WHERE id = $1", event)
                    answers = await site.all_at_once(requests)
                # Statements that the API gave up waiting for are the next to get the row.
                while not made and await someone_is_busy(site):
                    made = await some_booked(site, event)
                made = made or await some_booked(site, event)
    finally:
        await holder.close()
    assert {answer.status for answer in answers} == {503}

    again = await site.answered(requests)

    assert {answer.status for answer in again} == {201}
    assert sorted(answer.json["booking"]["id"] for answer in again) == sorted(await site.messages_by_booking(event))
    assert await site.seats(event) == SeatInventory(capacity=50, booked=40, live=40)
    assert list((await site.messages_by_booking(event)).values()) == [CREATED] * 40


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 (a database has no event)
            await asyncio.sleep(0.02)


async def leases_end(site: Site) -> None:
    """Ten seconds pass."""
    await site.database.execute("UPDATE idempotency_keys SET leased_until = leased_until - interval '10 s'")


async def number_of_events(site: Site) -> int:
    number: int = await site.database.fetchval("SELECT count(*) FROM events")
    return number


async def someone_waits(site: Site) -> bool:
    waits: bool = await site.database.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    return waits


async def someone_is_busy(site: Site) -> bool:
    await asyncio.sleep(0.02)
    busy: bool = await site.database.fetchval(
        """SELECT EXISTS (SELECT FROM pg_stat_activity
           WHERE state = 'active' AND datname = current_database() AND pid <> pg_backend_pid())"""
    )
    return busy


async def some_booked(site: Site, event: int) -> bool:
    return (await site.seats(event)).booked > 0
