"""What ends the access to an account ends all of it: whichever table holds a credential, now and later."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text

from application.accounts.access import end_access
from application.calendars.ports import Grant
from domain.accounts import Role, User, UserId
from domain.calendars import Provider
from domain.credentials import REVOKED, AccessEnd, Credential
from domain.errors import Unauthenticated
from infrastructure import container
from infrastructure.postgres.accounts.credentials import REVOKE
from infrastructure.postgres.calendars import feeds
from infrastructure.postgres.tables import metadata
from infrastructure.settings import Settings
from tests.support.load import many_users

# Which tables there are

MAY_HOLD_A_SECRET = re.compile(r"token|secret|password|fingerprint|verifier|nonce|credential|api_key|digest")

NO_CREDENTIALS = {
    "bookings": "what a person booked",
    "coaches": "what a coach says of their time",
    "coaching_attachments": "files, read by those who are logged in",
    "coaching_bookings": "what a person booked",
    "coaching_changes": "history",
    "erasures": "accounts that are going to be erased",
    "events": "what a facilitator offers",
    "facilitator_profiles": "what a facilitator says of themselves",
    "invitations": "seats held for people; the secrets of their links are derived, and stored nowhere",
    "feed_entries": "news, read by those who are logged in",
    "login_tickets": "logins that wait for a second factor, bound to the token version",
    "oauth_attempts": "a sign-in is a browser's; a calendar's consent is bound to the token version",
    "refunds": "who asked for money to be paid back",
    "reminders": "what a person is reminded of",
    "reviews": "what a person wrote",
    "unverified_mails": "which mails an address was sent; the address is a hash",
}
"""Tables that refer to a user or have a column that could be a secret, and give no access. With the reason."""


def tables_revoked() -> set[str]:
    named = {name for sql in REVOKE.values() for name in re.findall(r"(?:UPDATE|DELETE FROM) (\w+)", sql)}
    return named | {"refresh_tokens"}  # of a login


def may_give_access(table: Table) -> bool:
    refers = any(key.column.table.name == "users" for key in table.foreign_keys)
    return refers or any(
        isinstance(column.type, LargeBinary) or MAY_HOLD_A_SECRET.search(column.name) for column in table.columns
    )


def test_every_table_with_credentials_is_revoked_or_listed_as_without() -> None:
    """A new table comes here: a credential gets a member of `Credential` and its statement in `REVOKE`."""
    suspects = {table.name for table in metadata.sorted_tables if may_give_access(table)}
    assert suspects - tables_revoked() - NO_CREDENTIALS.keys() == set()
    assert not tables_revoked() & NO_CREDENTIALS.keys()


def test_forgotten_credential_table_is_detected() -> None:
    """What makes the test above mean something."""
    assert may_give_access(Table("service_keys", MetaData(), Column("fingerprint", Text)))
    assert may_give_access(Table("webhooks", MetaData(), Column("signed_with", LargeBinary)))
    assert not may_give_access(metadata.tables["delivery_counts"])


def test_each_credential_has_a_revoking_statement_and_each_reason_its_set() -> None:
    assert set(REVOKE) == set(Credential)
    assert set(REVOKED) == set(AccessEnd)
    assert REVOKED[AccessEnd.ADDRESS_PROVEN] == set(Credential)
    assert all(Credential.LOGINS in ended for ended in REVOKED.values())


# What is left

HELD: dict[Credential, tuple[str, str]] = {
    Credential.LOGINS: (
        "SELECT",  # the crowd is logged in
        "SELECT count(*) FROM logins WHERE user_id = $1 AND ended_at IS NULL",
    ),
    Credential.PASSWORD: (
        "UPDATE users SET password_hash = 'x' WHERE id = $1",
        "SELECT count(password_hash) FROM users WHERE id = $1",
    ),
    Credential.ACCOUNT_TOKENS: (
        """INSERT INTO account_tokens (fingerprint, kind, user_id, email, created_at, expires_at)
           VALUES (sha256(int8send($1)), 'verify_email', $1, 'ada@example.com', now(), now() + interval '1 h')""",
        "SELECT count(*) FROM account_tokens WHERE user_id = $1 AND used_at IS NULL",
    ),
    Credential.API_KEYS: (
        """INSERT INTO api_keys (user_id, name, scopes, prefix, fingerprint, created_at)
           VALUES ($1, 'CRM', '{bookings:read}', 'cvk_0', sha256(int8send($1)), now())""",
        "SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL",
    ),
    Credential.SECOND_FACTORS: (
        """WITH codes AS (INSERT INTO recovery_codes (user_id, fingerprint, created_at) VALUES ($1, 'hashed', now()))
           INSERT INTO second_factors (id, user_id, kind, name, created_at, confirmed_at)
           VALUES (uuidv4(), $1, 'totp', 'Phone', now(), now())""",
        """SELECT (SELECT count(*) FROM second_factors WHERE user_id = $1)
                + (SELECT count(*) FROM recovery_codes WHERE user_id = $1)""",
    ),
    Credential.CALENDAR_FEED: (
        "INSERT INTO calendar_feeds (user_id, fingerprint, created_at) VALUES ($1, sha256(int8send($1)), now())",
        "SELECT count(*) FROM calendar_feeds WHERE user_id = $1",
    ),
    Credential.CONNECTED_CALENDARS: (
        """INSERT INTO calendar_connections (user_id, provider, status, tokens, expires_at, connected_at)
           SELECT $1, p, 'active', 'sealed', now(), now() FROM unnest('{google,outlook}'::text[]) p""",
        "SELECT count(*) FROM calendar_connections WHERE user_id = $1",
    ),
    Credential.KNOWN_NETWORKS: (
        "INSERT INTO login_networks (user_id, network, last_login_at) VALUES ($1, 'hashed', now())",
        "SELECT count(*) FROM login_networks WHERE user_id = $1",
    ),
    Credential.IDEMPOTENCY_ANSWERS: (
        """INSERT INTO idempotency_keys (owner, key, request, runner, leased_until)
           VALUES ('user:' || $1::text, 'order-1', '', gen_random_uuid(), now())""",
        "SELECT count(*) FROM idempotency_keys WHERE owner = 'user:' || $1",
    ),
}


@pytest.fixture
async def parts(make_settings: Callable[..., Settings]) -> AsyncIterator[container.Container]:
    parts = container.build(
        make_settings(
            google_client_id="id",
            google_client_secret="secret",
            oauth_redirect_allowlist="https://app.example.com/back",
        )
    )
    yield parts
    await parts.close()


async def a_user(parts: container.Container, database: asyncpg.Connection) -> User:
    [member] = await many_users(database, 1)
    async with parts.open_work() as work:
        return await work.users.get(UserId(member.id))


async def held(database: asyncpg.Connection, user: User) -> set[Credential]:
    found = set()
    for credential, (_, count) in HELD.items():
        argument = str(user.id) if "||" in count else user.id
        if await database.fetchval(count, argument):
            found.add(credential)
    return found


async def give_everything(database: asyncpg.Connection, user: User) -> None:
    for give, _ in HELD.values():
        if give != "SELECT":
            await database.execute(give, str(user.id) if "||" in give else user.id)
    assert await held(database, user) == set(Credential)


@pytest.mark.parametrize("why", AccessEnd)
async def test_ending_access_leaves_other_credentials_and_other_users(
    parts: container.Container, database: asyncpg.Connection, why: AccessEnd
) -> None:
    user, other = await a_user(parts, database), await a_user(parts, database)
    await give_everything(database, user)
    await give_everything(database, other)
    async with parts.open_work() as work:
        locked = await work.users.get_locked(user.id)
        await end_access(work, locked, why, parts.use_cases.clock.now())
        await work.commit()
    assert await held(database, user) == set(Credential) - REVOKED[why]
    assert await held(database, other) == set(Credential)
    versions = await database.fetch("SELECT id, token_version FROM users")
    assert {row["id"]: row["token_version"] for row in versions} == {user.id: 2, other.id: 1}
    ended = await database.fetch("SELECT end_reason FROM logins WHERE user_id = $1", user.id)
    assert {row["end_reason"] for row in ended} == {str(why)}


async def test_operator_commands_end_every_login(parts: container.Container, database: asyncpg.Connection) -> None:
    user = await a_user(parts, database)
    await give_everything(database, user)
    assert await parts.administration.grant_role(user.email, role=Role.FACILITATOR)
    assert Credential.LOGINS not in await held(database, user)
    assert Credential.CALENDAR_FEED in await held(database, user)
    assert await parts.administration.set_account_active(user.email, active=False)
    ended = {Credential.LOGINS, Credential.ACCOUNT_TOKENS, Credential.CALENDAR_FEED, Credential.API_KEYS}
    assert await held(database, user) == set(Credential) - ended


# Who lost access creates no credential with what is left of it

BACK = "https://app.example.com/back"


async def test_request_with_ended_access_opens_no_feed_and_connects_no_calendar(
    parts: container.Container, database: asyncpg.Connection
) -> None:
    before = await a_user(parts, database)
    await database.execute("UPDATE users SET token_version = token_version + 1 WHERE id = $1", before.id)
    with pytest.raises(Unauthenticated):
        await parts.feeds.open_feed(before)

    _, state = await parts.calendars.begin_calendar_consent(before, Provider.GOOGLE, BACK)
    connect = replace(parts.calendars.connect_calendar, services=_Obliging())
    with pytest.raises(Unauthenticated):
        await connect(before, Provider.GOOGLE, BACK, code="code", state=state)
    assert await held(database, before) == {Credential.LOGINS}
    assert await parts.feeds.open_feed(replace(before, token_version=2))


class _Obliging:
    """Gives tokens for any code."""

    def get(self, provider: Provider) -> Any:
        return self

    async def exchange(self, code: str, **_: Any) -> Any:
        return Grant("access", "refresh", "Bearer", timedelta(hours=1))


NAIVE_OPEN = """
INSERT INTO calendar_feeds (user_id, fingerprint, created_at)
SELECT $1, $2, $3 WHERE EXISTS (SELECT FROM users WHERE id = $1 AND token_version = $4)
ON CONFLICT (user_id) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = excluded.created_at
RETURNING true
"""


@pytest.mark.parametrize("guarded", [True, False])
async def test_feed_opened_while_access_ends_is_revoked(
    parts: container.Container,
    database: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
) -> None:
    """The owner's sign-in has revoked the feed and not committed yet; the attacker opens another."""
    if not guarded:
        monkeypatch.setattr(feeds, "OPEN", NAIVE_OPEN)
    user = await a_user(parts, database)
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("UPDATE users SET token_version = token_version + 1 WHERE id = $1", user.id)
        await other.execute("DELETE FROM calendar_feeds WHERE user_id = $1", user.id)
        opening = asyncio.create_task(parts.feeds.open_feed(user))
        if guarded:
            await waiting_for_a_lock(database)
        else:
            await opening
    await other.close()
    [outcome] = await asyncio.gather(opening, return_exceptions=True)
    assert isinstance(outcome, Unauthenticated) is guarded
    assert (Credential.CALENDAR_FEED in await held(database, user)) is not guarded


async def waiting_for_a_lock(database: asyncpg.Connection) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while not await database.fetchval(query):  # noqa: ASYNC110 (a lock of another process is no event here)
            await asyncio.sleep(0.01)
