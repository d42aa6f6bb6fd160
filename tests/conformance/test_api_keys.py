"""The ports of API keys, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest

from application.accounts.ports.accounts import ActorQueries, ApiKeyQueries, KeyUses
from application.ports import PageRequest
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import User
from domain.api_keys import ApiKey, ApiKeyId, ApiKeyNotFound, NewApiKey, Scope
from domain.credentials import Credential
from domain.errors import Invalid
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.accounts.actors import ActorLoader, PostgresActorQueries, QueuedActorQueries
from infrastructure.postgres.accounts.api_keys import PostgresApiKeyQueries
from infrastructure.postgres.accounts.key_uses import PostgresKeyUses
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.accounts import MemoryActorQueries
from tests.support.memory.api_keys import MemoryApiKeyQueries, MemoryKeyUses
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NEW = NewApiKey("CRM", frozenset({Scope.BOOKINGS_READ, Scope.EVENTS_WRITE}), None)
_numbers = count(1)


@dataclass
class Keys:
    units: OpenUnitOfWork
    actors: ActorQueries
    queries: ApiKeyQueries
    uses: KeyUses

    async def owner(self) -> User:
        async with self.changing() as work:
            email = f"key{next(_numbers)}@example.com"
            return await work.users.add_without_password(email=email, name="Ada", now=NOW)

    async def add(self, user: User, new: NewApiKey = NEW) -> tuple[ApiKey, bytes]:
        fingerprint = f"fingerprint of {next(_numbers)}".encode()
        async with self.changing() as work:
            return await work.api_keys.add(user.id, new, NOW, prefix="cvk_abc", fingerprint=fingerprint), fingerprint

    async def used(self, key: ApiKey, minute: datetime) -> None:
        self.uses.note(key.id, minute)
        if isinstance(self.uses, PostgresKeyUses):
            await self.uses.store()

    async def names(self, user: User) -> list[str]:
        return [key.name for key in (await self.queries.list_of(user.id, PageRequest())).items]

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[UnitOfWork]:
        async with self.units() as work:
            yield work
            await work.commit()


@pytest.fixture(params=["memory", "postgres"])
def keys(request: pytest.FixtureRequest) -> Keys:
    if request.param == "memory":
        store = Store()
        units = MemoryUnitsOfWork(store, SettableClock(NOW))
        return Keys(units, MemoryActorQueries(store), MemoryApiKeyQueries(store), MemoryKeyUses(store))
    database: Database = request.getfixturevalue("postgres_database")
    return Keys(
        UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None),
        QueuedActorQueries(PostgresActorQueries(database), seconds=database.timeouts.total),
        PostgresApiKeyQueries(database),
        PostgresKeyUses(database),
    )


async def test_key_is_found_with_its_owner(keys: Keys) -> None:
    user = await keys.owner()
    expiring = replace(NEW, name="old", expires_at=NOW - HOUR)
    for new in (NEW, expiring):
        key, fingerprint = await keys.add(user, new)
        assert await keys.actors.find_by_key(fingerprint) == (user, key)
        assert key == ApiKey(
            id=key.id,
            user_id=user.id,
            name=new.name,
            scopes=frozenset({"bookings:read", "events:write"}),
            prefix="cvk_abc",
            created_at=NOW,
            expires_at=new.expires_at,
        )
    assert await keys.actors.find_by_key(b"unknown") is None


async def test_key_that_is_not_committed_does_not_exist(keys: Keys) -> None:
    user = await keys.owner()
    async with keys.units() as work:
        await work.api_keys.add(user.id, NEW, NOW, prefix="cvk_abc", fingerprint=b"rolled back")
    assert await keys.actors.find_by_key(b"rolled back") is None


async def test_revoked_key_is_neither_found_nor_listed(keys: Keys) -> None:
    user = await keys.owner()
    (key, fingerprint), (_, other) = await keys.add(user), await keys.add(user, replace(NEW, name="other"))
    async with keys.changing() as work:
        await work.api_keys.revoke(user.id, key.id, NOW, reason="revoked")
    assert await keys.actors.find_by_key(fingerprint) is None
    assert await keys.actors.find_by_key(other) is not None
    assert await keys.names(user) == ["other"]


async def test_only_a_key_of_the_account_is_revoked_and_once(keys: Keys) -> None:
    user, stranger = await keys.owner(), await keys.owner()
    key, fingerprint = await keys.add(user)
    for account, key_id in ((stranger, key.id), (user, ApiKeyId(uuid4()))):
        async with keys.units() as work:
            with pytest.raises(ApiKeyNotFound):
                await work.api_keys.revoke(account.id, key_id, NOW, reason="revoked")
    assert await keys.actors.find_by_key(fingerprint) is not None
    async with keys.changing() as work:
        await work.api_keys.revoke(user.id, key.id, NOW, reason="revoked")
    async with keys.units() as work:
        with pytest.raises(ApiKeyNotFound):
            await work.api_keys.revoke(user.id, key.id, NOW, reason="revoked")


async def test_keys_that_have_not_ended_are_counted(keys: Keys) -> None:
    user, other = await keys.owner(), await keys.owner()
    key, _ = await keys.add(user)
    await keys.add(user, replace(NEW, expires_at=NOW + HOUR))
    await keys.add(other)
    async with keys.changing() as work:
        assert await work.api_keys.count(user.id, NOW) == 2
        assert await work.api_keys.count(user.id, NOW + HOUR) == 1
        await work.api_keys.revoke(user.id, key.id, NOW, reason="revoked")
        assert await work.api_keys.count(user.id, NOW) == 1


async def test_all_keys_of_an_account_are_revoked(keys: Keys) -> None:
    user, other = await keys.owner(), await keys.owner()
    of_user = [(await keys.add(user))[1] for _ in range(2)]
    _, of_other = await keys.add(other)
    async with keys.changing() as work:
        await work.access.revoke(user.id, {Credential.API_KEYS}, NOW, reason="account deactivated")
    assert [await keys.actors.find_by_key(fingerprint) for fingerprint in of_user] == [None, None]
    assert await keys.actors.find_by_key(of_other) is not None


async def test_list_has_pages_newest_first(keys: Keys) -> None:
    user = await keys.owner()
    for name in ("one", "two", "three"):
        await keys.add(user, replace(NEW, name=name))
    first = await keys.queries.list_of(user.id, PageRequest(2))
    rest = await keys.queries.list_of(user.id, PageRequest(2, first.next))
    assert [[key.name for key in page.items] for page in (first, rest)] == [["three", "two"], ["one"]]
    assert rest.next is None
    with pytest.raises(Invalid):
        await keys.queries.list_of(user.id, PageRequest(2, "no cursor"))


async def test_minute_of_the_last_use_is_stored(keys: Keys) -> None:
    user = await keys.owner()
    (key, fingerprint), (other, _) = await keys.add(user), await keys.add(user)
    for minute in (NOW, NOW + MINUTE):
        await keys.used(key, minute)
        found = await keys.actors.find_by_key(fingerprint)
        assert found is not None
        assert found[1].last_used_at == minute
    listed = {listed.id: listed.last_used_at for listed in (await keys.queries.list_of(user.id, PageRequest())).items}
    assert listed == {key.id: NOW + MINUTE, other.id: None}


# PostgreSQL


async def test_earlier_minute_does_not_replace_a_later_one(postgres_database: Database) -> None:
    """Two processes store the uses that each has seen."""
    keys = Keys(
        UnitsOfWork(postgres_database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None),
        PostgresActorQueries(postgres_database),
        PostgresApiKeyQueries(postgres_database),
        PostgresKeyUses(postgres_database),
    )
    key, fingerprint = await keys.add(await keys.owner())
    for minute in (NOW + MINUTE, NOW):
        await keys.used(key, minute)
    found = await keys.actors.find_by_key(fingerprint)
    assert found is not None
    assert found[1].last_used_at == NOW + MINUTE


async def test_open_connections_look_their_keys_up_together(postgres_database: Database) -> None:
    units = UnitsOfWork(postgres_database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None)
    actors = PostgresActorQueries(postgres_database)
    keys = Keys(units, actors, PostgresApiKeyQueries(postgres_database), PostgresKeyUses(postgres_database))
    user = await keys.owner()
    key, fingerprint = await keys.add(user)
    loader = ActorLoader(actors)
    assert await loader.find_by_key(fingerprint) == (user, key)
    assert await loader.find_by_key(b"unknown") is None
