"""The port of the tokens of mails, in memory and in PostgreSQL."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from application.unit_of_work import OpenUnitOfWork
from domain.account_tokens import AccountToken, TokenKind
from domain.accounts import User
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KIND = TokenKind.VERIFY_EMAIL
_numbers = count(1)


@pytest.fixture(params=["memory", "postgres"])
def units(request: pytest.FixtureRequest) -> OpenUnitOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork(Store(), SettableClock(NOW))
    database: Database = request.getfixturevalue("postgres_database")
    return UnitsOfWork(database, routes_for(ALWAYS_SERVED), SettableClock(NOW), lambda: None)


async def a_user(units: OpenUnitOfWork) -> User:
    async with units() as work:
        email = f"token{next(_numbers)}@example.com"
        user = await work.users.add_without_password(email=email, name="Ada", now=NOW)
        await work.commit()
    return user


async def a_token(units: OpenUnitOfWork, user: User) -> AccountToken:
    token = AccountToken(f"fingerprint {next(_numbers)}".encode(), KIND, user.id, "new@example.com")
    async with units() as work:
        await work.account_tokens.add(token, NOW, expires_at=NOW + HOUR)
        await work.commit()
    return token


async def use(units: OpenUnitOfWork, fingerprint: bytes, *, at: datetime = NOW) -> AccountToken | None:
    async with units() as work:
        used = await work.account_tokens.use(fingerprint, KIND, at)
        await work.commit()
    return used


async def test_token_is_used_once(units: OpenUnitOfWork) -> None:
    token = await a_token(units, await a_user(units))
    assert await use(units, token.fingerprint) == token
    assert await use(units, token.fingerprint) is None


async def test_use_that_is_not_committed_does_not_count(units: OpenUnitOfWork) -> None:
    token = await a_token(units, await a_user(units))
    async with units() as work:
        assert await work.account_tokens.use(token.fingerprint, KIND, NOW) == token
    assert await use(units, token.fingerprint) == token


async def test_owner_of_a_valid_token_is_found(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    token = await a_token(units, user)
    async with units() as work:
        tokens = work.account_tokens
        assert await tokens.find_owner(token.fingerprint, KIND, NOW) == user.id
        assert await tokens.find_owner(token.fingerprint, KIND, NOW + HOUR) is None
        assert await tokens.find_owner(b"unknown", KIND, NOW) is None
        await tokens.use(token.fingerprint, KIND, NOW)
        assert await tokens.find_owner(token.fingerprint, KIND, NOW) is None


async def test_unknown_token_is_not_used(units: OpenUnitOfWork) -> None:
    assert await use(units, b"unknown") is None


async def test_token_expires(units: OpenUnitOfWork) -> None:
    token = await a_token(units, await a_user(units))
    assert await use(units, token.fingerprint, at=NOW + HOUR) is None
    assert await use(units, token.fingerprint, at=NOW + HOUR - timedelta(microseconds=1)) == token


async def test_revoked_tokens_are_invalid(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    tokens = [await a_token(units, each) for each in (user, user, other)]
    async with units() as work:
        await work.account_tokens.revoke(user.id, set(), NOW)
        await work.commit()
    assert await use(units, tokens[0].fingerprint) == tokens[0]
    async with units() as work:
        await work.account_tokens.revoke(user.id, {KIND}, NOW)
        await work.commit()
    assert [await use(units, token.fingerprint) for token in tokens] == [None, None, tokens[2]]
