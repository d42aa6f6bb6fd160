"""Failures of the CRM and of the mail server: other destinations continue, and the failed one catches up."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.crm.parts import MailServer
from tests.support.databases import a_database
from tests.support.faulty_worker import faulty_worker
from tests.support.messages import add_message, until
from tests.support.process_harness import LONG_RUN, BookingLoad, ProcessHarness, open_process_harness
from tests.support.processes import ended_elsewhere, running_workers, server_environ
from tests.support.receivers import Behaviour, Receiver, Request, answer, receiving

BOOKINGS = 8
TEN_GIGABYTES = 10_000_000_000
MUCH = 50_000_000


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def system(
    postgres: EmbeddedPostgres, redis_url: str, mail: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessHarness]:
    """Its worker waits for a CRM a second instead of fifteen, and tries again every second."""
    settings: dict[str, Any] = {"smtp_url": mail.url, "delivery_retry_schedule": "0" + ",1" * 50}
    worker = faulty_worker(seconds=1)
    dsn, directory = await a_database(postgres), tmp_path_factory.mktemp("estate")
    async with open_process_harness(postgres, dsn, redis_url, directory, worker=worker, **settings) as opened:
        yield opened


async def slow(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
    await asyncio.sleep(3)
    return answer()


async def dripping(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.1)


async def failing(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
    return answer(500)


async def overrun(_request: Request, _writer: asyncio.StreamWriter) -> bytes:
    return answer(429, Retry_After="2")


async def reset(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def behaving(behaviour: Behaviour) -> Callable[[Receiver], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def badly(crm: Receiver) -> AsyncIterator[None]:
        crm.behave = behaviour
        try:
            yield
        finally:
            crm.behave = None

    return badly


FAULTS = {"down": Receiver.unavailable, "dripping": behaving(dripping), "overrun": behaving(overrun)}
"""One in which nothing is sent, one without an end, one that sets its own time. The others end as one of these."""
if LONG_RUN:
    FAULTS |= {"slow": behaving(slow), "failing": behaving(failing), "reset": behaving(reset)}


@pytest.mark.parametrize("bad_day", FAULTS.values(), ids=FAULTS)
# Takes 4 s: retries are 1 s apart.
async def test_failing_crm_gets_every_message_after_recovery_and_mail_continues(
    system: ProcessHarness, bad_day: Callable[[Receiver], AbstractAsyncContextManager[None]]
) -> None:
    async with bad_day(system.crm):
        booking_load = await some_come(system)
        await until(lambda: _delivered(system, "email"))
        await until(lambda: _failed(system, "crm"))
        assert booking_load.unavailable_answers == 0
        missed, before = await _pending_ids(system, "crm"), len(system.crm.requests)
    await system.recovers()
    assert missed <= set(system.crm.message_ids[before:])
    await _all_is_well(system, booking_load)


# Takes 5 s: a worker that waits for its CRM.
async def test_without_retries_the_crm_misses_messages_of_an_outage(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Negative control. Two of each: not enough for the circuit."""
    async with receiving() as crm, ended_elsewhere() as running:
        environ = server_environ(database_url, redis_url, tmp_path, crm_service_url=crm.url)
        running.enter_context(running_workers(1, environ, tmp_path, faulty_worker(gives_up=True)))
        for behaviour in (failing, overrun, reset):
            async with behaving(behaviour)(crm):
                await add_message(database)
                await add_message(database)
                await until(lambda: _none_is_pending(database))
        before = len(crm.requests)
        after = await add_message(database)
        await until(lambda: _none_is_pending(database))
    assert crm.message_ids[before:] == [str(after)]
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'dead'") == 6


