"""Lookups that wait for the one under way and share the next query. The database is in memory: it holds its queries
back until the others wait."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from servicekit.queued_lookups import MOST, QueuedLookups
from tests.support.messages import until

A_MINUTE = 60


class Unavailable(Exception):
    pass


class Conflict(Unavailable):
    pass


class Broken(Exception):
    """An error of the code."""


class Accounts:
    """Answers a number with its name, as of the start of the query."""

    def __init__(self) -> None:
        self.names = {number: f"account {number}" for number in range(2 * MOST)}
        self.alone: list[int] = []
        self.together: list[set[int]] = []
        self.opened = asyncio.Event()
        self.errors: list[Exception] = []
        """Raised by the next queries for several."""

    async def find(self, number: int) -> str | None:
        self.alone.append(number)
        name = self.names.get(number)
        await self.opened.wait()
        return name

    async def find_all(self, numbers: Collection[int]) -> Mapping[int, str]:
        self.together.append(set(numbers))
        found = {number: self.names[number] for number in numbers if number in self.names}
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return found


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


def loader_of(accounts: Accounts, seconds: float = A_MINUTE) -> QueuedLookups[int, str]:
    return QueuedLookups(accounts.find, accounts.find_all, unavailable=Unavailable, seconds=seconds)


async def asked(loader: Any, numbers: Sequence[int]) -> list["asyncio.Task[Any]"]:
    """Lookups in this order, each of which has reached the loader."""
    tasks = []
    for number in numbers:
        tasks.append(asyncio.create_task(loader(number)))
        await asyncio.sleep(0)
    return tasks


async def answers_to(tasks: Sequence["asyncio.Task[Any]"]) -> list[Any]:
    async with asyncio.timeout(A_MINUTE):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_lookup_alone_does_not_wait(accounts: Accounts) -> None:
    accounts.opened.set()
    loader = loader_of(accounts)
    assert [await loader(1), await loader(2), await loader(-1)] == ["account 1", "account 2", None]
    assert (accounts.alone, accounts.together) == ([1, 2, -1], [])


async def test_lookups_that_wait_share_one_query(accounts: Accounts) -> None:
    tasks = await asked(loader_of(accounts), [1, 2, 3, 2, -1])
    accounts.opened.set()
    assert await answers_to(tasks) == ["account 1", "account 2", "account 3", "account 2", None]
    assert (accounts.alone, accounts.together) == ([1], [{2, 3, -1}])


class _Joining:
    """The negative control: shares the query that is under way."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._running: dict[int, asyncio.Task[str | None]] = {}

    async def __call__(self, number: int) -> str | None:
        if number not in self._running:
            self._running[number] = asyncio.create_task(self._accounts.find(number))
        return await asyncio.shield(self._running[number])


@pytest.mark.parametrize("waits", [True, False])
async def test_what_ended_before_a_lookup_is_not_found_by_it(accounts: Accounts, waits: bool) -> None:
    """An access ends while a lookup is under way that has read it. The next request must be refused."""
    loader = loader_of(accounts) if waits else _Joining(accounts)
    [before] = await asked(loader, [1])
    await until(lambda: bool(accounts.alone))
    del accounts.names[1]
    [after] = await asked(loader, [1])
    accounts.opened.set()
    found = await answers_to([before, after])
    assert found == ["account 1", None if waits else "account 1"]


async def test_cancelled_callers_do_not_cancel_the_others(accounts: Accounts) -> None:
    """The first one, whose query is under way, and one that waits."""
    tasks = await asked(loader_of(accounts), [1, 2, 3])
    tasks[0].cancel()
    tasks[1].cancel()
    answers = await answers_to(tasks)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, asyncio.CancelledError, str]
    assert accounts.together == [{3}]


