"""A streaming replica serves lists; an account sees what it wrote, and a replica that cannot be used is not noticed.

One primary, one replica and two API processes (applications with containers of their own) serve the module. It takes
about 10 s, most of it for the servers.
"""

import asyncio
import contextlib
from base64 import urlsafe_b64encode as b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from domain.errors import Unavailable
from infrastructure import container
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.postgres.engine import Database
from infrastructure.postgres.replica import ReplicaReads, ReplicaState, ReplicaWatch
from infrastructure.retries import TransactionConflict
from interfaces.cli.connection_checks import replica_status
from interfaces.http.app import assemble
from interfaces.http.read_your_writes import ReadYourWrites, account_of
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.load import Member, many_users, some_events
from tests.support.messages import until
from tests.support.replica import Replica, running_replica
from tests.support.servers import running_postgres
from tests.support.settings import settings_for


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with running_postgres("convene") as server:
        migrations.upgrade(server.dsn("convene"))
        yield server


@pytest.fixture(scope="module")
def replica(primary: EmbeddedPostgres) -> Iterator[Replica]:
    with running_replica(primary) as server:
        yield server


@dataclass
class Process:
    """An API process: its container and a client."""

    parts: container.Container
    client: httpx.AsyncClient

    @property
    def watch(self) -> ReplicaWatch:
        assert self.parts.replica
        return self.parts.replica.watch

    async def has_state(self, state: ReplicaState) -> None:
        async def reached() -> bool:
            return self.watch.status.state is state

        await until(reached)

    async def bookings(self, member: Member) -> list[int]:
        answer = await self.client.get("/bookings", headers=member.headers)
        assert answer.status_code == 200, answer.text
        return [booking["event"]["id"] for booking in answer.json()["bookings"]]

    def read_from(self, server: str) -> float:
        """How many lists this server has served."""
        value = self.parts.metrics._registry.get_sample_value("convene_list_reads_total", {"server": server})
        return value or 0


@pytest.fixture(scope="module")
async def processes(
    primary: EmbeddedPostgres, replica: Replica, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Process]]:
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number in range(2):
            settings = settings_for(
                primary.dsn("convene"),
                redis_url,
                tmp_path_factory.mktemp(f"api-{number}"),
                database_replica_url=replica.dsn("convene"),
            )
            parts = container.build(settings)
            assert parts.replica
            # A busy machine is no outage. The test of the lag sets its own limit.
            parts.replica.watch._most_lag_seconds = parts.replica.watch._most_age_seconds = 60
            address = await stack.enter_async_context(serving(assemble(parts)))
            client = await stack.enter_async_context(a_client(address))
            # Answers are compared with the description of the API, which the first one reads: the event loop waits.
            assert (await client.get("/events")).status_code == 200
            found.append(Process(parts, client))
        yield found


