"""The rules of login by password."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.password_guesses import GUESSES_PER_ACCOUNT, GUESSES_PER_NETWORK
from domain.accounts import InvalidCredentials
from domain.errors import Unauthenticated
from domain.networks import network_of
from tests.support.memory.account_use_cases import ADDRESS, EMAIL, PASSWORD, AccountUseCases


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


async def deactivate(accounts: AccountUseCases) -> None:
    async with accounts.units() as work:
        await work.users.save(replace(accounts.users()[0], is_active=False))
        await work.commit()


async def test_right_password_starts_a_login(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    logged_in = await accounts.has_logged_in()

    assert logged_in.user == user
    assert (await accounts.is_authenticated(logged_in)).user == user
    assert (await accounts.refresh()(logged_in.refresh_token)).user == user
    assert accounts.end_reasons() == [None]


async def test_logins_of_one_account_are_separate(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    first, second = await accounts.has_logged_in(), await accounts.has_logged_in()
    await accounts.log_out(await accounts.is_authenticated(first))

    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(first)
    await accounts.is_authenticated(second)


async def test_wrong_password_unknown_email_and_deactivated_account_get_the_same_answer(
    accounts: AccountUseCases,
) -> None:
    await accounts.has_registered()
    with pytest.raises(InvalidCredentials) as wrong:
        await accounts.has_logged_in(password="wrong password")
    with pytest.raises(InvalidCredentials) as unknown:
        await accounts.has_logged_in(email="unknown@example.com")
    await deactivate(accounts)
    with pytest.raises(InvalidCredentials) as deactivated:
        await accounts.has_logged_in()

    assert str(wrong.value) == str(unknown.value) == str(deactivated.value)
    assert type(wrong.value) is type(unknown.value) is type(deactivated.value)
    assert not accounts.end_reasons(), "no login has started"


async def test_a_hash_is_compared_in_every_case_so_that_answers_take_the_same_time(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    stored = accounts.password_hash(user.id)
    for email in (EMAIL, "unknown@example.com"):
        with pytest.raises(InvalidCredentials):
            await accounts.has_logged_in(email=email, password="wrong password")
    await deactivate(accounts)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()

    assert accounts.hasher.verified == [stored, None, stored]


async def test_account_without_password_cannot_log_in_by_password(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    async with accounts.units() as work:
        await work.users.set_password(user.id, None)
        await work.commit()
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()


async def test_password_is_compared_in_nfkc(accounts: AccountUseCases) -> None:
    await accounts.has_registered(password="e\u0301" * 8)
    for password in ("e\u0301" * 8, "\u00e9" * 8):
        await accounts.has_logged_in(password=password)


@pytest.mark.parametrize("change", ["new password", "removed password", "deactivated"])
async def test_change_while_the_hash_is_computed_prevents_the_login(accounts: AccountUseCases, change: str) -> None:
    user = await accounts.has_registered()
    verify = accounts.hasher.verify

    async def slow_verify(password: str, password_hash: str | None) -> bool:
        matches = await verify(password, password_hash)
        if change == "deactivated":
            await deactivate(accounts)
            return matches
        async with accounts.units() as work:
            await work.users.set_password(user.id, "new another" if change == "new password" else None)
            await work.commit()
        return matches

    accounts.hasher.verify = slow_verify  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()
    assert not accounts.end_reasons()


async def test_outdated_hash_is_replaced_at_login(accounts: AccountUseCases) -> None:
    accounts.hasher.method = "old"
    user = await accounts.has_registered()
    accounts.hasher.method = "new"

    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in(password="wrong password")
    assert accounts.password_hash(user.id) == f"old {PASSWORD}"
    await accounts.has_logged_in()
    assert accounts.password_hash(user.id) == f"new {PASSWORD}"


async def test_failed_attempts_count_and_successful_ones_do_not(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in(password="wrong password")
    for _ in range(3):
        await accounts.has_logged_in()

    assert accounts.limiter.counted(GUESSES_PER_ACCOUNT, EMAIL) == 1
    assert accounts.limiter.counted(GUESSES_PER_NETWORK, network_of(ADDRESS)) == 1


async def test_login_makes_its_network_known(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    await accounts.has_logged_in()
    first = accounts.clock.moment
    accounts.clock.advance(timedelta(hours=1))
    await accounts.has_logged_in(address="198.51.100.7")

    assert sorted(accounts.networks_of(user).values()) == [first, accounts.clock.moment]


async def test_failed_login_does_not_make_its_network_known(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered()
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in(password="wrong password")
    assert not accounts.networks_of(user)
