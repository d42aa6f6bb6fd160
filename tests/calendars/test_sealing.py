"""Encryption of stored tokens: unreadable without the key, bound to their row, authenticated; keys can be rotated."""

import asyncio
import base64
from uuid import UUID

import asyncpg
import pytest

from domain.calendars import ConnectionId
from infrastructure.auth.token_encryption import SealBroken, SecretBox
from infrastructure.postgres.calendars.connections import TOKENS, place
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reencryption import reencrypt
from tests.calendars.calendar_harness import ON_GOOGLE, CalendarHarness
from tests.support.command import bare_environ, convene
from tests.support.settings import TOKEN_KEY

OLD, NEW = "o" * 32, "n" * 32
HERE, THERE = "calendar_connections:1", "calendar_connections:2"
SECRET = b"ya29.canary"


def test_encrypted_value_decrypts_only_in_its_row() -> None:
    box = SecretBox([OLD])
    sealed = box.seal(SECRET, HERE)
    assert box.open(sealed, HERE) == SECRET
    assert SECRET not in sealed
    assert base64.b64encode(SECRET) not in sealed
    assert box.seal(SECRET, HERE) != sealed
    with pytest.raises(SealBroken, match="another place"):
        box.open(sealed, THERE)


def test_changed_or_truncated_ciphertext_is_rejected() -> None:
    box = SecretBox([OLD, NEW])
    sealed = box.seal(SECRET, HERE)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            box.open(bytes(changed), HERE)
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            box.open(sealed[:length], HERE)


def test_all_keys_decrypt_and_the_first_encrypts() -> None:
    old, both, new = SecretBox([OLD]), SecretBox([NEW, OLD]), SecretBox([NEW])
    sealed = old.seal(SECRET, HERE)
    assert both.open(sealed, HERE) == SECRET
    assert (old.is_current(sealed), both.is_current(sealed)) == (True, False)
    with pytest.raises(SealBroken, match="not among TOKEN_ENCRYPTION_KEYS"):
        new.open(sealed, HERE)
    assert new.open(both.seal(SECRET, HERE), HERE) == SECRET


def test_without_a_key_encryption_fails() -> None:
    with pytest.raises(SealBroken, match="set TOKEN_ENCRYPTION_KEYS"):
        SecretBox([]).seal(SECRET, HERE)


@ON_GOOGLE
async def test_tokens_moved_from_another_row_are_rejected(calendar_harness: CalendarHarness) -> None:
    """Write access to the table is not enough to use the calendar of another user."""
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.connect(calendar_harness.client)
    booking_id = await calendar_harness.book()
    await calendar_harness.records.execute(
        """UPDATE calendar_connections SET tokens = (SELECT tokens FROM calendar_connections WHERE user_id = $1)
           WHERE user_id = $2""",
        calendar_harness.coach.id,
        calendar_harness.client.id,
    )
    asked = len(calendar_harness.calendar.receiver.requests)
    answer = await calendar_harness.sync(calendar_harness.client, booking_id)
    assert (answer.status_code, answer.json()["code"]) == (503, "calendar_away")
    assert len(calendar_harness.calendar.receiver.requests) == asked
    # Connecting again seals anew.
    await calendar_harness.connect(calendar_harness.client)
    assert (await calendar_harness.sync(calendar_harness.client, booking_id)).status_code == 200


