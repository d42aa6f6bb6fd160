"""Two real API processes on one database, whose every commit is watched."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.callers import Address, Answer, Caller, CallerJob, race
from tests.support.databases import a_database
from tests.support.load import Member, many_users, some_events
from tests.support.processes import API, ApiProcess, running_apis, server_environ

# A deferred trigger runs as its transaction commits, with a snapshot of that moment. A transaction that changes the
# seats of an event locks its row until then, so the rows of one event are its seats after each commit, in order.
_WATCH = """
CREATE TABLE seen_at_commit (event_id bigint, status text, capacity int, booked int, live int);

CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE event bigint := to_jsonb(NEW) -> CASE TG_TABLE_NAME WHEN 'events' THEN 'id' ELSE 'event_id' END;
BEGIN
    INSERT INTO seen_at_commit
    SELECT id, status, capacity, booked,
           (SELECT count(*) FROM bookings WHERE event_id = event AND status <> 'cancelled')
    FROM events WHERE id = event;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER look AFTER INSERT OR UPDATE ON bookings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
CREATE CONSTRAINT TRIGGER look AFTER UPDATE ON events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
"""

CREATED = ["crm booking_created", "email booking_created", "realtime booking_created"]
CREATED_AND_CANCELLED = [
    *("crm booking_created", "crm booking_cancelled"),
    *("email booking_created", "email booking_cancelled"),
    *("realtime booking_created", "realtime booking_cancelled"),
]


@dataclass(frozen=True, slots=True)
class SeatInventory:
    capacity: int
    booked: int
    live: int


@dataclass(frozen=True, slots=True)
class Site:
    database: asyncpg.Connection
    dsn: str
    processes: list[ApiProcess]
    facilitator: Member

    @property
    def addresses(self) -> list[Address]:
        return [process.address for process in self.processes]

    async def users(self, size: int) -> list[Member]:
        return await many_users(self.database, size)

    async def event(self, capacity: int, *, price: int = 30) -> int:
        return (await some_events(self.database, self.facilitator.id, 1, capacity=capacity, price=price))[0]

    async def all_at_once(self, requests: Sequence[bytes]) -> list[Answer]:
        """Sends each over a connection of its own, spread over the processes."""

        def sending(request: bytes) -> CallerJob:
            async def send(caller: Caller) -> Answer:
                return await caller(request)

            return send

        return await race(self.addresses, [sending(request) for request in requests])

    async def answered(self, requests: Sequence[bytes]) -> list[Answer]:
        """As `all_at_once`; a request that is answered 503 is repeated, as a client does on a busy machine."""
        answers = await self.all_at_once(requests)
        async with asyncio.timeout(120):
            while again := [index for index, answer in enumerate(answers) if answer.status == 503]:
                repeated = await self.all_at_once([requests[index] for index in again])
                for index, answer in zip(again, repeated, strict=True):
                    answers[index] = answer
        return answers

    async def seats(self, event_id: int) -> SeatInventory:
        (row,) = await self.database.fetch(
            """SELECT capacity, booked,
                      (SELECT count(*) FROM bookings WHERE event_id = $1 AND status <> 'cancelled') AS live
               FROM events WHERE id = $1""",
            event_id,
        )
        return SeatInventory(**row)

    async def broken_commits(self, event_id: int) -> list[asyncpg.Record]:
        """The commits after which the event was oversold, miscounted, or cancelled with live bookings."""
        assert await self.database.fetchval("SELECT count(*) FROM seen_at_commit WHERE event_id = $1", event_id)
        return await self.database.fetch(
            """SELECT * FROM seen_at_commit WHERE event_id = $1
               AND (live > capacity OR live <> booked OR (status = 'cancelled' AND live > 0))""",
            event_id,
        )

    async def messages_by_booking(self, event_id: int) -> dict[int, list[str]]:
        """The messages of each booking of the event as `destination fact`, ordered within each destination."""
        rows = await self.database.fetch(
            """SELECT b.id, coalesce(array_agg(o.destination || ' ' || o.fact ORDER BY o.destination, o.seq)
                                     FILTER (WHERE o.id IS NOT NULL), '{}') AS messages
               FROM bookings b LEFT JOIN outbox o ON o.lane = 'booking:' || b.id
               WHERE b.event_id = $1 GROUP BY b.id""",
            event_id,
        )
        return {row["id"]: row["messages"] for row in rows}

    async def messages(self, event_id: int) -> int:
        """How many messages there are that mention the event at all."""
        number: int = await self.database.fetchval(
            "SELECT count(*) FROM outbox WHERE (snapshot #>> '{event,id}')::bigint = $1", event_id
        )
        return number


def outcomes(answers: Sequence[Answer]) -> Counter[tuple[int, str]]:
    """How often each status came, with its `error` sentence."""
    return Counter((answer.status, answer.json.get("error", "")) for answer in answers)


@contextlib.asynccontextmanager
async def open_site(
    postgres: EmbeddedPostgres,
    redis_url: str,
    directory: Path,
    *,
    apis: int = 2,
    module: Sequence[str] = API,
    **settings: str,
) -> AsyncIterator[Site]:
    """A site with a database of its own; `settings` are environment variables in lower case."""
    dsn = await a_database(postgres)
    environ = server_environ(dsn, redis_url, directory, log_level="warning", **settings)
    with running_apis(apis, environ, directory, module) as processes:
        database = await asyncpg.connect(dsn)
        try:
            await database.execute(_WATCH)
            facilitator = (await many_users(database, 1, role="facilitator"))[0]
            for process in processes:
                await process.ready()
            yield Site(database, dsn, processes, facilitator)
        finally:
            await database.close()


@pytest.fixture(scope="module")
async def site(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with open_site(postgres, redis_url, tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture
async def impatient_site(postgres: EmbeddedPostgres, redis_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Answers 503 four seconds after it has begun to wait for the database, as by default."""
    async with open_site(postgres, redis_url, tmp_path, database_timeout_seconds="4") as site:
        yield site