async def test_caller_that_is_cancelled_during_the_shared_query_does_not_cancel_it(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, released = asyncio.Event(), asyncio.Event()

    async def find_all(numbers: Collection[int]) -> Mapping[int, str]:
        started.set()
        await released.wait()
        return {number: accounts.names[number] for number in numbers}

    monkeypatch.setattr(accounts, "find_all", find_all)
    tasks = await asked(loader_of(accounts), [1, 2, 3])
    accounts.opened.set()
    await started.wait()
    tasks[1].cancel()
    released.set()
    answers = await answers_to(tasks)
    assert [type(answer) for answer in answers] == [str, asyncio.CancelledError, str]


async def test_loader_serves_after_all_callers_were_cancelled(accounts: Accounts) -> None:
    loader = loader_of(accounts)
    tasks = await asked(loader, [1, 2, 3])
    for task in tasks:
        task.cancel()
    await answers_to(tasks)
    accounts.opened.set()
    assert await loader(4) == "account 4"
    assert (accounts.alone, accounts.together) == ([1, 4], [])


@pytest.mark.parametrize("kind", [Unavailable, Conflict])
async def test_outage_reaches_each_caller_as_an_error_of_its_own(accounts: Accounts, kind: type[Unavailable]) -> None:
    outage = kind()
    accounts.errors.append(outage)
    loader = loader_of(accounts)
    tasks = await asked(loader, [1, 2, 3, 4])
    accounts.opened.set()
    first, *others = await answers_to(tasks)
    assert first == "account 1"
    assert [type(each) for each in others] == [kind] * 3
    assert len(set(map(id, others))) == 3
    assert [each.__cause__ for each in others] == [outage] * 3
    assert await answers_to(await asked(loader, [2])) == ["account 2"]


async def test_outage_of_the_first_lookup_does_not_fail_those_that_wait(accounts: Accounts) -> None:
    async def outage(_number: int) -> str | None:
        await accounts.opened.wait()
        raise Unavailable

    tasks = await asked(QueuedLookups(outage, accounts.find_all, unavailable=Unavailable, seconds=A_MINUTE), [1, 2, 3])
    accounts.opened.set()
    first, *others = await answers_to(tasks)
    assert isinstance(first, Unavailable)
    assert others == ["account 2", "account 3"]


async def test_one_lookup_with_an_error_does_not_fail_the_others(accounts: Accounts) -> None:
    """Each is repeated by itself."""
    accounts.errors.append(Broken())
    tasks = await asked(loader_of(accounts), [1, 2, 3])
    accounts.opened.set()
    assert await answers_to(tasks) == ["account 1", "account 2", "account 3"]
    assert accounts.alone == [1, 2, 3]


async def test_wait_is_bounded(accounts: Accounts) -> None:
    first, second = await asked(loader_of(accounts, seconds=0), [1, 2])
    await until(second.done)
    assert isinstance(second.exception(), Unavailable)
    accounts.opened.set()
    assert await first == "account 1"
    assert accounts.together == []


async def test_number_that_waits_is_bounded(accounts: Accounts) -> None:
    """Those beyond it use connections, which the admission of requests counts."""
    tasks = await asked(loader_of(accounts), range(MOST + 3))
    assert accounts.alone == [0, MOST + 1, MOST + 2]
    accounts.opened.set()
    assert await answers_to(tasks) == [accounts.names[number] for number in range(MOST + 3)]
    assert accounts.together == [set(range(1, MOST + 1))]


async def test_callers_are_failed_if_the_shared_query_is_cancelled(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a process. None of them may wait for ever."""
    started: list[asyncio.Task[Any]] = []

    async def find_all(_numbers: Collection[int]) -> Mapping[int, str]:
        task = asyncio.current_task()
        assert task
        started.append(task)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(accounts, "find_all", find_all)
    loader = QueuedLookups(accounts.find, accounts.find_all, unavailable=Unavailable, seconds=A_MINUTE)
    tasks = await asked(loader, [1, 2, 3])
    accounts.opened.set()
    await until(lambda: bool(started))
    started[0].cancel()
    answers = await answers_to(tasks)
    assert [type(answer) for answer in answers] == [str, Unavailable, Unavailable]
