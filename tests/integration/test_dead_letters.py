"""What an operator sees of the outbox and does about it, from the command line."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from application.audit.ports import UNKEYED_TRAIL
from application.outbox.delivery import DeliverMessages
from domain.outbox import (
    Destination,
    MessageNotDead,
    MessageNotDiscardable,
    MessageNotFound,
    MessageStatus,
    RetrySchedule,
)
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import replays
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.outbox.dead_letters import PostgresDeadLetters
from tests.support.command import bare_environ, convene_here
from tests.support.messages import add_message, deliver_due
from tests.support.receivers import Receiver, answer, receiving

Convene = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def crm() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def own(shared_database_url: str) -> AsyncIterator[Database]:
    own = Database(shared_database_url)
    yield own
    await own.close()


@pytest.fixture
async def deliver(own: Database, crm: Receiver) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Tries once what is due; what fails is dead."""
    sender = CrmSender(crm.url, "t")
    due = DeliverMessages(
        PostgresOutboxClaims(own),
        PostgresCircuitBreakers(own),
        {Destination.CRM: sender},
        RetrySchedule((timedelta(0),)),
    )

    async def deliver() -> None:
        await deliver_due(due, Destination.CRM)

    yield deliver
    await sender.close()


@pytest.fixture
async def dead(emptied_database: asyncpg.Connection, crm: Receiver, deliver: Callable[[], Awaitable[None]]) -> UUID:
    """A message that the CRM refused; the CRM has come to its senses since."""
    crm.always(answer(400, b'{"error": "Missing\x1b[31m required fields"}'))
    message_id = await add_message(emptied_database, ordering_key="booking:12")
    await deliver()
    crm.behave = None
    return message_id


@pytest.fixture
def convene(shared_database_url: str, tmp_path: Path) -> Convene:
    async def convene(*arguments: str, **environ: str) -> tuple[int, str, str]:
        environ = bare_environ(DATABASE_URL=shared_database_url, CONVENE_DATA=str(tmp_path)) | environ
        done = await asyncio.to_thread(convene_here, "outbox", *arguments, cwd=tmp_path, environ=environ)
        return done.returncode, done.stdout, done.stderr

    return convene


@pytest.fixture
def convene_process(shared_database_url: str, tmp_path: Path) -> Convene:
    """The same in a process."""

    async def convene(*arguments: str, **environ: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "interfaces.cli", "outbox", *arguments),
            env=os.environ | {"DATABASE_URL": shared_database_url, "CONVENE_DATA": str(tmp_path)} | environ,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return convene


async def status_of(database: asyncpg.Connection, message_id: UUID) -> str:
    return str(await database.fetchval("SELECT status FROM outbox WHERE id = $1", message_id))


async def test_replayed_message_has_the_same_id_and_a_new_schedule(
    emptied_database: asyncpg.Connection,
    own: Database,
    crm: Receiver,
    dead: UUID,
    deliver: Callable[[], Awaitable[None]],
) -> None:
    dead_letters = PostgresDeadLetters(own)
    await dead_letters.replay(dead)
    with pytest.raises(MessageNotDead):
        await dead_letters.replay(dead)
    await deliver()
    assert crm.message_ids == [str(dead)] * 2
    kept = await dead_letters.show(dead)
    assert (kept.message.status, kept.message.attempts, kept.message.last_error) == ("delivered", 1, None)
    assert [made.status_code for made in kept.attempts_made] == [400, 200]


async def replayed_by_ten_at_once(replay: Callable[[UUID], Awaitable[None]], message_id: UUID) -> int:
    """How many of the ten replays succeeded."""
    outcomes = await asyncio.gather(*(replay(message_id) for _ in range(10)), return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, MessageNotDead) for outcome in outcomes), outcomes
    return outcomes.count(None)


async def test_of_ten_concurrent_replays_one_succeeds(own: Database, dead: UUID) -> None:
    assert await replayed_by_ten_at_once(PostgresDeadLetters(own).replay, dead) == 1


async def test_without_atomic_check_concurrent_replays_all_succeed(own: Database, dead: UUID) -> None:
    """Negative control."""
    dead_letters, looked = PostgresDeadLetters(own), asyncio.Barrier(10)

    async def look_then_replay(message_id: UUID) -> None:
        async with asyncio.timeout(20):
            status = (await dead_letters.show(message_id)).message.status
            await looked.wait()
        if status is not MessageStatus.DEAD:
            raise MessageNotDead
        async with own.connection() as connection:
            await connection.execute("UPDATE outbox SET status = 'pending', attempts = 0 WHERE id = $1", message_id)

    assert await replayed_by_ten_at_once(look_then_replay, dead) == 10


