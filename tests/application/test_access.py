"""The rules of credentials for an account whose access may have ended meanwhile."""

from dataclasses import replace

import pytest

from application.accounts.access import end_access, require_access
from domain.accounts import User
from domain.credentials import AccessEnd
from domain.errors import Unauthenticated
from tests.support.memory.account_use_cases import AccountUseCases


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


async def require(accounts: AccountUseCases, user: User) -> None:
    async with accounts.units() as work:
        await require_access(work, user)


async def test_account_with_access_gets_a_credential(accounts: AccountUseCases) -> None:
    await require(accounts, await accounts.has_registered())


@pytest.mark.parametrize("why", AccessEnd)
async def test_ended_access_prevents_new_credentials(accounts: AccountUseCases, why: AccessEnd) -> None:
    user = await accounts.has_registered()
    async with accounts.units() as work:
        ended = await end_access(work, user, why, accounts.clock.now())
        await work.commit()
    with pytest.raises(Unauthenticated):
        await require(accounts, user)
    await require(accounts, ended)


async def test_deactivated_account_gets_no_credential(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    async with accounts.units() as work:
        await work.users.save(replace(user, is_active=False))
        await work.commit()
    with pytest.raises(Unauthenticated):
        await require(accounts, user)
