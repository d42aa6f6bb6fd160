"""The rules of the limits on writes."""

import pytest

from application.write_limits import HOUR, Write, WriteLimits
from domain.accounts import UserId
from domain.errors import TooManyRequests
from tests.support.memory.rate_limits import MemoryLimits
from tests.support.memory.store import SettableClock

ADA, EMMY = UserId(1), UserId(2)
NETWORK, ANOTHER = "203.0.113.7", "203.0.113.8"


class Limits:
    def __init__(self) -> None:
        self.clock = SettableClock()
        self.write = WriteLimits(MemoryLimits(self.clock), dict.fromkeys(Write, 2), per_recipient=3, networks=2)

    async def is_refused(
        self, account: UserId = ADA, write: Write = Write.CHANGES, network: str = NETWORK, recipient: str | None = None
    ) -> bool:
        try:
            await self.write(write, account, network=network, recipient=recipient)
        except TooManyRequests as refused:
            assert 0 < refused.retry_after <= 3600
            return True
        return False


@pytest.fixture
def limits() -> Limits:
    return Limits()


async def test_account_has_a_limit_for_each_kind_of_write_and_hour(limits: Limits) -> None:
    assert [await limits.is_refused() for _ in range(3)] == [False, False, True]
    assert not await limits.is_refused(write=Write.BOOKINGS)
    assert not await limits.is_refused(EMMY)
    limits.clock.advance(HOUR)
    assert not await limits.is_refused()


async def test_network_has_a_multiple_of_the_limit_of_an_account(limits: Limits) -> None:
    assert [await limits.is_refused(UserId(number)) for number in range(6)] == [*[False] * 4, True, True]
    assert not await limits.is_refused(network=ANOTHER)


@pytest.mark.parametrize("network", ["local", "127.0.0.1", "::/64"])
async def test_this_machine_has_no_limit_of_a_network(limits: Limits, network: str) -> None:
    assert not any([await limits.is_refused(UserId(number), network=network) for number in range(9)])


async def test_recipient_has_a_limit_over_all_accounts(limits: Limits) -> None:
    refused = [await limits.is_refused(UserId(number), network="local", recipient="event 7") for number in range(5)]
    assert refused == [False, False, False, True, True]
    assert not await limits.is_refused(UserId(9), recipient="event 8")


async def test_refused_write_does_not_count_at_the_other_limits(limits: Limits) -> None:
    for number in range(3):
        assert not await limits.is_refused(UserId(number), network="local", recipient="event 7")
    for _ in range(5):
        assert await limits.is_refused(ADA, network="local", recipient="event 7")
    assert not await limits.is_refused(ADA, network="local", recipient="event 8")
