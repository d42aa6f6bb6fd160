"""Bookings while something stands still or dies: the answer is honest, and a booking has its messages or is none."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres.bookings.seats import RESERVE
from tests.resilience.conftest import CREATED, SeatInventory, Site, open_site, outcomes
from tests.support.callers import Address, Caller
from tests.support.invariants import broken_invariants
from tests.support.load import Member
from tests.support.process_harness import LONG_RUN
from tests.support.processes import ApiProcess


async def test_request_waiting_for_a_lock_returns_503(impatient_site: Site) -> None:
    site = impatient_site
    event = await site.event(capacity=50)
    people = await site.users(40)
    holder = await asyncpg.connect(site.dsn)
    try:
        # The row is released only after all requests are answered.
        async with asyncio.timeout(60), holder.transaction():
            await holder.execute("UPDATE events SET booked = booked WHERE id = $1", event)
            answers = await site.all_at_once([person.booking_request(event) for person in people])
    finally:
        await holder.close()

    assert {answer.status for answer in answers} == {503}
    assert all(int(answer.header("Retry-After") or 0) > 0 for answer in answers)

    # 503 means unknown, not rejected: a statement that the API gave up waiting for may have been the first to get the
    # row. A repeated request ends with one seat in either case.
    again = await site.answered([person.booking_request(event) for person in people])
    assert set(outcomes(again)) <= {(201, ""), (400, "You have already booked this event")}
    assert await site.seats(event) == SeatInventory(capacity=50, booked=40, live=40)
    assert list((await site.messages_by_booking(event)).values()) == [CREATED] * 40


async def test_processes_killed_during_bookings_lose_none_and_leave_none_partial(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    acknowledged: set[int] = set()
    luck = random.Random()
    async with open_site(postgres, redis_url, tmp_path, apis=3) as site:
        events = [await site.event(capacity=100_000, price=price) for price in (0, 30, 30)]
        for process in site.processes:
            people = await site.users(len(events) * 20)
            begun = asyncio.Event()
            booking = [
                asyncio.create_task(_book_until_the_end(process.address, people, event, acknowledged, begun))
                for event in events
                for _ in range(8)
            ]
            await begun.wait()
            await asyncio.sleep(luck.random() * 0.1)
            process.kill()
            await asyncio.gather(*booking)

        await _is_quiet(site)
        messages_by_booking = {
            booking: messages
            for event in events
            for booking, messages in (await site.messages_by_booking(event)).items()
        }
        assert acknowledged <= set(messages_by_booking)
        assert all(messages == CREATED for messages in messages_by_booking.values())
        assert await site.database.fetchval("SELECT count(*) FROM outbox") == len(CREATED) * len(messages_by_booking)
        for event in events:
            seats = await site.seats(event)
            assert seats.booked == seats.live
            assert await site.broken_commits(event) == []
        unpaid = "SELECT count(*) FROM bookings WHERE payment_status = 'pending'"
        asked = "SELECT count(*) FROM payments WHERE status = 'pending'"
        assert await site.database.fetchval(unpaid) == await site.database.fetchval(asked)


LUCK = 25 if LONG_RUN else 1


@pytest.mark.parametrize(("point", "done"), [("before", {False}), ("amid", {False, True}), ("after", {True})])
async def test_process_killed_around_a_commit_leaves_all_or_nothing(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path, point: str, done: set[bool]
) -> None:
    apis = 2 * LUCK if point == "amid" else 2
    async with open_site(
        postgres, redis_url, tmp_path, apis=apis, module=("tests.support.crash_injection", point)
    ) as site:
        event = await site.event(capacity=100)
        for booking, cancelling in zip(site.processes[::2], site.processes[1::2], strict=True):
            person, leaving = await site.users(2)
            values = (event, leaving.id, None, datetime.now(UTC), None, "offline", None, None)
            number = await site.database.fetchval(RESERVE, *values)
            await _dies_of(booking, person.booking_request(event))
            await _dies_of(cancelling, leaving.http_request("POST", f"/bookings/{number}/cancel"))
            await _is_quiet(site)
            assert (await _status(site, event, person) == "confirmed") in done
            assert (await _status(site, event, leaving) == "cancelled") in done
        assert await broken_invariants(site.database) == []


async def test_without_outbox_transaction_a_crash_loses_messages(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path
) -> None:
    module = ("tests.support.crash_injection", "naive")
    async with open_site(postgres, redis_url, tmp_path, apis=1, module=module) as site:
        event = await site.event(capacity=100)
        (person,) = await site.users(1)
        await _dies_of(site.processes[0], person.booking_request(event))
        (booking,) = await site.messages_by_booking(event)
        assert sorted(await broken_invariants(site.database)) == [
            f"booking:{booking} owes {destination} booking_created 0 times, not 1"
            for destination in ("crm", "email", "realtime")
        ]


async def _dies_of(process: ApiProcess, request: bytes) -> None:
    caller = await Caller.connect(process.address)
    with pytest.raises(ConnectionError):
        await caller(request)


async def _is_quiet(site: Site) -> None:
    """Waits until PostgreSQL has ended what the dead had asked it to do."""
    active = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"""
    async with asyncio.timeout(60):
        while await site.database.fetchval(active):  # noqa: ASYNC110 (a database has no event)
            await asyncio.sleep(0.01)


async def _status(site: Site, event: int, person: Member) -> str | None:
    status: str | None = await site.database.fetchval(
        "SELECT status FROM bookings WHERE event_id = $1 AND user_id = $2", event, person.id
    )
    return status


async def _book_until_the_end(
    address: Address, people: list[Member], event: int, acknowledged: set[int], begun: asyncio.Event
) -> None:
    with contextlib.suppress(ConnectionError):
        caller = await Caller.connect(address)
        for person in people:
            answer = await caller(person.booking_request(event))
            if answer.status == 201:
                acknowledged.add(answer.json["booking"]["id"])
                begun.set()
            else:
                assert outcomes([answer]).keys() == {(400, "You have already booked this event")}
