import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog.testing

from servicekit.tasks import LongLivedTasks, cancel


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


async def forever() -> None:
    await asyncio.sleep(3600)


async def fails() -> None:
    raise ValueError("a fault")


async def returns() -> None:
    pass


async def cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("work", "how"), [(fails, "failed"), (returns, "returned"), (cancelled, "cancelled")])
async def test_task_that_ends_is_logged_and_ends_the_process_once(
    work: Callable[[], Coroutine[Any, Any, None]], how: str
) -> None:
    ends: list[str] = []
    tasks = LongLivedTasks(lambda: ends.append("end"))
    kept = tasks.start("kept", forever())
    with structlog.testing.capture_logs() as logged:
        await asyncio.wait({tasks.start("first", work()), tasks.start("second", work())})
        await asyncio.sleep(0)
    assert tasks.ended == ("first", "second")
    assert ends == ["end"]
    assert [(line["event"], line["task"], line["how"], line["log_level"]) for line in logged] == [
        ("task.ended", name, how, "critical") for name in tasks.ended
    ]
    await tasks.stop([kept])


async def test_stopped_task_and_expected_return_are_no_faults() -> None:
    tasks = LongLivedTasks(lambda: pytest.fail("the process was ended"))
    stopped = [tasks.start("stopped", forever()), tasks.start("failing while stopped", fails_at_its_end())]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await tasks.stop(stopped)
        await tasks.start("returning", returns(), may_return=True)
    await asyncio.sleep(0)
    assert tasks.ended == ()


async def test_failure_of_a_task_that_may_return_is_a_fault() -> None:
    tasks = LongLivedTasks()
    await asyncio.wait({tasks.start("failing", fails(), may_return=True)})
    await asyncio.sleep(0)
    assert tasks.ended == ("failing",)
