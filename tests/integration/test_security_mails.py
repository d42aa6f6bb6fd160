"""Mails about changes of the access to an account, as their owner gets them."""

from collections.abc import Callable

import asyncpg
import httpx
import pytest

from infrastructure.settings import Settings
from tests.integration.account_mails import Account, Mails, registered, text_of
from tests.support.people import PASSWORD


@pytest.fixture(scope="module")
def mails(make_shared_settings: Callable[..., Settings]) -> Mails:
    return Mails(make_shared_settings())


@pytest.fixture
async def account(shared_api: httpx.AsyncClient) -> Account:
    return await registered(shared_api)


async def test_owner_is_informed_of_a_new_password(mails: Mails, account: Account) -> None:
    change = {"current_password": PASSWORD, "new_password": "another password"}
    answer = await account.api.post("/auth/password", json=change, headers=await account.headers())
    assert answer.status_code == 200
    assert "Your account has a new password" in text_of((await mails.to(account.email))[-1])


async def test_owner_is_informed_of_a_login_from_another_network(
    mails: Mails, account: Account, shared_database: asyncpg.Connection
) -> None:
    assert (await account.logs_in()).status_code == 200
    assert len(await mails.to(account.email)) == 1, "that of the registration"
    moved = """UPDATE login_networks SET network = 'of another place'
               WHERE user_id = (SELECT id FROM users WHERE email = $1)"""
    await shared_database.execute(moved, account.email)
    for _ in range(2):
        assert (await account.logs_in()).status_code == 200
    _, mail = await mails.to(account.email)
    assert mail["Subject"] == "New login to your account"
    assert "Network: 127.0.0.1" in text_of(mail)
