"""The ports of accounts, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from application.accounts.ports.accounts import (
    AccountFilter,
    AccountQueries,
    ActorQueries,
    GuessedAccounts,
    SessionQueries,
)
from application.oauth import Attempt, Attempts
from application.ports import PageRequest
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import EmailTaken, LoginId, Role, User, UserId, UserNotFound
from domain.credentials import Credential
from domain.errors import Invalid
from domain.external_identity import ExternalAccountTaken, ExternalIdentity
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.sessions import Client, Session
from infrastructure.postgres.accounts.actors import PostgresActorQueries, QueuedActorQueries
from infrastructure.postgres.accounts.login_networks import PostgresGuessedAccounts
from infrastructure.postgres.accounts.oauth_attempts import PostgresAttempts
from infrastructure.postgres.accounts.queries import PostgresAccountQueries
from infrastructure.postgres.accounts.sessions import PostgresSessionQueries
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.account_queries import MemoryAccountQueries
from tests.support.memory.accounts import (
    MemoryActorQueries,
    MemoryAttempts,
    MemoryGuessedAccounts,
    MemorySessionQueries,
)
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NETWORK = b"a network"
_numbers = count(1)


@dataclass
class Accounts:
    """The ports, and what tests need of them often."""

    units: OpenUnitOfWork
    actors: ActorQueries
    sessions: SessionQueries
    guessed: GuessedAccounts
    attempts: Attempts
    queries: AccountQueries

    async def add(self, **values: Any) -> User:
        usual: dict[str, Any] = {
            "email": an_email(),
            "name": "Ada",
            "role": Role.USER,
            "password_hash": "hash",
            "now": NOW,
        }
        async with self.changing() as work:
            return await work.users.add(**usual | values)

    async def get(self, user_id: UserId) -> User:
        async with self.units() as work:
            return await work.users.get(user_id)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[UnitOfWork]:
        async with self.units() as work:
            yield work
            await work.commit()


@pytest.fixture(params=["memory", "postgres"])
def accounts(request: pytest.FixtureRequest) -> Accounts:
    if request.param == "memory":
        store = Store()
        units = MemoryUnitsOfWork(store, SettableClock(NOW))
        return Accounts(
            units,
            MemoryActorQueries(store),
            MemorySessionQueries(store),
            MemoryGuessedAccounts(store),
            MemoryAttempts(store),
            MemoryAccountQueries(store),
        )
    database: Database = request.getfixturevalue("postgres_database")
    return Accounts(
        UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None),
        QueuedActorQueries(PostgresActorQueries(database), seconds=database.timeouts.total),
        PostgresSessionQueries(database),
        PostgresGuessedAccounts(database),
        PostgresAttempts(database),
        PostgresAccountQueries(database),
    )


def an_email() -> str:
    return f"user{next(_numbers)}@example.com"


def an_identity(**claims: Any) -> ExternalIdentity:
    usual: dict[str, Any] = {"email": None, "email_verified": True, "name": None, "picture": None}
    return ExternalIdentity(**{"provider": "google", "subject": f"subject {next(_numbers)}"} | usual | claims)


# Users


async def test_added_user_is_stored(accounts: Accounts) -> None:
    added = await accounts.add(email="ada@example.com", role=Role.USER, requested_role=Role.FACILITATOR)

    assert await accounts.get(added.id) == added
    assert added == User(
        id=added.id,
        uuid=added.uuid,
        email="ada@example.com",
        name="Ada",
        role=Role.USER,
        phone=None,
        is_active=True,
        is_verified=False,
        token_version=1,
        created_at=NOW,
        requested_role=Role.FACILITATOR,
    )


async def test_ids_of_users_grow_and_uuids_differ(accounts: Accounts) -> None:
    first, second = await accounts.add(), await accounts.add()
    assert first.id < second.id
    assert first.uuid != second.uuid


async def test_change_without_commit_is_rolled_back(accounts: Accounts) -> None:
    async with accounts.units() as work:
        user = await work.users.add(email=an_email(), name="Ada", role=Role.USER, password_hash="hash", now=NOW)
        assert await work.users.get(user.id) == user
    with pytest.raises(UserNotFound):
        await accounts.get(user.id)


async def test_email_is_unique(accounts: Accounts) -> None:
    email = (await accounts.add()).email
    with pytest.raises(EmailTaken):
        await accounts.add(email=email)
    async with accounts.units() as work:
        with pytest.raises(EmailTaken):
            await work.users.add_external(an_identity(), email=email, name="Ada", now=NOW)
    async with accounts.units() as work:
        with pytest.raises(EmailTaken):
            await work.users.add_without_password(email=email, name="Ada", now=NOW)


async def test_external_identity_is_unique(accounts: Accounts) -> None:
    identity, other = an_identity(), await accounts.add()
    async with accounts.changing() as work:
        await work.users.add_external(identity, email=an_email(), name="Ada", now=NOW)

    async with accounts.units() as work:
        with pytest.raises(ExternalAccountTaken):
            await work.users.add_external(identity, email=an_email(), name="Ada", now=NOW)
    async with accounts.units() as work:
        with pytest.raises(ExternalAccountTaken):
            await work.users.save(replace(other, external_id=identity.subject))


async def test_external_account_has_the_claims_of_its_identity(accounts: Accounts) -> None:
    identity = an_identity(picture="https://pictures.example/ada", email_verified=True)
    async with accounts.changing() as work:
        added = await work.users.add_external(identity, email=an_email(), name="Ada", now=NOW)

    async with accounts.units() as work:
        assert await work.users.find_by_identity(identity) == added
        assert await work.users.find_by_identity(an_identity()) is None
        credentials = await work.users.find_credentials(added.email)
    assert (added.is_verified, added.role, added.profile_picture) == (True, Role.USER, identity.picture)
    assert credentials is not None
    assert credentials.password_hash is None


async def test_unverified_external_account_is_not_verified(accounts: Accounts) -> None:
    async with accounts.changing() as work:
        identity = an_identity(email_verified=False)
        added = await work.users.add_external(identity, email=an_email(), name="Ada", now=NOW)
    assert not (await accounts.get(added.id)).is_verified


async def test_account_without_password_is_verified(accounts: Accounts) -> None:
    async with accounts.changing() as work:
        added = await work.users.add_without_password(email=an_email(), name="Ada", now=NOW)
    async with accounts.units() as work:
        credentials = await work.users.find_credentials(added.email)
    assert credentials is not None
    assert (credentials.user.is_verified, credentials.password_hash) == (True, None)


async def test_unknown_user_is_not_found(accounts: Accounts) -> None:
    async with accounts.units() as work:
        with pytest.raises(UserNotFound):
            await work.users.get(UserId(2**40))
        with pytest.raises(UserNotFound):
            await work.users.get_locked(UserId(2**40))
        assert await work.users.find_credentials("unknown@example.com") is None


async def test_saved_user_keeps_email_and_time_of_creation(accounts: Accounts) -> None:
    user = await accounts.add()
    changed = replace(
        user,
        name="Countess",
        role=Role.FACILITATOR,
        phone="+49 30 1234",
        is_active=False,
        is_verified=True,
        token_version=7,
        external_id=f"subject of {user.email}",
        profile_picture="https://pictures.example/ada",
        timezone="Europe/Berlin",
        requested_role=Role.FACILITATOR,
    )
    async with accounts.changing() as work:
        await work.users.save(replace(changed, email="other@example.com", created_at=NOW + HOUR))

    assert await accounts.get(user.id) == changed


async def test_password_is_set_and_removed(accounts: Accounts) -> None:
    user = await accounts.add()
    for password_hash in ("another hash", None):
        async with accounts.changing() as work:
            await work.users.set_password(user.id, password_hash)
        async with accounts.units() as work:
            credentials = await work.users.find_credentials(user.email)
        assert credentials is not None
        assert (credentials.user, credentials.password_hash) == (user, password_hash)


# Logins


async def test_refresh_token_belongs_to_its_login(accounts: Accounts) -> None:
    user, fingerprint = await accounts.add(), uuid4().bytes
    async with accounts.changing() as work:
        login_id = await work.logins.start(user, NOW)
        await work.logins.add_refresh(login_id, fingerprint, NOW + HOUR)

    async with accounts.units() as work:
        token = await work.logins.find_refresh(fingerprint)
        assert await work.logins.find_refresh(b"unknown") is None
    assert token is not None
    assert (token.login_id, token.user_id, token.expires_at) == (login_id, user.id, NOW + HOUR)
    assert token.login_started_at == NOW
    assert (token.is_retired, token.login_is_over) == (False, False)


async def test_revoked_refresh_token_is_retired(accounts: Accounts) -> None:
    user, fingerprint, other = await accounts.add(), uuid4().bytes, uuid4().bytes
    async with accounts.changing() as work:
        login_id = await work.logins.start(user, NOW)
        for each in (fingerprint, other):
            await work.logins.add_refresh(login_id, each, NOW + HOUR)
    async with accounts.changing() as work:
        await work.logins.revoke_refresh(fingerprint, NOW)

    async with accounts.units() as work:
        tokens = [await work.logins.find_refresh(each) for each in (fingerprint, other)]
    assert [token.is_retired for token in tokens if token] == [True, False]


async def test_ended_login_ends_its_tokens_and_its_actor(accounts: Accounts) -> None:
    user, fingerprint = await accounts.add(), uuid4().bytes
    async with accounts.changing() as work:
        login_id, other = await work.logins.start(user, NOW), await work.logins.start(user, NOW)
        await work.logins.add_refresh(login_id, fingerprint, NOW + HOUR)
    async with accounts.changing() as work:
        assert await work.logins.end(login_id, NOW, reason="logged out")
        assert not await work.logins.end(login_id, NOW, reason="ended before")
        assert not await work.logins.end(LoginId(uuid4()), NOW, reason="unknown")

    async with accounts.units() as work:
        token = await work.logins.find_refresh(fingerprint)
    assert token is not None
    assert token.login_is_over
    assert await accounts.actors.find(user.id, login_id) is None
    assert await accounts.actors.find(user.id, other) == user


async def test_login_of_another_account_has_no_actor(accounts: Accounts) -> None:
    user, stranger = await accounts.add(), await accounts.add()
    async with accounts.changing() as work:
        login_id = await work.logins.start(user, NOW)
        assert await work.logins.get_start(login_id) == NOW
    assert await accounts.actors.find(stranger.id, login_id) is None
    assert await accounts.actors.find(user.id, LoginId(uuid4())) is None


async def test_login_is_ended_for_its_account_only(accounts: Accounts) -> None:
    user, stranger = await accounts.add(), await accounts.add()
    async with accounts.changing() as work:
        login_id = await work.logins.start(user, NOW)
    async with accounts.changing() as work:
        assert not await work.logins.end(login_id, NOW, reason="a test", of=stranger.id)
    assert await accounts.actors.find(user.id, login_id) == user
    async with accounts.changing() as work:
        assert await work.logins.end(login_id, NOW, reason="a test", of=user.id)
    assert await accounts.actors.find(user.id, login_id) is None


# Sessions

FIREFOX, SAFARI = Client("192.0.2.1", "Firefox"), Client("2001:db8::/64", "Safari")


async def sessions_of(accounts: Accounts, user: User, **changes: Any) -> list[Session]:
    values: dict[str, Any] = {"now": NOW, "started_after": NOW - HOUR, "used_after": NOW - HOUR}
    return [*(await accounts.sessions.list_of(user.id, PageRequest(), **values | changes)).items]


async def test_sessions_of_an_account_are_listed(accounts: Accounts) -> None:
    user, stranger = await accounts.add(), await accounts.add()
    async with accounts.changing() as work:
        first = await work.logins.start(user, NOW, FIREFOX)
        second = await work.logins.start(user, NOW)
        ended = await work.logins.start(user, NOW)
        await work.logins.end(ended, NOW, reason="a test")
        await work.logins.start(stranger, NOW)
    assert await sessions_of(accounts, user) == [
        Session(second, NOW, NOW, Client()),
        Session(first, NOW, NOW, FIREFOX),
    ]
    async with accounts.changing() as work:
        await work.logins.record_use(first, NOW + HOUR, SAFARI)
    assert (await sessions_of(accounts, user))[1] == Session(first, NOW, NOW + HOUR, SAFARI)


async def test_old_sessions_are_not_listed(accounts: Accounts) -> None:
    user, valid, expired, retired = await accounts.add(), uuid4().bytes, uuid4().bytes, uuid4().bytes
    logins = []
    async with accounts.changing() as work:
        for fingerprint, expires_at in ((valid, NOW + HOUR), (expired, NOW), (retired, NOW + HOUR)):
            logins.append(await work.logins.start(user, NOW))
            await work.logins.add_refresh(logins[-1], fingerprint, expires_at)
        await work.logins.revoke_refresh(retired, NOW)
    assert [each.id for each in await sessions_of(accounts, user)] == logins[::-1]
    assert [each.id for each in await sessions_of(accounts, user, used_after=NOW)] == [logins[0]]
    assert not await sessions_of(accounts, user, started_after=NOW)


async def test_list_of_sessions_has_pages(accounts: Accounts) -> None:
    user, logins, after = await accounts.add(), [], None
    async with accounts.changing() as work:
        for _ in range(3):
            logins.append(await work.logins.start(user, NOW))
    bounds = {"now": NOW, "started_after": NOW - HOUR, "used_after": NOW - HOUR}
    for expected in ([logins[2], logins[1]], [logins[0]]):
        page = await accounts.sessions.list_of(user.id, PageRequest(2, after), **bounds)
        assert [session.id for session in page.items] == expected
        after = page.next
    assert after is None
    with pytest.raises(Invalid):
        await accounts.sessions.list_of(user.id, PageRequest(2, "another list"), **bounds)


# Revocation


@pytest.mark.parametrize("revoked", [set(), {Credential.LOGINS}, {Credential.PASSWORD}, {Credential.KNOWN_NETWORKS}])
async def test_only_the_given_credentials_are_revoked(accounts: Accounts, revoked: set[Credential]) -> None:
    user, stranger = await accounts.add(), await accounts.add()
    logins = {}
    async with accounts.changing() as work:
        for each in (user, stranger):
            logins[each.id] = await work.logins.start(each, NOW)
            await work.login_networks.remember(each.id, NETWORK, NOW, since=NOW - HOUR, at_most=5)
    async with accounts.changing() as work:
        await work.access.revoke(user.id, revoked, NOW, reason="a test")

    for each in (user, stranger):
        found = {
            Credential.LOGINS: await accounts.actors.find(each.id, logins[each.id]) is not None,
            Credential.KNOWN_NETWORKS: (await accounts.guessed.find(each.email, NETWORK, since=NOW - HOUR))[1],
        }
        credentials, _ = await accounts.guessed.find(each.email, NETWORK, since=NOW)
        assert credentials is not None
        found[Credential.PASSWORD] = credentials.password_hash is not None
        assert {kind for kind, present in found.items() if not present} == (revoked if each is user else set())


# Networks


async def test_network_is_known_after_a_login(accounts: Accounts) -> None:
    user = await accounts.add()
    assert await accounts.guessed.find(user.email, NETWORK, since=NOW - HOUR) == (
        (await accounts.guessed.find(user.email, NETWORK, since=NOW))[0],
        False,
    )
    async with accounts.changing() as work:
        await work.login_networks.remember(user.id, NETWORK, NOW, since=NOW - HOUR, at_most=5)

    credentials, is_known = await accounts.guessed.find(user.email, NETWORK, since=NOW - HOUR)
    assert credentials is not None
    assert (credentials.user, credentials.password_hash, is_known) == (user, "hash", True)
    assert not (await accounts.guessed.find(user.email, b"another", since=NOW - HOUR))[1]
    assert not (await accounts.guessed.find(user.email, NETWORK, since=NOW))[1], "since then, not at that time"
    assert await accounts.guessed.find("unknown@example.com", NETWORK, since=NOW - HOUR) == (None, False)


async def test_networks_before_a_login_are_counted(accounts: Accounts) -> None:
    user, stranger, found = await accounts.add(), await accounts.add(), []
    day = timedelta(days=1)
    logins = [(stranger, NETWORK, NOW), (user, NETWORK, NOW), (user, b"second", NOW + day), (user, NETWORK, NOW + day)]
    for who, network, now in [*logins, (user, b"third", NOW + 3 * day)]:
        async with accounts.changing() as work:
            before = await work.login_networks.remember(who.id, network, now, since=now - 2 * day, at_most=5)
            found.append((before.is_known, before.number, before.in_last_day))
    assert found == [(False, 0, 0), (False, 0, 0), (False, 1, 0), (True, 2, 1), (False, 0, 0)]


async def test_oldest_networks_beyond_the_limit_are_deleted(accounts: Accounts) -> None:
    user, networks = await accounts.add(), [b"first", b"second", b"third", b"fourth"]
    for minute, network in enumerate(networks):
        async with accounts.changing() as work:
            now = NOW + timedelta(minutes=minute)
            await work.login_networks.remember(user.id, network, now, since=NOW - HOUR, at_most=3)

    assert await known(accounts, user, networks) == [False, True, True, True]


async def test_old_networks_are_deleted_at_the_next_login(accounts: Accounts) -> None:
    user = await accounts.add()
    for now, network in ((NOW, b"first"), (NOW + HOUR, b"second"), (NOW + 2 * HOUR, b"third")):
        async with accounts.changing() as work:
            await work.login_networks.remember(user.id, network, now, since=now - HOUR, at_most=5)

    assert await known(accounts, user, [b"first", b"second", b"third"]) == [False, False, True]


async def known(accounts: Accounts, user: User, networks: list[bytes]) -> list[bool]:
    since = NOW - timedelta(days=1)
    return [(await accounts.guessed.find(user.email, network, since=since))[1] for network in networks]


# Profiles


async def test_second_profile_of_an_account_is_ignored(accounts: Accounts) -> None:
    user = await accounts.add()
    async with accounts.changing() as work:
        await work.profiles.add(user.id, bio="Yoga", specialization=None)
        await work.profiles.add(user.id, bio=None, specialization=None)


# OAuth attempts


async def test_attempt_is_taken_once_and_by_its_browser(accounts: Accounts) -> None:
    attempt = Attempt(uuid4().bytes, uuid4().bytes, "nonce", "verifier", NOW)
    await accounts.attempts.keep(attempt, forget_before=NOW - HOUR)

    assert await accounts.attempts.take(attempt.state, b"another browser", not_before=NOW) is None
    assert await accounts.attempts.take(b"another state", attempt.browser, not_before=NOW) is None
    assert await accounts.attempts.take(attempt.state, attempt.browser, not_before=NOW + HOUR) is None
    assert await accounts.attempts.take(attempt.state, attempt.browser, not_before=NOW) == attempt
    assert await accounts.attempts.take(attempt.state, attempt.browser, not_before=NOW) is None


async def test_unfinished_attempts_are_deleted_by_later_ones(accounts: Accounts) -> None:
    old = Attempt(uuid4().bytes, uuid4().bytes, "nonce", "verifier", NOW)
    await accounts.attempts.keep(old, forget_before=NOW)
    later = Attempt(uuid4().bytes, uuid4().bytes, "nonce", "verifier", NOW + HOUR)
    await accounts.attempts.keep(later, forget_before=NOW + timedelta(seconds=1))

    assert await accounts.attempts.take(old.state, old.browser, not_before=NOW) is None
    assert await accounts.attempts.take(later.state, later.browser, not_before=NOW) == later


# Lists of accounts


def a_word() -> str:
    """In no other account."""
    return f"q{uuid4().hex}"


async def found(accounts: Accounts, **wanted: Any) -> list[UserId]:
    page = await accounts.queries.list(AccountFilter(**wanted), PageRequest(10))
    return [user.id for user in page.items]


async def test_accounts_are_found_by_words_of_name_and_address(accounts: Accounts) -> None:
    first, last, domain = a_word(), a_word(), a_word()
    ada = await accounts.add(name=f"{first} {last}", email=f"{an_email().partition('@')[0]}@{domain}.example")
    emmy = await accounts.add(name=first)
    assert await found(accounts, search=first.upper()) == [emmy.id, ada.id]
    assert await found(accounts, search=first[:20]) == [emmy.id, ada.id]
    assert await found(accounts, search=f"{last} {first[:9]}") == [ada.id]
    assert await found(accounts, search=ada.email) == await found(accounts, search=domain) == [ada.id]
    assert await found(accounts, search=f"{last} {a_word()}") == []
    with pytest.raises(Invalid):
        await found(accounts, search="@ .")


async def test_accounts_are_filtered(accounts: Accounts) -> None:
    word = a_word()
    user = await accounts.add(name=word)
    admin = await accounts.add(name=word, role=Role.ADMIN)
    waiting = await accounts.add(name=word, requested_role=Role.FACILITATOR)
    async with accounts.changing() as work:
        await work.users.save(replace(await work.users.get_locked(user.id), is_active=False))
        await work.users.save(replace(await work.users.get_locked(admin.id), is_verified=True))
    assert await found(accounts, search=word, role=Role.ADMIN) == [admin.id]
    assert await found(accounts, search=word, role=Role.USER) == [waiting.id, user.id]
    assert await found(accounts, search=word, active=False) == [user.id]
    assert await found(accounts, search=word, active=True) == [waiting.id, admin.id]
    assert await found(accounts, search=word, verified=True) == [admin.id]
    assert await found(accounts, search=word, verified=False) == [waiting.id, user.id]
    assert await found(accounts, search=word, requested=True) == [waiting.id]


async def test_list_of_accounts_has_pages(accounts: Accounts) -> None:
    word = a_word()
    users = [await accounts.add(name=word) for _ in range(3)]
    wanted = AccountFilter(search=word)
    first = await accounts.queries.list(wanted, PageRequest(2))
    rest = await accounts.queries.list(wanted, PageRequest(2, first.next))
    assert [user.id for user in (*first.items, *rest.items)] == [user.id for user in reversed(users)]
    assert rest.next is None
    with pytest.raises(Invalid):
        await accounts.queries.list(wanted, PageRequest(2, "cursor of no list"))


async def test_active_accounts_with_a_role_are_locked(accounts: Accounts) -> None:
    admin, inactive, user = [await accounts.add(role=role) for role in (Role.ADMIN, Role.ADMIN, Role.USER)]
    async with accounts.changing() as work:
        await work.users.save(replace(await work.users.get_locked(inactive.id), is_active=False))
    async with accounts.units() as work:
        locked = await work.users.lock_active(Role.ADMIN)
    assert {admin.id, inactive.id, user.id} & set(locked) == {admin.id}
