"""Guards for one account per person and one successor per refresh token, each with a negative control."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from application.accounts.login import LoggedIn
from domain.accounts import User
from domain.errors import Unauthenticated
from domain.external_identity import ExternalIdentity
from infrastructure import container
from infrastructure.postgres.accounts.repository import PostgresLogins, PostgresUsers
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.settings import Settings
from servicekit.logging import current_request_id
from tests.support.machine_clock import SystemClock
from tests.support.without_locks import PAUSE, units_with, unlocked

AT_ONCE = 10
ADA = ExternalIdentity("google", "sub-of-ada", "ada@example.com", True, "Ada", None)


class SlowLook(PostgresUsers):
    """All callers have looked for an account before any of them creates one."""

    async def find_by_identity(self, identity: ExternalIdentity) -> User | None:
        found = await super().find_by_identity(identity)
        await asyncio.sleep(PAUSE)
        return found


@asynccontextmanager
async def opened_container(
    settings: Settings, units: type[UnitsOfWork]
) -> AsyncIterator[tuple[container.UseCases, UnitsOfWork]]:
    """Its use cases, and units of work to give to them."""
    parts, database = container.build(settings), Database(settings.database_url, pool_size=AT_ONCE)
    yield parts.use_cases, units(database, {}, SystemClock(), current_request_id)
    await database.close()
    await parts.close()


async def sign_in_at_once(settings: Settings) -> set[int]:
    async with opened_container(settings, units_with(users=SlowLook)) as (use_cases, open_work):
        sign_in = replace(use_cases.sign_in_with_id_token.sign_in, open_work=open_work)
        logged_in = await asyncio.gather(*(sign_in(ADA) for _ in range(AT_ONCE)))
    return {each.user.id for each in logged_in}


@pytest.mark.parametrize("guarded", [True, False])
async def test_concurrent_first_logins_of_one_person_make_one_account(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, guarded: bool
) -> None:
    if not guarded:
        await database.execute("ALTER TABLE users DROP CONSTRAINT uq_users_google_id, DROP CONSTRAINT uq_users_email")

    accounts = await sign_in_at_once(make_settings())

    assert (len(accounts) == 1) is guarded
    assert await database.fetchval("SELECT count(*) FROM users") == len(accounts)


async def refresh_at_once(settings: Settings, units: type[UnitsOfWork]) -> Counter[type]:
    async with opened_container(settings, units) as (use_cases, open_work):
        first = await use_cases.sign_in_with_id_token.sign_in(ADA)
        refresh = replace(use_cases.refresh, open_work=open_work)
        answers = await asyncio.gather(*(refresh(first.refresh_token) for _ in range(AT_ONCE)), return_exceptions=True)
    return Counter(map(type, answers))


async def test_concurrent_refreshes_with_one_token_return_one_new_token(make_settings: Callable[..., Settings]) -> None:
    assert await refresh_at_once(make_settings(), UnitsOfWork) == {LoggedIn: 1, Unauthenticated: AT_ONCE - 1}


async def test_without_lock_one_refresh_token_has_many_successors(make_settings: Callable[..., Settings]) -> None:
    outcomes = await refresh_at_once(make_settings(), units_with(logins=unlocked(PostgresLogins)))
    assert outcomes[LoggedIn] > 1
