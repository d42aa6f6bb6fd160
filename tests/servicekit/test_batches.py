"""Batches of concurrent calls."""

import asyncio
from collections.abc import Sequence

import pytest

from servicekit.batches import Batches


class WorkUnavailable(Exception):
    pass


class Work:
    """Doubles numbers. `invalid` fails, alone and in each batch; `free` holds the work up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.invalid: int | None = None
        self.error: Exception | None = None
        self.begun, self.free = asyncio.Event(), asyncio.Event()
        self.free.set()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        await self.free.wait()
        if self.error is not None:
            raise self.error
        if self.invalid in numbers:
            raise ValueError("invalid")
        return [2 * number for number in numbers]


def batches_of(work: Work, *, window: float = 0, most: int = 500) -> Batches[int, int]:
    return Batches(work, unavailable=WorkUnavailable, window=window, most=most)


async def test_concurrent_calls_are_one_batch_with_a_result_for_each() -> None:
    work = Work()
    double = batches_of(work)
    assert await asyncio.gather(*map(double, range(5))) == [0, 2, 4, 6, 8]
    assert work.batches == [[0, 1, 2, 3, 4]]


async def test_later_calls_join_within_the_window() -> None:
    work = Work()
    double = batches_of(work, window=0.5)
    first = asyncio.create_task(double(1))
    await asyncio.sleep(0.01)
    assert (await double(2), await first) == (4, 2)
    assert work.batches == [[1, 2]]


async def test_calls_during_the_work_are_the_next_batch_of_limited_size() -> None:
    work = Work()
    double = batches_of(work, most=3)
    work.free.clear()
    first = asyncio.create_task(double(0))
    await work.begun.wait()
    later = [asyncio.create_task(double(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    work.free.set()
    assert await asyncio.gather(first, *later) == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]


async def test_invalid_item_fails_alone() -> None:
    work = Work()
    work.invalid = 2
    results = await asyncio.gather(*map(batches_of(work), range(4)), return_exceptions=True)
    assert [results[number] for number in (0, 1, 3)] == [0, 2, 6]
    assert isinstance(results[2], ValueError)


async def test_outage_fails_every_call_and_is_not_repeated() -> None:
    work = Work()
    work.error = WorkUnavailable()
    double = batches_of(work)
    results = await asyncio.gather(*map(double, range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [WorkUnavailable] * 4
    assert len(work.batches) == 1
    work.error = None
    assert await double(1) == 2


async def test_outage_fails_also_the_calls_that_wait() -> None:
    work = Work()
    work.error = WorkUnavailable()
    work.free.clear()
    double = batches_of(work)
    first = asyncio.create_task(double(0))
    await work.begun.wait()
    later = [asyncio.create_task(double(number)) for number in range(1, 3)]
    await asyncio.sleep(0)
    work.free.set()
    results = await asyncio.gather(first, *later, return_exceptions=True)
    assert [type(result) for result in results] == [WorkUnavailable] * 3
    assert work.batches == [[0]]


async def test_outage_while_items_are_tried_alone_fails_the_rest() -> None:
    tried: list[list[int]] = []

    async def work(numbers: Sequence[int]) -> Sequence[int]:
        tried.append(list(numbers))
        if len(numbers) > 1:
            raise ValueError("invalid")
        if numbers == [1]:
            raise WorkUnavailable
        return numbers

    same: Batches[int, int] = Batches(work, unavailable=WorkUnavailable)
    results = await asyncio.gather(*map(same, range(4)), return_exceptions=True)
    assert results[0] == 0
    assert [type(result) for result in results[1:]] == [WorkUnavailable] * 3
    assert tried == [[0, 1, 2, 3], [0], [1]]


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_cancelled_call_does_not_fail_the_others(cancelled: int) -> None:
    work = Work()
    work.free.clear()
    double = batches_of(work)
    calls = [asyncio.create_task(double(number)) for number in range(2)]
    await work.begun.wait()
    calls[cancelled].cancel()
    work.free.set()
    assert await calls[1 - cancelled] == 2 * (1 - cancelled)
    assert work.batches == [[0, 1]]
