"""The whole system as processes, with servers that can be stopped: API, workers, and booking load."""

import asyncio
import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.callers import Address, Answer, Caller
from tests.support.invariants import broken_invariants
from tests.support.load import Member, many_users, some_events
from tests.support.messages import until
from tests.support.processes import (
    WORKER,
    ApiProcess,
    ended_elsewhere,
    running_apis,
    running_workers,
    server_environ,
)
from tests.support.receivers import Receiver, Request, receiving
from tests.support.servers import free_port

LONG_RUN = bool(os.environ.get("LONG_RUN"))
"""Whether faults are repeated for minutes, and not just shown."""

ALREADY_BOOKED = "You have already booked this event"


@dataclass(frozen=True, slots=True)
class ProcessHarness:
    postgres: EmbeddedPostgres
    dsn: str
    apis: list[ApiProcess]
    crm: Receiver
    facilitator: Member

    @contextlib.asynccontextmanager
    async def records(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for a moment: none outlives a server that is broken."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def booking_load(self, *, events: int = 4, people: int = 1000) -> "BookingLoad":
        async with self.records() as records:
            numbers = await some_events(records, self.facilitator.id, events, capacity=100_000, price=0)
            return BookingLoad([api.address for api in self.apis], numbers, await many_users(records, people))

    async def until_delivered(self, *, seconds: float = 60) -> None:
        """Waits until the workers have delivered everything."""
        async with self.records() as records:
            try:
                await until(lambda: _is_dry(records), seconds)
            except TimeoutError:
                left = "SELECT destination, attempts, due_at - now(), last_error FROM outbox WHERE status = 'pending'"
                raise AssertionError([tuple(row) for row in await records.fetch(f"{left} LIMIT 5")]) from None

    async def recovers(self) -> None:
        """As `until_delivered`, without waiting for the next probe of a destination with an open circuit."""
        async with self.records() as records:

            async def looked() -> bool:
                await records.execute("UPDATE destinations SET probe_at = now() WHERE probe_at > now()")
                return await _is_dry(records)

            await until(looked, 60)

    async def assert_sound(self, booking_load: "BookingLoad") -> None:
        """After all deliveries: no invariant is broken, acknowledged bookings exist, and every message was received in
        order. Once each, except deliveries in flight during a fault."""
        async with self.records() as records:
            assert await broken_invariants(records) == []
            kept = {row["id"]: row["status"] for row in await records.fetch("SELECT id, status FROM bookings")}
            expected = {
                str(row["id"]) for row in await records.fetch("SELECT id FROM outbox WHERE destination = 'crm'")
            }
        assert booking_load.surprises == [], booking_load.surprises[:3]
        assert booking_load.acknowledged <= set(kept)
        assert {kept[booking] for booking in booking_load.given_back} <= {"cancelled"}
        assert set(self.crm.message_ids) == expected
        for facts in received_in_order(self.crm.requests).values():
            assert facts in (["booking_created"], ["booking_created", "booking_cancelled"])


def received_in_order(requests: Sequence[Request]) -> dict[int, list[str]]:
    """The actions received for each booking, without repeated messages."""
    received: dict[int, list[str]] = defaultdict(list)
    seen = set()
    for request in requests:
        if request.message_id not in seen:
            seen.add(request.message_id)
            received[request.json["booking_id"]].append(request.json["action"])
    return received


@dataclass
class BookingLoad:
    """Users who each book an event; every third cancels. A 503 is retried; every other error is unexpected, and so is a
    503 without Retry-After."""

    addresses: list[Address]
    events: list[int]
    people: list[Member]
    acknowledged: set[int] = field(default_factory=set)
    given_back: set[int] = field(default_factory=set)
    unavailable_answers: int = 0
    surprises: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = iter([(person, event) for event in self.events for person in self.people])
        self._over = threading.Event()

    @contextlib.asynccontextmanager
    async def coming(self, at_once: int = 6, *, pause: float = 0.02 if LONG_RUN else 0.1) -> AsyncIterator[None]:
        """They come while this is open; who has begun is served to the end. `pause`: seconds between the visits of a
        queue. In a thread of their own: a server that is started again holds up everything in this one."""
        self._over.clear()
        coming = asyncio.create_task(asyncio.to_thread(asyncio.run, self._queues(at_once, pause)))
        try:
            yield
        finally:
            self._over.set()
            await coming

    async def more(self, number: int, *, seconds: float = 30) -> None:
        """Returns when so many more seats have been reserved."""
        enough = len(self.acknowledged) + number
        await until(lambda: len(self.acknowledged) >= enough, seconds)

    async def _queues(self, number: int, pause: float) -> None:
        await asyncio.gather(*(self._queue(self.addresses[n % len(self.addresses)], pause) for n in range(number)))

    async def _queue(self, address: Address, pause: float) -> None:
        caller = await Caller.connect(address)
        while not self._over.is_set():
            await self._visit(caller, *next(self._left))
            await asyncio.sleep(pause)
        caller.close()

    async def _visit(self, caller: Caller, person: Member, event: int) -> None:
        booked, unknown = await self._insist(caller, person.booking_request(event))
        if booked.status == 201:
            booking = booked.json["booking"]["id"]
            self.acknowledged.add(booking)
            if booking % 3 == 0:
                gone, unknown = await self._insist(caller, person.http_request("POST", f"/bookings/{booking}/cancel"))
                if gone.status == 200:
                    self.given_back.add(booking)
                elif not (unknown and gone.status == 400):
                    self.surprises.append(gone)
        elif not (unknown and booked.status == 400 and booked.json["error"] == ALREADY_BOOKED):
            self.surprises.append(booked)

    async def _insist(self, caller: Caller, request: bytes) -> tuple[Answer, bool]:
        """The first answer other than 503, and whether there was a 503 before."""
        unknown = False
        while (said := await caller(request)).status == 503:
            if int(said.header("Retry-After") or 0) < 1:
                self.surprises.append(said)
            unknown = True
            self.unavailable_answers += 1
            await asyncio.sleep(0.1)
        return said, unknown


@contextlib.asynccontextmanager
async def open_process_harness(
    postgres: EmbeddedPostgres,
    dsn: str,
    redis: EmbeddedRedis | str,
    directory: Path,
    *,
    apis: int = 1,
    workers: int = 1,
    worker: Sequence[str] = WORKER,
    **settings: str,
) -> AsyncIterator[ProcessHarness]:
    """Its CRM is a receiver of the tests; `worker` is what runs as its workers."""
    async with receiving(free_port()) as crm:
        redis_url = redis if isinstance(redis, str) else redis.url
        given = {"log_level": "warning", "crm_service_url": crm.url, "rate_limit_enabled": "false"} | settings
        environ = server_environ(dsn, redis_url, directory, **given)
        async with ended_elsewhere() as running:
            served = running.enter_context(running_apis(apis, environ, directory))
            running.enter_context(running_workers(workers, environ, directory, worker))
            for api in served:
                await api.ready()
            connection = await asyncpg.connect(dsn)
            (facilitator,) = await many_users(connection, 1, role="facilitator")
            await connection.close()
            yield ProcessHarness(postgres, dsn, served, crm, facilitator)


async def _is_dry(records: asyncpg.Connection) -> bool:
    return not await records.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')")
