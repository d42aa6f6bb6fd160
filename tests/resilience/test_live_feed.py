"""The live feed over several processes, with restarted servers, many clients and slow ones."""

import asyncio
import os
import signal
import socket as sockets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from application.notifications.ports import EntryId
from domain.accounts import UserId
from infrastructure.embedded import EmbeddedRedis, processes
from infrastructure.postgres.engine import Database
from infrastructure.postgres.live_updates import PRUNE_LIVE_UPDATES, RECORD, RETENTION, PostgresLiveUpdates
from servicekit.retention import Pruning, Rule
from tests.support.callers import Caller
from tests.support.followers import a_publisher, a_socket, a_stream, closed_with, next_update
from tests.support.load import Member, many_users, some_events
from tests.support.messages import until
from tests.support.process_harness import LONG_RUN
from tests.support.processes import ApiProcess, running_apis, server_environ
from tests.support.servers import running_redis

LOCK = "WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock($1::int, hashint8($2)))"
UNLOCKED = RECORD.replace(LOCK, "WITH turn AS (SELECT $1::int)")
assert UNLOCKED != RECORD, "the statement has another shape now: take its lock out here as well"


@pytest.fixture
async def john(database: asyncpg.Connection) -> Member:
    return (await many_users(database, 1, role="facilitator"))[0]


@pytest.fixture
async def own_redis() -> AsyncIterator[EmbeddedRedis]:
    """One that may be stopped."""
    with running_redis() as server:
        yield server


# Several processes


async def test_booking_at_one_process_is_received_at_another(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path, john: Member
) -> None:
    environ = server_environ(database_url, redis_url, tmp_path)
    (event,) = await some_events(database, john.id, 1, capacity=30)
    people = await many_users(database, 20)
    with running_apis(2, environ, tmp_path) as (one, other):
        argv = [sys.executable, "-P", "-m", "interfaces.cli", "worker"]
        worker = processes.spawn(argv, log=tmp_path / "worker.log", environ=environ)
        try:
            await one.ready()
            await other.ready()
            async with a_socket(other.address, john.token) as socket, a_stream(other.address, john.token) as stream:
                caller = await Caller.connect(one.address)
                for person in people:
                    assert (await caller(person.booking_request(event))).status == 201
                caller.close()
                seen = [await next_update(socket) for _ in people]
                assert [data for _, data in [await stream.event() for _ in people]] == seen
        finally:
            processes.stop(worker)
    assert {entry["data"]["user"]["id"] for entry in seen} == {person.id for person in people}
    assert {entry["type"] for entry in seen} == {"booking_created"}


# Redis


# Takes 5 s: Redis is tried again every second.
async def test_without_redis_updates_are_polled_and_recover(
    database_url: str, own_redis: EmbeddedRedis, tmp_path: Path, john: Member
) -> None:
    environ = server_environ(database_url, own_redis.url, tmp_path)
    with running_apis(2, environ, tmp_path) as apis:
        for api in apis:
            await api.ready()
        async with (
            a_publisher(database_url, own_redis.url) as publisher,
            a_socket(apis[0].address, john.token) as socket,
            a_stream(apis[1].address, john.token) as stream,
        ):

            async def are_seen(*numbers: int) -> None:
                for number in numbers:
                    await publisher.publish(john.id, number)
                assert [(await next_update(socket))["data"]["booking_id"] for _ in numbers] == [*numbers]
                assert [(await stream.event())[1]["data"]["booking_id"] for _ in numbers] == [*numbers]

            await are_seen(1, 2)
            own_redis.stop()
            await are_seen(3, 4)
            own_redis.start()
            await are_seen(5, 6)

            def recovered() -> bool:
                return all('"redis_recovered"' in api.log.read_text() for api in apis)

            await until(recovered)
            await are_seen(7, 8)


# Nothing is missed


@pytest.mark.parametrize(("statement", "seen"), [(RECORD, [1, 2]), (UNLOCKED, [2])], ids=["locked", "unlocked"])
async def test_entry_committed_late_is_not_missed_and_without_lock_it_is(
    database: asyncpg.Connection, database_url: str, john: Member, statement: str, seen: list[int]
) -> None:
    """The negative control without the lock misses it."""
    other = await asyncpg.connect(database_url)
    own = Database(database_url, pool_size=1)
    feed = PostgresLiveUpdates(own)

    async def record(connection: asyncpg.Connection, number: int) -> None:
        values = (0x66656564, john.id, "booking_created", str({"number": number}).replace("'", '"'))
        sql = statement.replace("$3, $4, $5, $6", "uuidv4(), $3, $4, now()")
        await connection.execute(sql, *values)

    follower: list[int] = []
    last = EntryId(0)

    async def look() -> None:
        nonlocal last
        for entry in await feed.after(UserId(john.id), last, limit=100):
            follower.append(entry.payload["number"])
            last = entry.id

    try:
        slow = database.transaction()
        await slow.start()
        await record(database, 1)
        quick = asyncio.create_task(record(other, 2))
        await asyncio.sleep(0.5)
        await look()
        await slow.commit()
        await quick
        await look()
    finally:
        await own.close()
        await other.close()
    assert follower == seen


async def test_repeated_message_is_published_once(
    database: asyncpg.Connection, database_url: str, redis_url: str, john: Member
) -> None:
    """A worker that died after it recorded the entry leaves the message to another."""
    async with a_publisher(database_url, redis_url) as publisher:
        message = publisher.message(john.id, 1)
        await publisher.sender.deliver(message)
        await publisher.sender.deliver(message)
    assert await database.fetchval("SELECT count(*) FROM feed_entries") == 1