async def test_replay_by_destination_and_time_selects_dead_messages_only(
    emptied_database: asyncpg.Connection, own: Database, dead: UUID
) -> None:
    dead_letters = PostgresDeadLetters(own)
    pending = await add_message(emptied_database)
    mailed = await add_message(emptied_database, destination="email")
    await emptied_database.execute("UPDATE outbox SET status = 'dead' WHERE id = $1", mailed)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await dead_letters.replay_all(destination=Destination.CRM, since=tomorrow) == 0
    assert await dead_letters.replay_all(destination=Destination.CRM, since=None) == 1
    states = [await status_of(emptied_database, each) for each in (dead, mailed, pending)]
    assert states == ["pending", "dead", "pending"]


async def seen_during_replay(
    replaying: Database, database: asyncpg.Connection, patched: pytest.MonkeyPatch
) -> set[int]:
    """How many messages of one ordering key others see pending while three delivered ones and a newer one are replayed,
    one in a statement."""
    for _ in range(3):
        await add_message(database, ordering_key="booking:12")
    await database.execute("UPDATE outbox SET status = 'delivered', settled_at = now()")
    await add_message(database, ordering_key="booking:12")
    slow = "WHERE outbox.id = chosen.id AND pg_sleep(0.1) IS NOT NULL"
    patched.setattr(replays, "_AT_ONCE", 1)
    patched.setattr(replays, "_DELIVERED", replays._DELIVERED.replace("WHERE outbox.id = chosen.id", slow))
    since = datetime.now(UTC) - timedelta(hours=1)
    replaying_since = replays.replay_since(
        replaying, Destination.CRM, since, per_second=100, most=10, trail=UNKEYED_TRAIL()
    )
    replay = asyncio.create_task(replaying_since)
    seen = set()
    while not replay.done():
        seen.add(await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'pending'"))
        await asyncio.sleep(0.01)
    assert (await replay).messages == 3
    return seen | {await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'pending'")}


async def test_messages_of_a_key_are_replayed_together(
    emptied_database: asyncpg.Connection, own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a newer message could be delivered between them."""
    assert await seen_during_replay(own, emptied_database, monkeypatch) == {1, 4}


class WithoutTransactions(Database):
    """The connection of a replay commits each statement."""

    @contextlib.asynccontextmanager
    async def connection_for(self, seconds: float) -> AsyncIterator[Any]:
        async with super().connection_for(seconds) as connection:
            yield SimpleNamespace(
                fetch=connection.fetch,
                fetchval=connection.fetchval,
                execute=connection.execute,
                transaction=contextlib.nullcontext,
            )


async def test_without_a_transaction_messages_of_a_key_are_replayed_one_by_one(
    emptied_database: asyncpg.Connection, shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    database = WithoutTransactions(shared_database_url)
    assert await seen_during_replay(database, emptied_database, monkeypatch) > {1, 4}
    await database.close()


async def test_unknown_or_not_dead_message_is_rejected(emptied_database: asyncpg.Connection, own: Database) -> None:
    dead_letters = PostgresDeadLetters(own)
    pending = await add_message(emptied_database)
    for unknown in (dead_letters.show(uuid4()), dead_letters.discard(uuid4())):
        with pytest.raises(MessageNotFound):
            await unknown
    with pytest.raises(MessageNotFound):
        await dead_letters.replay(uuid4())
    with pytest.raises(MessageNotDiscardable):
        await dead_letters.discard(pending)


async def test_list_shows_dead_messages_without_control_characters(
    emptied_database: asyncpg.Connection, dead: UUID, convene: Convene
) -> None:
    await add_message(emptied_database)
    status, out, _ = await convene("list")
    heads, line = out.splitlines()
    assert status == 0
    assert heads.split() == "id destination fact lane status tries happened last error".split()
    assert line.split()[:6] == [str(dead), "crm", "booking_created", "booking:12", "dead", "1"]
    assert "400 Bad Request" in line
    assert "\x1b" not in out


async def test_list_filters_by_status_destination_and_time(
    emptied_database: asyncpg.Connection, dead: UUID, convene: Convene
) -> None:
    pending = await add_message(emptied_database, destination="email")
    _, out, _ = await convene("list", "--status", "all", "--since", "1h")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [str(pending), str(dead)]
    _, out, _ = await convene("list", "--status", "all", "--destination", "email")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [str(pending)]
    _, out, _ = await convene("list", "--status", "all", "--limit", "1")
    [more] = out.splitlines()[2:]
    assert more.startswith("... and more: --cursor ")
    _, rest, _ = await convene("list", "--status", "all", "--limit", "1", "--cursor", more.split()[4])
    assert rest.splitlines()[1].split()[0] != out.splitlines()[1].split()[0]
    status, _, error = await convene("list", "--cursor", "nonsense!")
    assert (status, error.strip()) == (1, "convene: cursor: Is not a cursor of this list")
    assert await convene("list", "--since", "2099-01-01") == (0, "no dead messages\n", "")


async def test_show_prints_message_and_attempts(dead: UUID, convene_process: Convene) -> None:
    status, out, _ = await convene_process("show", str(dead))
    assert status == 0
    assert "1 attempt made" in out
    assert "failed 400" in out
    assert '"reference": "BK2026000012"' in out
    assert "\x1b" not in out


async def test_message_text_is_printed_without_control_characters(
    emptied_database: asyncpg.Connection, convene: Convene
) -> None:
    title = "Yoga\u202egnikaerb \U000e0001é"
    message_id = await add_message(emptied_database, event={"title": title})
    _, out, _ = await convene("show", str(message_id))
    assert out.replace("\n", "").isprintable()
    assert json.loads(out.partition("happened\n")[2])["event"]["title"] == title


async def test_replay_and_discard_from_the_command_line(
    emptied_database: asyncpg.Connection, dead: UUID, convene: Convene
) -> None:
    assert await convene("replay", str(dead)) == (0, "1 message will be sent again\n", "")
    assert await status_of(emptied_database, dead) == "pending"
    refused = (1, "", "convene: Only dead and held messages can be discarded\n")
    assert await convene("discard", str(dead)) == refused
    status, out, _ = await convene("replay", "--all")
    assert (status, out.splitlines()[0]) == (0, "no dead messages match; the outbox has")
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [["crm", "pending"]]
    await emptied_database.execute("UPDATE outbox SET status = 'dead' WHERE id = $1", dead)
    assert await convene("discard", str(dead)) == (0, "1 message discarded\n", "")
    assert await status_of(emptied_database, dead) == "discarded"


async def test_dead_messages_of_a_destination_are_discarded_together(
    emptied_database: asyncpg.Connection, dead: UUID, convene: Convene
) -> None:
    mailed = await add_message(emptied_database, destination="email")
    await emptied_database.execute("UPDATE outbox SET status = 'dead' WHERE id = $1", mailed)
    assert await convene("discard", "--since", "2099-01-01") == (0, "no dead messages match\n", "")
    assert await convene("discard", "--destination", "crm", "--since", "1h") == (0, "1 message discarded\n", "")
    assert [await status_of(emptied_database, each) for each in (dead, mailed)] == ["discarded", "dead"]


async def test_held_messages_are_discarded_from_the_command_line(
    emptied_database: asyncpg.Connection, dead: UUID, convene: Convene
) -> None:
    held = [await add_message(emptied_database, destination="email") for _ in range(3)]
    await emptied_database.execute(
        "UPDATE outbox SET status = 'held', held_for = 'ada@example.com', settled_at = now() WHERE id = ANY ($1)", held
    )
    assert await convene("discard", str(held[0])) == (0, "1 message discarded\n", "")
    chosen = ("discard", "--status", "held", "--destination", "email")
    assert await convene(*chosen) == (0, "2 messages discarded\n", "")
    assert await convene(*chosen) == (0, "no held messages match\n", "")
    assert [await status_of(emptied_database, each) for each in (*held, dead)] == [*["discarded"] * 3, "dead"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("halted_at = now()", "crm is halted until `convene outbox resume crm`: 410 Gone"),
        ("paused_until = now() + interval '1 h'", "crm requested a pause until "),
        (
            "tripped_at = now(), probe_at = now()",
            "crm keeps failing and receives one probe every 30 s: 410 Gone",
        ),
    ],
)
async def test_unserved_destination_is_listed_until_it_is_resumed(
    emptied_database: asyncpg.Connection, convene: Convene, columns: str, said: str
) -> None:
    assert await convene("resume", "crm") == (0, "deliveries to crm were not stopped\n", "")
    await emptied_database.execute("INSERT INTO destinations (name, reason) VALUES ('crm', '410 Gone')")
    await emptied_database.execute(f"UPDATE destinations SET {columns}")
    status, out, _ = await convene("list")
    assert status == 0
    assert out.startswith(f"no dead messages\n{said}")
    assert await convene("resume", "crm") == (0, "deliveries to crm are resumed\n", "")
    assert await convene("list") == (0, "no dead messages\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "--all", "--since", "1h"),
        ("discard",),
        ("discard", "01a0b1c2-d3e4-7f50-8a6b-7c8d9e0f1a2b", "--since", "1h"),
        ("resume",),
        ("resume", "pigeon"),
        ("show", "12"),
        ("list", "--since", "yesterday"),
        ("list", "--status", "lost"),
    ],
)
async def test_invalid_call_is_answered_in_one_line(convene: Convene, arguments: tuple[str, ...]) -> None:
    status, out, err = await convene(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("convene: ")


async def test_unknown_message_and_unavailable_database_are_one_line(convene: Convene) -> None:
    assert await convene("show", str(uuid4())) == (1, "", "convene: Message not found\n")
    nowhere = "postgresql://convene@127.0.0.1:1/convene"
    status, out, err = await convene("list", DATABASE_URL=nowhere)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "check DATABASE_URL" in err
