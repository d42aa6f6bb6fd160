"""Admission of requests, with a model of the server in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.admission import Admission
from tests.support.virtual_time import run_in_virtual_time

CONNECTIONS = 4
USES = 4
"""Uses of the database by a request: the session, the key, the booking, the answer under the key."""
USE_SECONDS = 0.01
CAPACITY = CONNECTIONS / (USES * USE_SECONDS)
"""Requests a second."""
LONGEST_USE_WAIT = 3.0
LONGEST_WAIT = 0.5
SECONDS = 10
USEFUL_SECONDS = 1
"""An answer after more than this comes too late."""


class NoConnection(Exception):
    pass


@dataclass
class Server:
    """A pool of connections behind an entrance. `guarded` False: the entrance lets everything in."""

    guarded: bool = True
    took: list[float] = field(default_factory=list)
    refused_after: list[float] = field(default_factory=list)
    failed: int = 0

    def __post_init__(self) -> None:
        self.admission = Admission(database_waits=2 * CONNECTIONS, seconds=LONGEST_WAIT)
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def request(self, uses: int = USES) -> None:
        began = asyncio.get_running_loop().time()
        if self.guarded and not await self.admission.enter():
            self.refused_after.append(asyncio.get_running_loop().time() - began)
            return
        try:
            for _ in range(uses):
                async with self._connection():
                    await asyncio.sleep(USE_SECONDS)
        except NoConnection:
            self.failed += 1
        else:
            self.took.append(asyncio.get_running_loop().time() - began)
        finally:
            self.admission.left()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[None]:
        with self.admission.database_wait():
            try:
                await asyncio.wait_for(self._free.acquire(), LONGEST_USE_WAIT)
            except TimeoutError:
                raise NoConnection from None
        try:
            yield
        finally:
            self._free.release()


async def _offer(server: Server, rate: float, seconds: float) -> Server:
    async with asyncio.TaskGroup() as requests:
        for _ in range(round(rate * seconds)):
            requests.create_task(server.request())
            await asyncio.sleep(1 / rate)
    return server


def _useful(server: Server) -> int:
    return sum(seconds <= USEFUL_SECONDS for seconds in server.took)


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


@pytest.mark.parametrize("load", [2, 5])
def test_an_overloaded_server_works_at_its_capacity_and_answers_within_a_second(load: int) -> None:
    async def scenario() -> Server:
        return await _offer(Server(), load * CAPACITY, SECONDS)

    server = run_in_virtual_time(scenario())

    assert _useful(server) >= 0.9 * CAPACITY * SECONDS
    assert _p99(server.took) <= USEFUL_SECONDS
    assert server.failed == 0
    assert _p99(server.refused_after) <= LONGEST_WAIT


def test_without_the_entrance_most_of_its_work_is_lost() -> None:
    async def scenario() -> Server:
        return await _offer(Server(guarded=False), 2 * CAPACITY, SECONDS)

    server = run_in_virtual_time(scenario())

    assert _useful(server) < 0.3 * CAPACITY * SECONDS
    assert server.failed > 0


def test_below_its_capacity_nothing_is_refused() -> None:
    async def scenario() -> Server:
        return await _offer(Server(), 0.8 * CAPACITY, 10)

    assert run_in_virtual_time(scenario()).refused_after == []


def test_a_burst_that_can_be_served_in_time_is_not_refused() -> None:
    async def scenario() -> Server:
        server = Server()
        async with asyncio.TaskGroup() as requests:
            for _ in range(round(CAPACITY * LONGEST_WAIT * 0.9)):
                requests.create_task(server.request())
        return server

    assert run_in_virtual_time(scenario()).refused_after == []


def test_the_server_takes_requests_again_after_an_overload() -> None:
    async def scenario() -> Server:
        server = await _offer(Server(), 3 * CAPACITY, 10)
        server.refused_after.clear()
        return await _offer(server, 0.8 * CAPACITY, 10)

    assert run_in_virtual_time(scenario()).refused_after == []


def test_refusals_come_early_while_the_overload_lasts() -> None:
    async def scenario() -> Server:
        server = await _offer(Server(), 2 * CAPACITY, 10)
        server.refused_after.clear()
        return await _offer(server, 2 * CAPACITY, 10)

    assert _p99(run_in_virtual_time(scenario()).refused_after) <= 0.2 * LONGEST_WAIT


@given(st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 6), st.booleans()), min_size=1, max_size=60))
def test_each_request_is_answered_or_refused_within_the_bound(arrivals: list[tuple[float, int, bool]]) -> None:
    """Also if requests use no connection, or their clients leave."""

    async def scenario() -> Server:
        server = Server()
        tasks = []
        for pause, uses, leaves in arrivals:
            await asyncio.sleep(pause)
            tasks.append(asyncio.create_task(server.request(uses)))
            if leaves:
                asyncio.get_running_loop().call_later(0.015, tasks[-1].cancel)
        await asyncio.wait(tasks)
        assert server.admission.waiting == 0
        # Nothing is left behind: the next request enters at once.
        assert await server.admission.enter()
        return server

    server = run_in_virtual_time(scenario())
    assert all(seconds <= LONGEST_WAIT + 0.001 for seconds in server.refused_after)