@pytest.fixture
async def database(primary: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(primary.dsn("convene"))
    yield connection
    await connection.close()


@pytest.fixture
async def member(database: asyncpg.Connection) -> Member:
    return (await many_users(database, 1))[0]


@pytest.fixture
async def event(database: asyncpg.Connection) -> int:
    (facilitator,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, facilitator.id, 1, capacity=10, price=0)
    return event


@pytest.fixture
async def used(processes: list[Process]) -> list[Process]:
    """The processes, while they use the replica."""
    for process in processes:
        await process.has_state(ReplicaState.USED)
    return processes


@contextlib.asynccontextmanager
async def paused_replay(replica: Replica) -> AsyncIterator[None]:
    """The replica shows the state of now until the end. It counts as lagging after some seconds."""
    connection = await asyncpg.connect(replica.dsn("convene").replace("//convene@", "//postgres@"))
    await connection.execute("SELECT pg_wal_replay_pause()")
    try:
        while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield
    finally:
        await connection.execute("SELECT pg_wal_replay_resume()")
        await connection.close()


async def replayed(database: asyncpg.Connection, replica: Replica) -> None:
    """Waits until the replica has everything that the primary has now."""
    written = await database.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
    connection = await asyncpg.connect(replica.dsn("convene"))

    async def reached() -> bool:
        return bool(await connection.fetchval("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn >= $1", written))

    await until(reached)
    await connection.close()


async def book(process: Process, member: Member, event: int) -> None:
    answer = await process.client.post("/bookings", headers=member.headers, json={"event_id": event})
    assert answer.status_code == 201, answer.text


async def test_lists_are_read_from_the_replica(
    used: list[Process], replica: Replica, database: asyncpg.Connection, member: Member, event: int
) -> None:
    await replayed(database, replica)
    before = used[0].read_from("replica")
    assert await used[0].bookings(member) == []
    assert (await used[0].client.get("/events")).status_code == 200
    assert used[0].read_from("replica") == before + 2


async def test_account_sees_its_own_booking_in_every_process_while_the_replica_lags(
    used: list[Process], replica: Replica, database: asyncpg.Connection, member: Member, event: int
) -> None:
    """And others are served by the replica meanwhile."""
    await replayed(database, replica)
    async with paused_replay(replica):
        await book(used[0], member, event)
        assert [await process.bookings(member) for process in used] == [[event], [event]]
        (other,) = await many_users(database, 1)
        before = used[1].read_from("replica")
        await used[1].bookings(other)
        assert used[1].read_from("replica") == before + 1


async def test_without_the_rule_the_own_booking_is_missing(
    used: list[Process],
    replica: Replica,
    database: asyncpg.Connection,
    member: Member,
    event: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the test before."""
    await replayed(database, replica)

    async def never_wrote() -> bool:
        return False

    for process in used:
        assert process.parts.replica
        monkeypatch.setattr(process.parts.replica.writers, "reader_wrote", never_wrote)
    async with paused_replay(replica):
        await book(used[0], member, event)
        assert [await process.bookings(member) for process in used] == [[], []]


async def test_lagging_replica_is_not_used_and_used_again_when_it_has_caught_up(
    used: list[Process],
    replica: Replica,
    database: asyncpg.Connection,
    member: Member,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The primary is idle and the replica connected, so that PostgreSQL's own times show no lag. `/health/ready` stays
    ready."""
    await replayed(database, replica)
    for process in used:
        monkeypatch.setattr(process.watch, "_most_lag_seconds", 1.5)
    async with paused_replay(replica):
        await database.execute("SELECT txid_current()")
        await used[0].has_state(ReplicaState.LAGGING)
        before = used[0].read_from("primary")
        await used[0].bookings(member)
        assert used[0].read_from("primary") == before + 1
        ready = await used[0].client.get("/health/ready")
        assert (ready.status_code, ready.json()["replica"]["state"]) == (200, "lagging")
        assert ready.json()["replica"]["lag_seconds"] > 1.5
    await used[0].has_state(ReplicaState.USED)


async def test_killed_replica_is_not_noticed_by_readers(
    used: list[Process], replica: Replica, database: asyncpg.Connection, member: Member, event: int
) -> None:
    """The request that meets its end reads from the primary. Started again it is used again."""
    await book(used[0], member, event)
    (reader,) = await many_users(database, 1)
    await used[0].bookings(reader)
    replica.stop()
    try:
        assert [await process.bookings(reader) for process in used] == [[], []]
        assert await used[1].bookings(member) == [event]
        await used[0].has_state(ReplicaState.UNREACHABLE)
        assert (await used[0].client.get("/health/ready")).json()["replica"]["state"] == "unreachable"
        assert used[0].parts.metrics._registry.get_sample_value("convene_replica_unused") == 1
    finally:
        replica.start()
    await used[0].has_state(ReplicaState.USED)


async def test_redis_that_is_gone_makes_every_account_read_from_the_primary(
    used: list[Process], member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert used[0].parts.replica
    writers = used[0].parts.replica.writers

    async def refused(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(writers._redis, "exists", refused)
    before = used[0].read_from("primary")
    await used[0].bookings(member)
    assert used[0].read_from("primary") == before + 1


async def test_primary_in_place_of_a_replica_is_not_used(primary: EmbeddedPostgres) -> None:
    """Also after the replica was promoted: it would miss what is written to the primary."""
    server, other = Database(primary.dsn("convene")), Database(primary.dsn("convene"))
    watch = ReplicaWatch(server, other, most_lag_seconds=5)
    try:
        await watch.check()
        assert watch.status.state is ReplicaState.NOT_A_REPLICA
    finally:
        await server.close()
        await other.close()


async def test_standby_in_place_of_the_primary_ends_no_check(replica: Replica) -> None:
    """As after a failover before `DATABASE_URL` was changed."""
    servers = [Database(replica.dsn("convene")) for _ in range(2)]
    watch = ReplicaWatch(*servers, most_lag_seconds=5)
    try:
        await watch.check()
        assert watch.status.state is ReplicaState.LAGGING
    finally:
        for server in servers:
            await server.close()


async def test_replica_with_an_older_schema_is_not_used(primary: EmbeddedPostgres, replica: Replica) -> None:
    class NewerVersion:
        needed = "9999"

        async def fit(self, connection: Any) -> Any:
            from infrastructure.postgres.schema_version import SCHEMA_VERSION

            return await SCHEMA_VERSION.fit(connection)

    server, copy = Database(primary.dsn("convene")), Database(replica.dsn("convene"))
    schema: Any = NewerVersion()
    watch = ReplicaWatch(server, copy, most_lag_seconds=5, schema=schema)
    try:

        async def known() -> bool:
            await watch.check()
            return watch.status.state is ReplicaState.OTHER_SCHEMA

        await until(known)
    finally:
        await server.close()
        await copy.close()


@pytest.mark.parametrize("error", [Unavailable, TransactionConflict])
async def test_read_that_fails_on_the_replica_is_repeated_on_the_primary(error: type[Exception]) -> None:
    """An outage stops the use of the replica until the next check, a cancelled query does not."""

    class Watch:
        used = True

        def failed(self) -> None:
            self.used = False

    class NoWriters:
        async def reader_wrote(self) -> bool:
            return False

    async def fails() -> str:
        raise error

    async def answers() -> str:
        return "of the primary"

    watch: Any = Watch()
    assert await ReplicaReads(watch, NoWriters()).read(fails, answers) == "of the primary"
    assert watch.used is (error is TransactionConflict)


async def test_doctor_names_the_state_of_the_replica(
    primary: EmbeddedPostgres, replica: Replica, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_for(primary.dsn("convene"), redis_url, tmp_path)
    assert (await asyncio.to_thread(replica_status, settings, replica.dsn("convene"))).state is ReplicaState.USED
    status = await asyncio.to_thread(replica_status, settings, primary.dsn("convene"))
    assert status.state is ReplicaState.NOT_A_REPLICA


@pytest.mark.parametrize(
    ("authorization", "account"),
    [
        (b"Bearer e30." + b64encode(b'{"sub":"42","exp":1}').rstrip(b"=") + b".signature", "42"),
        (b"Bearer e30." + b64encode(b'{"sub":"42a"}').rstrip(b"=") + b".signature", None),
        (b"Bearer e30." + b64encode(b'{"sub":42}').rstrip(b"=") + b".signature", None),
        (b"Bearer e30." + b64encode(b'{"sub":"' + b"9" * 20 + b'"}').rstrip(b"=") + b".signature", None),
        (b"Bearer e30.e.signature", None),
        (b"Bearer e30.\xff\xfe.signature", None),
        (b"Bearer e30." + b"W" * 5000 + b".signature", None),
        (b"Bearer a-token-of-another-kind", None),
        (b"", None),
    ],
)
def test_account_is_the_one_that_the_token_names(authorization: bytes, account: str | None) -> None:
    assert account_of(authorization) == account


_OF_42 = b"e30." + b64encode(b'{"sub":"42"}').rstrip(b"=") + b".signature"


@pytest.mark.parametrize(
    ("headers", "account"),
    [
        ([(b"cookie", b"time_zone=UTC; session=" + _OF_42)], "42"),
        ([(b"cookie", b"form=" + _OF_42)], None),
        ([(b"cookie", b"session")], None),
        ([(b"authorization", b"Bearer x"), (b"cookie", b"session=" + _OF_42)], None),
        ([], None),
    ],
    ids=["session", "another cookie", "no value", "header and cookie", "neither"],
)
async def test_pages_read_what_their_session_wrote(headers: list[tuple[bytes, bytes]], account: str | None) -> None:
    reading: list[str | None] = []
    wrote: list[str] = []

    class Writers:
        def reads(self, account: str | None) -> None:
            reading.append(account)

        async def wrote(self, account: str) -> None:
            wrote.append(account)

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 303, "headers": []})

    async def ignore(_message: Any) -> None:
        pass

    app: Any = ReadYourWrites(answer, Writers(), "session")
    await app({"type": "http", "method": "POST", "headers": headers}, None, ignore)
    assert reading == [account]
    assert wrote == [account] * (account is not None)


async def test_check_that_is_too_old_stops_the_use_of_the_replica(primary: EmbeddedPostgres, replica: Replica) -> None:
    moment = [100.0]
    server, copy = Database(primary.dsn("convene")), Database(replica.dsn("convene"))
    watch = ReplicaWatch(server, copy, most_lag_seconds=5, now=lambda: moment[0])
    try:

        async def is_used() -> bool:
            await watch.check()
            return watch.used

        await until(is_used)
        moment[0] += 2.5
        assert not watch.used
    finally:
        await server.close()
        await copy.close()


def test_lag_is_the_age_of_the_newest_position_that_was_replayed() -> None:
    moment = [100.0]
    watch: Any = ReplicaWatch(None, None, most_lag_seconds=5, now=lambda: moment[0])  # type: ignore[arg-type]
    assert watch._lag_seconds() is None
    watch._replayed_at = 98.0
    assert watch._lag_seconds() == 2
    moment[0] += 60
    assert watch._lag_seconds() == 62
