"""Questions of many that are put to the database as one."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from domain.errors import Unavailable
from infrastructure.postgres.batch_loader import BatchLoader
from tests.support.messages import until


class Oracle:
    """Answers a number with how often anything was asked, and takes its time for it."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.answer = asyncio.Event()
        self.is_unavailable = False

    async def __call__(self, asked: Collection[int]) -> Mapping[int, int]:
        self.asked.append(set(asked))
        known = dict.fromkeys((each for each in asked if each > 0), len(self.asked))
        await self.answer.wait()
        if self.is_unavailable:
            raise Unavailable
        return known


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


async def test_concurrent_loads_are_one_query(oracle: Oracle) -> None:
    together = BatchLoader(oracle, window=0.01)
    oracle.answer.set()
    assert await asyncio.gather(*(together(number) for number in [1, 2, 1, -1] * 50)) == [1, 1, 1, None] * 50
    assert oracle.asked == [{1, 2, -1}]


async def test_later_load_does_not_get_an_earlier_result(oracle: Oracle) -> None:
    together = BatchLoader(oracle, window=0)
    early = asyncio.create_task(together(1))
    await until(lambda: len(oracle.asked) == 1)
    late = asyncio.create_task(together(1))
    await until(lambda: len(oracle.asked) == 2)
    oracle.answer.set()
    assert (await early, await late) == (1, 2)


async def test_cancelled_caller_does_not_cancel_the_others(oracle: Oracle) -> None:
    together = BatchLoader(oracle, window=0)
    first, second = asyncio.create_task(together(1)), asyncio.create_task(together(1))
    await until(lambda: len(oracle.asked) == 1)
    first.cancel()
    oracle.answer.set()
    assert await second == 1


async def test_error_reaches_all_callers_and_the_next_load_queries_again(oracle: Oracle) -> None:
    together = BatchLoader(oracle, window=0)
    oracle.is_unavailable = True
    oracle.answer.set()
    said = await asyncio.gather(together(1), together(2), return_exceptions=True)
    assert [type(each) for each in said] == [Unavailable, Unavailable]
    oracle.is_unavailable = False
    assert await together(1) == 2
