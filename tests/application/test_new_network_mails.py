"""The rules of the mail about a login from a network that is new to the account."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.accounts import InvalidCredentials
from domain.credentials import KNOWN_NETWORK_LIFETIME, MOST_NETWORKS_IN_A_DAY
from domain.outbox import MessageType
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL, AccountUseCases, a_registration

DAY = timedelta(days=1)


class Logins(AccountUseCases):
    def mailed(self) -> list[str]:
        """The networks that the owner got a mail about."""
        return [
            message.payload["network"]
            for message in self.messages()
            if message.message_type is MessageType.LOGIN_FROM_NEW_NETWORK
        ]

    async def log_in_from(self, *addresses: str) -> None:
        for address in addresses:
            await self.has_logged_in(address=address)


@pytest.fixture
async def accounts() -> Logins:
    """With a registered account that has not logged in."""
    accounts = Logins()
    await accounts.has_registered()
    return accounts


async def test_owner_gets_a_mail_about_the_first_login_from_another_network(accounts: Logins) -> None:
    await accounts.log_in_from(ADDRESS, ELSEWHERE, ELSEWHERE, ADDRESS)
    assert accounts.mailed() == [ELSEWHERE]
    message = accounts.messages()[-1]
    assert message.payload["person"]["email"] == EMAIL


async def test_first_login_ever_is_silent(accounts: Logins) -> None:
    await accounts.log_in_from(ADDRESS)
    await accounts.register_and_log_in()(a_registration(email="other@example.com"), address=ELSEWHERE)
    assert accounts.mailed() == []


async def test_login_does_not_wait_for_the_mail(accounts: Logins) -> None:
    calls = accounts.wake_ups.calls
    await accounts.log_in_from(ADDRESS, ELSEWHERE)
    assert accounts.wake_ups.calls == calls


async def test_failed_login_sends_no_mail(accounts: Logins) -> None:
    await accounts.log_in_from(ADDRESS)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in(password="a wrong one", address=ELSEWHERE)
    assert accounts.mailed() == []


async def test_addresses_of_one_network_are_not_new(accounts: Logins) -> None:
    await accounts.log_in_from("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    assert accounts.mailed() == ["2001:db8:0:1::/64"]


async def test_network_that_was_forgotten_is_new(accounts: Logins) -> None:
    await accounts.log_in_from(ADDRESS)
    accounts.clock.advance(KNOWN_NETWORK_LIFETIME - DAY)
    await accounts.log_in_from(ELSEWHERE)
    accounts.clock.advance(DAY)
    await accounts.log_in_from(ADDRESS)
    assert accounts.mailed() == [ELSEWHERE, ADDRESS]


async def test_login_after_a_long_time_is_not_the_first(accounts: Logins) -> None:
    """All networks of the account were forgotten meanwhile."""
    await accounts.log_in_from(ADDRESS)
    accounts.clock.advance(KNOWN_NETWORK_LIFETIME + DAY)
    await accounts.log_in_from(ADDRESS)
    assert accounts.mailed() == [ADDRESS]


async def test_mails_of_a_day_are_bounded(accounts: Logins) -> None:
    addresses = [f"203.0.113.{number}" for number in range(MOST_NETWORKS_IN_A_DAY + 5)]
    await accounts.log_in_from(*addresses)
    assert accounts.mailed() == addresses[1:MOST_NETWORKS_IN_A_DAY]
    accounts.clock.advance(DAY)
    await accounts.log_in_from(ELSEWHERE)
    assert accounts.mailed()[-1] == ELSEWHERE


async def test_mails_can_be_turned_off(accounts: Logins) -> None:
    accounts.log_in = replace(accounts.log_in, start_login=replace(accounts.start_login, new_network_mail=False))
    await accounts.log_in_from(ADDRESS, ELSEWHERE)
    assert accounts.mailed() == []
    assert len(accounts.networks_of(accounts.users()[0])) == 2