async def test_entries_are_deleted_after_30_days(
    database: asyncpg.Connection, database_url: str, redis_url: str, john: Member
) -> None:
    own = Database(database_url, pool_size=1)
    async with a_publisher(database_url, redis_url) as publisher:
        for number in range(3):
            await publisher.publish(john.id, number)
    await database.execute(
        """INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at, recorded_at)
           SELECT $1, uuidv4(), 'booking_created', '{}', now(), now() - interval '30 days 1 minute'
           FROM generate_series(1, 1200)""",
        john.id,
    )
    await database.execute("UPDATE feed_entries SET recorded_at = now() - interval '29 days 23 hours' WHERE id = 1")
    try:
        pruning, rule = Pruning(own, lambda *_: None), Rule("live_updates", PRUNE_LIVE_UPDATES, RETENTION)
        assert await pruning.prune(rule) == 1200
        assert await pruning.prune(rule) == 0
    finally:
        await own.close()
    assert await database.fetchval("SELECT count(*) FROM feed_entries") == 3


# The end of a process


@pytest.mark.parametrize("drain", ["0", "3"])
async def test_stopping_process_closes_its_connections_immediately(
    database_url: str, redis_url: str, tmp_path: Path, john: Member, drain: str
) -> None:
    environ = server_environ(database_url, redis_url, tmp_path, drain_seconds=drain)
    with running_apis(1, environ, tmp_path) as (api,):
        await api.ready()
        async with a_socket(api.address, john.token) as socket, a_stream(api.address, john.token) as stream:
            os.kill(api.pid, signal.SIGTERM)
            assert await closed_with(socket) == 1012
            assert await stream.ended()
        if drain != "0":
            # New connections are rejected in the meantime.
            with pytest.raises(InvalidStatus) as caught:
                async with a_socket(api.address, john.token):
                    pass
            assert caught.value.response.status_code == 503
            url = f"http://{api.address[0]}:{api.address[1]}/facilitator/feed"
            async with httpx.AsyncClient() as client:
                answer = await client.get(url, headers={"Authorization": f"Bearer {john.token}"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert await asyncio.to_thread(api.process.wait, 10) == 0
        assert '"level":"error"' not in api.log.read_text()


# Many, and slow ones


def resident(pid: int) -> int:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


SOCKETS_EACH = 10 if LONG_RUN else 3


async def test_many_sockets_receive_their_updates(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    facilitators = await many_users(database, 20, role="facilitator")
    with running_apis(1, server_environ(database_url, redis_url, tmp_path), tmp_path) as (api,):
        await api.ready()
        async with a_publisher(database_url, redis_url) as publisher:
            opened = await asyncio.gather(
                *(_opened(api, each, "?last_event_id=0") for each in facilitators for _ in range(SOCKETS_EACH))
            )
            for number in range(5):
                for each in facilitators:
                    await publisher.publish(each.id, number)
            for owner, socket in opened:
                seen = [await next_update(socket) for _ in range(5)]
                assert [entry["data"]["booking_id"] for entry in seen] == [0, 1, 2, 3, 4]
                assert {entry["data"]["facilitator_id"] for entry in seen} == {owner.id}
            await asyncio.gather(*(socket.close() for _, socket in opened))


# Takes 12 s: the server waits 10 s for a client that does not read.
async def test_clients_that_do_not_read_use_no_memory_and_are_disconnected(
    database: asyncpg.Connection, database_url: str, redis_url: str, tmp_path: Path, john: Member
) -> None:
    await database.execute(
        """INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at)
           SELECT $1, uuidv4(), 'booking_created', jsonb_build_object('n', n, 'notes', repeat('x', 20000)), now()
           FROM generate_series(1, 1000) n""",
        john.id,
    )  # 20 MB for each
    with running_apis(1, server_environ(database_url, redis_url, tmp_path), tmp_path) as (api,):
        await api.ready()
        before = resident(api.pid)
        lazy = [_non_reading(api, _handshake(john)) for _ in range(5)]
        lazy += [_non_reading(api, _streaming(john)) for _ in range(5)]
        try:
            most = before
            async with asyncio.timeout(60):
                while (text := api.log.read_text()).count('"path":"/ws/notifications","status":101') < 5 or (
                    text.count('"path":"/facilitator/feed","status":200') < 5
                ):
                    most = max(most, resident(api.pid))
                    await asyncio.sleep(0.2)
            assert most - before < 80, f"{before} MiB became {most}"
            # Their connection slots are free again.
            async with a_socket(api.address, john.token, "?last_event_id=0") as socket:
                assert (await next_update(socket))["data"]["n"] == 1
        finally:
            for each in lazy:
                each.close()


async def _opened(api: ApiProcess, member: Member, query: str) -> tuple[Member, ClientConnection]:
    return member, await a_socket(api.address, member.token, query, open_timeout=30)


def _non_reading(api: ApiProcess, request: str) -> sockets.socket:
    """A connection that asks and then reads nothing."""
    connection = sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    connection.connect(api.address)
    connection.sendall(request.encode())
    return connection


def _handshake(member: Member) -> str:
    return (
        "GET /ws/notifications?last_event_id=0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {member.token}\r\n\r\n"
    )


def _streaming(member: Member) -> str:
    return (
        "GET /facilitator/feed HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n"
        f"Authorization: Bearer {member.token}\r\n\r\n"
    )
