"""The port of the tokens of mails, and addresses that they reserve, in memory and in PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from application.unit_of_work import OpenUnitOfWork
from domain.account_tokens import SURVIVE_ACCESS_END, AccountToken, TokenKind
from domain.accounts import EmailTaken, User
from domain.credentials import Credential
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KIND, UNDO = TokenKind.VERIFY_EMAIL, TokenKind.UNDO_EMAIL_CHANGE
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


async def a_token(
    units: OpenUnitOfWork,
    user: User,
    *,
    kind: TokenKind = KIND,
    email: str = "new@example.com",
    at: datetime = NOW,
) -> AccountToken:
    token = AccountToken(f"fingerprint {next(_numbers)}".encode(), kind, user.id, email)
    async with units() as work:
        await work.account_tokens.add(token, at, expires_at=NOW + HOUR)
        await work.commit()
    return token


async def use(
    units: OpenUnitOfWork, fingerprint: bytes, *, at: datetime = NOW, kind: TokenKind = KIND
) -> AccountToken | None:
    async with units() as work:
        used = await work.account_tokens.use(fingerprint, kind, at)
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


async def test_renewed_token_has_another_expiry(units: OpenUnitOfWork) -> None:
    token = await a_token(units, await a_user(units))
    async with units() as work:
        tokens = work.account_tokens
        assert await tokens.renew(token.fingerprint, KIND, NOW, expires_at=NOW + 2 * HOUR) == token
        assert await tokens.renew(b"unknown", KIND, NOW, expires_at=NOW + 2 * HOUR) is None
        assert await tokens.renew(token.fingerprint, UNDO, NOW, expires_at=NOW + 3 * HOUR) is None
        assert await tokens.renew(token.fingerprint, KIND, NOW + 2 * HOUR, expires_at=NOW + 3 * HOUR) is None
        await work.commit()
    assert await use(units, token.fingerprint, at=NOW + HOUR) == token
    async with units() as work:
        assert await work.account_tokens.renew(token.fingerprint, KIND, NOW, expires_at=NOW + 2 * HOUR) is None


async def test_younger_tokens_of_the_account_and_kind_are_revoked(units: OpenUnitOfWork) -> None:
    user, stranger = await a_user(units), await a_user(units)
    earlier, used, later, foreign = [
        await a_token(units, owner, at=at)
        for owner, at in ((user, NOW - HOUR / 2), (user, NOW), (user, NOW + HOUR / 2), (stranger, NOW + HOUR / 2))
    ]
    another_kind = await a_token(units, user, at=NOW + HOUR / 2, kind=UNDO)
    async with units() as work:
        await work.account_tokens.revoke_younger(used, NOW)
        await work.commit()
    found = [await use(units, each.fingerprint) for each in (earlier, used, later, foreign)]
    assert found == [earlier, None, None, foreign]
    assert await use(units, another_kind.fingerprint, kind=UNDO) == another_kind


async def test_end_of_access_revokes_all_tokens_but_those_that_undo_a_change(units: OpenUnitOfWork) -> None:
    user = await a_user(units)
    tokens = {kind: await a_token(units, user, kind=kind) for kind in TokenKind}
    async with units() as work:
        await work.access.revoke(user.id, {Credential.ACCOUNT_TOKENS}, NOW, reason="a test")
        await work.commit()
    valid = {kind for kind, token in tokens.items() if await use(units, token.fingerprint, kind=kind) is not None}
    assert valid == SURVIVE_ACCESS_END == {UNDO}


# Addresses


async def test_changed_address_is_stored(units: OpenUnitOfWork) -> None:
    user, email = await a_user(units), f"changed{next(_numbers)}@example.com"
    async with units() as work:
        changed = await work.users.change_email(await work.users.get_locked(user.id), email, NOW)
        await work.users.save(replace(changed, name="Countess"))
        await work.commit()
    assert changed == replace(user, email=email)
    async with units() as work:
        assert await work.users.get(user.id) == replace(user, email=email, name="Countess")


async def test_address_of_another_account_is_taken(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    async with units() as work:
        with pytest.raises(EmailTaken):
            await work.users.change_email(user, other.email, NOW)


async def test_address_that_can_be_given_back_is_reserved(units: OpenUnitOfWork) -> None:
    user, other = await a_user(units), await a_user(units)
    email = f"before{next(_numbers)}@example.com"
    undo = await a_token(units, user, kind=UNDO, email=email)
    await a_token(units, user, kind=TokenKind.CHANGE_EMAIL, email="after@example.com")
    async with units() as work:
        users = work.users
        reserved = {
            "for the account itself": await users.has_reserved(email, NOW, but=user.id),
            "for another one": await users.has_reserved(email, NOW, but=other.id),
            "for a new one": await users.has_reserved(email, NOW),
            "after its end": await users.has_reserved(email, NOW + HOUR),
            "by another kind": await users.has_reserved("after@example.com", NOW),
        }
    assert {name for name, found in reserved.items() if found} == {"for another one", "for a new one"}
    async with units() as work:
        with pytest.raises(EmailTaken):
            await work.users.add_without_password(email=email, name="Ada", now=NOW)
    async with units() as work:
        with pytest.raises(EmailTaken):
            await work.users.change_email(other, email, NOW)
    async with units() as work:
        assert (await work.users.change_email(user, email, NOW)).email == email
    await use(units, undo.fingerprint, kind=UNDO)
    async with units() as work:
        assert not await work.users.has_reserved(email, NOW)
        await work.users.add_without_password(email=email, name="Ada", now=NOW)
