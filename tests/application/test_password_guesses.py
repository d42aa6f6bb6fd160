"""The limits of password attempts, and the networks that count as known."""

from datetime import timedelta

import pytest

from application.accounts.password_guesses import MOST_KNOWN, KnownNetworks
from domain.accounts import InvalidCredentials
from domain.errors import TooManyRequests
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL, AccountUseCases


@pytest.fixture
async def accounts() -> AccountUseCases:
    """With a registered account that has not logged in."""
    accounts = AccountUseCases()
    await accounts.has_registered()
    return accounts


async def wrong_guesses(accounts: AccountUseCases, addresses: list[str], *, email: str = EMAIL) -> int:
    """The number of wrong passwords that are compared before `TooManyRequests`."""
    for number, address in enumerate(addresses):
        try:
            with pytest.raises(InvalidCredentials):
                await accounts.has_logged_in(email=email, password="wrong password", address=address)
        except TooManyRequests:
            return number
    return len(addresses)


def unknown_networks(number: int) -> list[str]:
    return [f"203.0.113.{each}" for each in range(number)]


async def test_ten_guesses_an_hour_over_all_networks_that_have_not_logged_in(accounts: AccountUseCases) -> None:
    assert await wrong_guesses(accounts, unknown_networks(20)) == 10

    with pytest.raises(TooManyRequests) as refused:
        await accounts.has_logged_in()
    assert refused.value.retry_after == 3600
    accounts.clock.advance(timedelta(hours=1))
    await accounts.has_logged_in()


async def test_guesses_by_strangers_do_not_lock_out_the_owner(accounts: AccountUseCases) -> None:
    await accounts.has_logged_in(address=ADDRESS)
    await wrong_guesses(accounts, unknown_networks(20))
    await accounts.has_logged_in(address=ADDRESS)


async def test_ten_guesses_an_hour_for_each_network_that_has_logged_in(accounts: AccountUseCases) -> None:
    for address in (ADDRESS, ELSEWHERE):
        await accounts.has_logged_in(address=address)
    assert await wrong_guesses(accounts, [ADDRESS] * 20) == 10
    assert await wrong_guesses(accounts, [ELSEWHERE] * 20) == 10
    assert await wrong_guesses(accounts, unknown_networks(20)) == 10


async def test_unknown_email_has_the_same_limit(accounts: AccountUseCases) -> None:
    assert await wrong_guesses(accounts, unknown_networks(20), email="unknown@example.com") == 10


async def test_300_guesses_an_hour_for_a_network_over_all_accounts(accounts: AccountUseCases) -> None:
    emails = [f"user{number}@example.com" for number in range(301)]
    compared = [await wrong_guesses(accounts, [ADDRESS], email=email) for email in emails]
    assert compared == [1] * 300 + [0]
    assert await wrong_guesses(accounts, [ELSEWHERE]) == 1


async def test_addresses_of_one_ipv6_network_count_together(accounts: AccountUseCases) -> None:
    await accounts.has_logged_in(address="2001:db8::1")
    assert await wrong_guesses(accounts, [f"2001:db8::{number:x}" for number in range(1, 20)]) == 10


async def test_limits_are_checked_before_the_password_is_hashed(accounts: AccountUseCases) -> None:
    await wrong_guesses(accounts, unknown_networks(20))
    assert len(accounts.hasher.verified) == 10


async def test_right_password_does_not_count(accounts: AccountUseCases) -> None:
    for _ in range(30):
        await accounts.has_logged_in()
    assert await wrong_guesses(accounts, [ADDRESS] * 20) == 10


# Known networks


async def test_network_is_known_for_90_days_after_its_last_login(accounts: AccountUseCases) -> None:
    await accounts.has_logged_in()
    accounts.clock.advance(timedelta(days=89))
    await accounts.has_logged_in()
    accounts.clock.advance(timedelta(days=89))
    await wrong_guesses(accounts, unknown_networks(20))
    await accounts.has_logged_in()

    accounts.clock.advance(timedelta(days=90))
    await wrong_guesses(accounts, unknown_networks(20))
    with pytest.raises(TooManyRequests):
        await accounts.has_logged_in()


async def test_at_most_50_networks_of_an_account_are_known(accounts: AccountUseCases) -> None:
    for address in (ADDRESS, *unknown_networks(MOST_KNOWN)):
        accounts.clock.advance(timedelta(seconds=1))
        await accounts.has_logged_in(address=address)

    networks = accounts.networks_of(accounts.users()[0])
    assert len(networks) == MOST_KNOWN == 50
    assert accounts.known_networks.fingerprint(EMAIL, ADDRESS) not in networks


async def test_stored_networks_reveal_neither_networks_nor_that_accounts_share_one(accounts: AccountUseCases) -> None:
    other = await accounts.has_registered(email="other@example.com")
    await accounts.has_logged_in()
    await accounts.has_logged_in(email="other@example.com")

    (one,), (another,) = accounts.networks_of(accounts.users()[0]), accounts.networks_of(other)
    assert one != another
    assert ADDRESS.encode() not in one + another


async def test_new_secret_invalidates_known_networks(accounts: AccountUseCases) -> None:
    old = accounts.known_networks
    new = KnownNetworks(b"another secret", accounts.clock)
    assert old.fingerprint(EMAIL, ADDRESS) == KnownNetworks(b"secret", accounts.clock).fingerprint(EMAIL, ADDRESS)
    assert old.fingerprint(EMAIL, ADDRESS) != new.fingerprint(EMAIL, ADDRESS)