async def test_answer_of_ten_gigabytes_is_not_read(system: ProcessHarness) -> None:
    poured: list[int] = []

    async def pour(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {TEN_GIGABYTES}\r\n\r\n".encode())
        number = len(poured)
        poured.append(0)
        while poured[number] < TEN_GIGABYTES:
            writer.write(bytes(65536))
            await writer.drain()
            poured[number] += 65536

    async with behaving(pour)(system.crm):
        booking_load = await some_come(system)
        await system.until_delivered()
    assert max(poured) < MUCH
    await _all_is_well(system, booking_load)


@contextlib.contextmanager
def stopped(mail: MailServer) -> Iterator[None]:
    mail.stop()
    try:
        yield
    finally:
        mail.start()


@contextlib.contextmanager
def refusing(mail: MailServer) -> Iterator[None]:
    mail.verdict = "451 come back later"
    try:
        yield
    finally:
        mail.verdict = "250 taken"


@pytest.mark.parametrize("bad_day", [stopped, refusing])
# Takes 3 s: retries are 1 s apart.
async def test_failing_mail_server_gets_every_mail_once_after_recovery(
    system: ProcessHarness, mail: MailServer, bad_day: Callable[[MailServer], contextlib.AbstractContextManager[None]]
) -> None:
    with bad_day(mail):
        booking_load = await some_come(system)
        await until(lambda: _delivered(system, "crm"))
        await until(lambda: _failed(system, "email"))
    await system.recovers()
    await _all_is_well(system, booking_load)
    assert set(Counter(each["Message-ID"] for each in mail.mails).values()) == {1}


async def test_invalid_mailbox_fails_only_its_own_mail(system: ProcessHarness, mail: MailServer) -> None:
    async with system.records() as records:
        booking_load = await system.booking_load(events=1, people=BOOKINGS * 4)
        gone = await records.fetchval("SELECT email FROM users WHERE id = $1", booking_load.people[0].id)
        mail.responses = {gone: "550 no such user"}
        async with booking_load.coming():
            await booking_load.more(BOOKINGS)
        await system.until_delivered()
        dead = await records.fetch("DELETE FROM outbox WHERE status = 'dead' RETURNING snapshot #>> '{user,email}'")
        assert {row[0] for row in dead} == {gone}

        async def all_have_arrived() -> bool:
            """Also that of a booking whose visitor left before the answer."""
            expected = "SELECT count(*) FROM outbox WHERE destination = 'email' AND status <> 'dead'"
            return bool(len({each["Message-ID"] for each in mail.mails}) == await records.fetchval(expected))

        await until(all_have_arrived)
    assert gone not in {each["To"] for each in mail.mails}


async def some_come(system: ProcessHarness) -> BookingLoad:
    booking_load = await system.booking_load(events=1, people=200)
    async with booking_load.coming():
        await booking_load.more(BOOKINGS)
    return booking_load


async def _all_is_well(system: ProcessHarness, booking_load: BookingLoad) -> None:
    await system.assert_sound(booking_load)
    async with system.records() as records:
        assert await records.fetchval("SELECT count(*) FROM outbox WHERE status <> 'delivered'") == 0


async def _none_is_pending(database: asyncpg.Connection) -> bool:
    return not await database.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE status = 'pending')")


async def _pending_ids(system: ProcessHarness, destination: str) -> set[str]:
    async with system.records() as records:
        pending = "SELECT id FROM outbox WHERE destination = $1 AND status = 'pending'"
        return {str(row["id"]) for row in await records.fetch(pending, destination)}


async def _delivered(system: ProcessHarness, destination: str) -> bool:
    async with system.records() as records:
        pending = "SELECT EXISTS (SELECT FROM outbox WHERE destination = $1 AND status = 'pending')"
        return not await records.fetchval(pending, destination)


async def _failed(system: ProcessHarness, destination: str) -> bool:
    async with system.records() as records:
        failed = """SELECT EXISTS (SELECT FROM outbox JOIN delivery_attempts a ON a.message_id = outbox.id
            WHERE destination = $1 AND status = 'pending' AND result = 'failed')"""
        return bool(await records.fetchval(failed, destination))
