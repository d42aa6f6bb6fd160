"""The ports of erasures, in memory and in PostgreSQL. The data of all tables: tests/integration/test_erasure.py."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from application.audit.ports import UNKEYED_TRAIL
from application.erasure.ports import Ahead, ErasureStore
from application.unit_of_work import OpenUnitOfWork
from domain.accounts import Role, User
from domain.erasure import ERASED_NAME, Erasure, erased_email
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.container.erasure import STATEMENTS
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.store import PostgresErasureStore
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.conformance.booking_adapters import details
from tests.support.memory.erasure import MemoryErasureStore
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
_numbers = count(1)


@dataclass
class Adapters:
    open_work: OpenUnitOfWork
    store: ErasureStore

    async def person(self) -> User:
        email = f"erased{next(_numbers)}@example.com"
        async with self.open_work() as work:
            user = await work.users.add(email=email, name="Ada", role=Role.USER, password_hash="hash", now=NOW)
            await work.commit()
        return user

    async def requests(self, user: User, *, due_at: datetime = NOW) -> Erasure:
        """As the use case does."""
        async with self.open_work() as work:
            locked = await work.users.get_locked(user.id)
            await work.users.save(_inactive(locked))
            erasure = await work.erasures.add(user.id, NOW, due_at=due_at)
            await work.commit()
        return erasure

    async def find(self, user: User) -> Erasure | None:
        async with self.open_work() as work:
            return await work.erasures.find(user.id)

    async def due(self, now: datetime = NOW) -> list[int]:
        return [int(each) for each in await self.store.list_due(now, limit=1000)]

    async def erase(self, user: User) -> bool:
        return await self.store.erase(user.id, await self.store.find_identifiers(user.id))


def _inactive(user: User) -> User:
    return replace(user, is_active=False)


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> Adapters:
    clock = SettableClock(NOW)
    if request.param == "memory":
        store = Store()
        return Adapters(MemoryUnitsOfWork(store, clock), MemoryErasureStore(store, clock))
    database: Database = request.getfixturevalue("postgres_database")
    units = UnitsOfWork(database, routes_for(ALWAYS_SERVED), clock, lambda: None)
    return Adapters(units, PostgresErasureStore(database, STATEMENTS, UNKEYED_TRAIL))


async def test_request_is_kept_and_due(adapters: Adapters) -> None:
    user, later = await adapters.person(), await adapters.person()
    assert await adapters.find(user) is None
    erasure = await adapters.requests(user)
    await adapters.requests(later, due_at=NOW + HOUR)
    assert await adapters.find(user) == erasure == Erasure(user.id, NOW, NOW)
    due = await adapters.due()
    assert user.id in due
    assert later.id not in due
    assert await adapters.store.list_due(NOW - HOUR, limit=9) == []
    assert (await adapters.due(NOW + HOUR))[-1] == later.id
    assert len(await adapters.store.list_due(NOW + HOUR, limit=1)) == 1


async def test_request_is_withdrawn(adapters: Adapters) -> None:
    user = await adapters.person()
    await adapters.requests(user)
    async with adapters.open_work() as work:
        await work.erasures.withdraw(user.id)
        await work.commit()
    assert await adapters.find(user) is None
    assert not await adapters.erase(user)
    async with adapters.open_work() as work:
        assert (await work.users.get(user.id)).name == "Ada"


async def test_first_attempt_is_recorded(adapters: Adapters) -> None:
    user = await adapters.person()
    await adapters.requests(user)
    async with adapters.open_work() as work:
        await work.erasures.begin(user.id, NOW + HOUR)
        await work.commit()
    found = await adapters.find(user)
    assert found is not None
    assert found.begun_at == NOW + HOUR


async def test_account_is_erased_once(adapters: Adapters) -> None:
    user = await adapters.person()
    await adapters.requests(user)
    identifiers = await adapters.store.find_identifiers(user.id)
    assert (list(identifiers.names), list(identifiers.addresses)) == (["Ada"], [user.email])
    assert await adapters.erase(user)
    async with adapters.open_work() as work:
        erased = await work.users.get(user.id)
        assert await work.users.find_credentials(user.email) is None
    assert (erased.name, erased.email, erased.is_active) == (ERASED_NAME, erased_email(user.uuid), False)
    found = await adapters.find(user)
    assert found is not None
    assert found.erased_at is not None
    assert user.id not in await adapters.due()
    assert not await adapters.erase(user)


async def test_mail_about_the_request_is_pending(adapters: Adapters) -> None:
    user, other = await adapters.person(), await adapters.person()
    await adapters.requests(user)
    assert not await adapters.store.has_pending_messages(user.id)
    async with adapters.open_work() as work:
        await work.messages.enqueue_erasure_requested(user, NOW)
        await work.commit()
    assert await adapters.store.has_pending_messages(user.id)
    assert not await adapters.store.has_pending_messages(other.id)


async def test_what_is_ahead_is_found(adapters: Adapters) -> None:
    facilitator, user = await adapters.person(), await adapters.person()
    async with adapters.open_work() as work:
        event = await work.events.add(facilitator.id, details(), NOW)
        expires = NOW + HOUR
        invitation = await work.invitations.add(
            event.id, name="Ada", email=user.email, by=facilitator.id, now=NOW, expires_at=expires
        )
        await work.commit()
    assert await adapters.store.find_ahead(facilitator.id, NOW, limit=9) == Ahead([], [], [event.id], [])
    assert await adapters.store.find_ahead(user.id, NOW, limit=9) == Ahead([], [], [], [invitation.id])
    assert not await adapters.store.find_ahead(facilitator.id, NOW + timedelta(days=999), limit=9)