@ON_GOOGLE
async def test_command_rotates_the_key_of_a_running_system(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    environ = bare_environ(
        DATABASE_URL=calendar_harness.settings.database_url,
        REDIS_URL=calendar_harness.settings.redis_url,
        TOKEN_ENCRYPTION_KEYS=f"{NEW},{TOKEN_KEY}",
        JWT_SECRET_KEY="j" * 32,
        CRM_BEARER_TOKEN="c" * 32,
        BACKEND_SERVICE_TOKEN="b" * 32,
    )
    done = await asyncio.to_thread(convene, "secrets", "rotate", environ=environ)
    assert (done.returncode, done.stdout) == (
        0,
        "1 connected calendar and 0 authenticator apps sealed with the first key\n",
    ), done.stderr
    [sealed] = await calendar_harness.records.fetch("SELECT id, tokens FROM calendar_connections")
    assert b"refresh" in SecretBox([NEW]).open(sealed["tokens"], place(ConnectionId(sealed["id"])))
    old = await calendar_harness.sync(calendar_harness.coach, booking_id)
    assert old.status_code == 503, "a process that does not know the new key says so"


async def connections(records: asyncpg.Connection, box: SecretBox, number: int) -> list[UUID]:
    ids = [row[0] for row in await records.fetch("SELECT uuidv7() FROM generate_series(1, $1)", number)]
    await records.execute(
        """WITH people AS (
               INSERT INTO users (email, name, role)
               SELECT 'member-' || n || '@example.com', 'Member', 'user' FROM generate_series(1, $1) n RETURNING id
           ), numbered AS (SELECT id, row_number() OVER () AS n FROM people)
           INSERT INTO calendar_connections (id, user_id, provider, status, tokens, expires_at, connected_at)
           SELECT fresh.id, numbered.id, 'google', 'active', fresh.tokens, now(), now()
           FROM unnest($2::uuid[], $3::bytea[]) WITH ORDINALITY AS fresh(id, tokens, n) JOIN numbered USING (n)""",
        number,
        ids,
        [box.seal(f"secret {each}".encode(), place(ConnectionId(each))) for each in ids],
    )
    return ids


async def test_keys_rotate_while_tokens_are_read(database_url: str, database: asyncpg.Connection) -> None:
    number = 4_000
    ids = await connections(database, SecretBox([OLD]), number)
    both = SecretBox([NEW, OLD])
    opened = Database(database_url)
    reads, failed = 0, 0
    over = asyncio.Event()

    async def reading(offset: int) -> None:
        nonlocal reads, failed
        at = offset
        while not over.is_set():
            at = (at + 7919) % number
            async with opened.connection() as connection:
                tokens = await connection.fetchval("SELECT tokens FROM calendar_connections WHERE id = $1", ids[at])
            try:
                assert both.open(tokens, place(ConnectionId(ids[at]))) == f"secret {ids[at]}".encode()
            except SealBroken:
                failed += 1
            reads += 1

    readers = [asyncio.create_task(reading(offset)) for offset in (1, 2, 3)]
    rotating = Database(database_url, pool_size=2)
    try:
        done = await reencrypt(rotating, both, TOKENS)
    finally:
        over.set()
        await asyncio.gather(*readers)
        await rotating.close()
        await opened.close()
    assert (done.resealed, done.broken) == (number, [])
    assert failed == 0
    assert reads > 0
    new = SecretBox([NEW])
    for row in await database.fetch("SELECT id, tokens FROM calendar_connections"):
        assert new.open(row["tokens"], place(ConnectionId(row["id"]))) == f"secret {row['id']}".encode()


async def test_swapped_row_is_reported_and_not_changed(database_url: str, database: asyncpg.Connection) -> None:
    ids = await connections(database, SecretBox([OLD]), 5)
    rows = {row["id"]: row["tokens"] for row in await database.fetch("SELECT id, tokens FROM calendar_connections")}
    for one, other in ((ids[0], ids[1]), (ids[1], ids[0])):
        await database.execute("UPDATE calendar_connections SET tokens = $2 WHERE id = $1", one, rows[other])
    rotating = Database(database_url, pool_size=2)
    try:
        done = await reencrypt(rotating, SecretBox([NEW, OLD]), TOKENS)
        assert (done.resealed, sorted(done.broken)) == (3, sorted(ids[:2]))
        assert (await reencrypt(rotating, SecretBox([NEW, OLD]), TOKENS)).resealed == 0
    finally:
        await rotating.close()
