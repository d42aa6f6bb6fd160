import asyncio

from servicekit.tasks import cancel


async def loses_cancellations(number: int) -> None:
    """As a loop does that waits with `asyncio.wait_for` of Python 3.11, each time at the wrong moment."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if number == 0:
                raise
            number -= 1


async def fails_at_its_end() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("while closing")


async def test_task_that_swallows_cancellations_is_cancelled() -> None:
    tasks = [asyncio.create_task(loses_cancellations(number)) for number in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await cancel(tasks, again_after=0.01)
    assert all(task.cancelled() for task in tasks)


async def test_exception_of_a_cancelled_task_is_dropped() -> None:
    task = asyncio.create_task(fails_at_its_end())
    await asyncio.sleep(0)
    await cancel([task])
    assert isinstance(task.exception(), ValueError)


async def test_cancelling_ended_tasks_or_no_tasks_returns() -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    async with asyncio.timeout(30):
        await cancel([ended])
        await cancel([])
