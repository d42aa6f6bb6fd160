"""The consumer of leased entries, over a queue in memory."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from servicekit import lease_queue
from servicekit.lease_queue import OutageLog, QueueConsumer
from tests.support.messages import until


class QueueUnavailable(Exception):
    pass


class MemoryQueue:
    """Entries are numbers. Leases do not end by themselves; `renewed` counts their renewals."""

    def __init__(self, due: Sequence[int] = ()) -> None:
        self.due = list(due)
        self.limits: list[int] = []
        self.ran: list[int] = []
        self.running = self.most_running = 0
        self.renewed: Counter[int] = Counter()
        self.recorded: dict[int, str] = {}
        self.released: list[int] = []
        self.failing: dict[str, list[Exception]] = {}
        """Errors of the next calls, by method."""
        self.work: Callable[[int], Awaitable[Any]] = lambda _: asyncio.sleep(0)
        self.after_claim: Callable[[], object] = lambda: None
        self.makes_due: Callable[[int], bool] = lambda _: False

    async def claim(self, limit: int) -> list[int]:
        self.limits.append(limit)
        self._fail("claim")
        claimed, self.due = self.due[:limit], self.due[limit:]
        await asyncio.sleep(0)
        self.after_claim()
        return claimed

    async def renew(self, entry: int) -> None:
        self.renewed[entry] += 1
        self._fail("renew")

    async def release(self, entry: int) -> None:
        self._fail("release")
        self.released.append(entry)

    async def run(self, entry: int) -> str:
        self.ran.append(entry)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.work(entry)
        finally:
            self.running -= 1
        return f"result {entry}"

    async def record(self, entry: int, result: str, seconds: float) -> bool:
        assert seconds >= 0
        self._fail("record")
        self.recorded[entry] = result
        return self.makes_due(entry)

    def _fail(self, method: str) -> None:
        if errors := self.failing.get(method):
            raise errors.pop(0)


def consumer_of(queue: MemoryQueue, **options: Any) -> QueueConsumer[int, str]:
    """Neither polls nor renews within the time of a test unless the options say so."""
    defaults = {"capacity": 3, "poll_every": math.inf, "renew_every": 3600, "drain": math.inf, "back_off": 0.01}
    return QueueConsumer("memory", queue, unavailable=QueueUnavailable, **(defaults | options))


@asynccontextmanager
async def running(consumer: QueueConsumer[int, str]) -> AsyncIterator[None]:
    task = asyncio.create_task(consumer.run())
    yield
    consumer.stop()
    await task


Logs = list[Any]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Logs:
    """What the consumer logs, at every level: an earlier test of the process may have configured another one."""
    captured = LogCapture()
    logger = structlog.wrap_logger(
        None, processors=[captured], wrapper_class=structlog.make_filtering_bound_logger("debug")
    )
    monkeypatch.setattr(lease_queue, "_log", logger)
    return captured.entries


def events(logs: Logs) -> list[str]:
    return [line["event"] for line in logs]


async def test_each_due_entry_runs_once_and_its_result_is_recorded() -> None:
    queue = MemoryQueue(range(20))
    await consumer_of(queue).run_until_idle()
    assert sorted(queue.ran) == list(range(20))
    assert queue.recorded == {entry: f"result {entry}" for entry in range(20)}


async def test_claims_are_limited_to_the_free_slots() -> None:
    queue = MemoryQueue(range(20))
    # One slot is taken until the end.
    queue.work = lambda entry: until(lambda: len(queue.recorded) == 19) if entry == 0 else asyncio.sleep(0)
    await consumer_of(queue).run_until_idle()
    assert queue.most_running == 3
    assert queue.limits[0] == 3
    assert all(limit in (1, 2) for limit in queue.limits[1:-1]), queue.limits


class Generous(MemoryQueue):
    """Answers a claim with more entries than it was asked for."""

    async def claim(self, limit: int) -> list[int]:
        return await super().claim(limit * 5)


async def test_more_claims_than_slots_wait_and_are_renewed_meanwhile() -> None:
    queue = Generous(range(9))
    free = asyncio.Event()
    queue.work = lambda _: free.wait()
    consumer = consumer_of(queue, renew_every=0.01)
    consumer.start(100)
    running = asyncio.create_task(consumer.run_until_idle())
    await until(lambda: len(queue.renewed) == 10)
    assert queue.most_running == len(queue.ran) == 3
    free.set()
    await running
    assert queue.most_running == 3
    assert len(queue.recorded) == 10


async def test_entry_claimed_elsewhere_returns_its_result_after_the_caller_left() -> None:
    queue = MemoryQueue()
    consumer = consumer_of(queue)
    assert await consumer.start(1) == "result 1"
    free = asyncio.Event()
    queue.work = lambda _: free.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.shield(consumer.start(2))
    assert consumer.in_flight == [2]
    free.set()
    await consumer.run_until_idle()
    assert queue.recorded[2] == "result 2"


async def test_lease_is_renewed_during_the_run_also_after_a_failed_renewal(logs: Logs) -> None:
    queue = MemoryQueue([1])
    queue.failing["renew"] = [QueueUnavailable(), ValueError("a bug")]
    queue.work = lambda entry: until(lambda: queue.renewed[entry] >= 5)
    await consumer_of(queue, renew_every=0.01).run_until_idle()
    assert queue.recorded == {1: "result 1"}
    assert events(logs) == ["lease_renewal_failed"]


async def test_entry_whose_run_raises_is_logged_and_its_lease_expires(logs: Logs) -> None:
    queue = MemoryQueue(range(6))

    async def work(entry: int) -> None:
        if entry == 2:
            raise ValueError("a bug")

    queue.work = work
    consumer = consumer_of(queue)
    async with running(consumer):
        await until(lambda: len(queue.recorded) == 5)
        queue.due.append(6)
        consumer.notify()
        await until(lambda: 6 in queue.recorded)
    assert [(line["event"], line["queue"]) for line in logs] == [("entry_failed", "memory")]
    assert 2 not in queue.recorded
    assert queue.released == []


async def test_outage_is_logged_once_by_all_consumers_and_entries_in_flight_continue(logs: Logs) -> None:
    outages, free = OutageLog(), asyncio.Event()
    queue, other = MemoryQueue([1]), MemoryQueue()
    queue.work = lambda _: free.wait()
    consumers = [consumer_of(each, outages=outages, poll_every=0.01) for each in (queue, other)]
    async with running(consumers[0]), running(consumers[1]):
        await until(lambda: queue.running == 1)
        for each in (queue, other):
            each.failing["claim"] = [QueueUnavailable("connection refused")] * 1000
        await until(lambda: len(queue.failing["claim"]) < 990 and len(other.failing["claim"]) < 990)
        queue.failing["record"] = [QueueUnavailable()]
        free.set()
        await until(lambda: queue.recorded == {1: "result 1"})
        for each in (queue, other):
            each.failing.clear()
            each.due.append(2)
        await until(lambda: 2 in queue.recorded and 2 in other.recorded)
    assert events(logs) == ["database_unavailable", "database_recovered"]
    assert logs[0]["error"] == "connection refused"
    assert queue.ran == [1, 2]


async def test_other_claim_failure_is_logged_and_the_claim_is_repeated(logs: Logs) -> None:
    queue = MemoryQueue([1])
    queue.failing["claim"] = [ValueError("a bug")]
    async with running(consumer_of(queue)):
        await until(lambda: 1 in queue.recorded)
    assert events(logs) == ["claim_failed"]


@pytest.mark.parametrize(("record_for", "recorded"), [(math.inf, {1: "result 1"}), (-1, {})])
async def test_result_is_recorded_again_while_the_queue_is_unavailable(
    record_for: float, recorded: dict[int, str], logs: Logs
) -> None:
    queue = MemoryQueue([1])
    queue.failing["record"] = [QueueUnavailable()]
    await consumer_of(queue, record_for=record_for).run_until_idle()
    assert queue.ran == [1]
    assert queue.recorded == recorded
    assert events(logs)[0] == "database_unavailable"


async def test_stop_claims_nothing_more_and_finishes_entries_in_flight() -> None:
    queue, free = MemoryQueue([1, 2]), asyncio.Event()
    queue.work = lambda _: free.wait()
    consumer = consumer_of(queue, poll_every=0.01)
    serving = asyncio.create_task(consumer.run())
    await until(lambda: queue.running == 2)
    consumer.stop()
    queue.due.append(3)
    consumer.notify()
    await asyncio.sleep(0.05)
    assert not serving.done()
    free.set()
    await serving
    assert sorted(queue.recorded) == [1, 2]
    assert queue.due == [3]
    assert queue.released == []


@pytest.mark.parametrize(("drain", "stops"), [(0.01, 1), (math.inf, 2)])
async def test_entries_beyond_the_drain_deadline_or_a_second_stop_are_released(drain: float, stops: int) -> None:
    queue = MemoryQueue([1, 2, 3, 4])
    queue.work = lambda entry: asyncio.sleep(0 if entry == 1 else math.inf)
    consumer = consumer_of(queue, drain=drain)
    serving = asyncio.create_task(consumer.run())
    await until(lambda: queue.running == 3 and 1 in queue.recorded)
    for _ in range(stops):
        consumer.stop()
        await asyncio.sleep(0)
    await serving
    assert sorted(queue.released) == [2, 3, 4]
    assert queue.recorded == {1: "result 1"}
    assert consumer.in_flight == []


async def test_stop_ends_although_claims_and_releases_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.lease_queue.RELEASE_SECONDS", 0.01)
    queue = MemoryQueue([1])
    queue.work = lambda _: asyncio.sleep(math.inf)
    consumer = consumer_of(queue, drain=0.01)
    serving = asyncio.create_task(consumer.run())
    await until(lambda: queue.running == 1)

    async def hang(_: int) -> list[int]:
        await asyncio.sleep(math.inf)
        return []

    monkeypatch.setattr(queue, "claim", hang)
    monkeypatch.setattr(queue, "release", hang)
    consumer.notify()
    consumer.stop()
    await asyncio.wait_for(serving, 30)


async def test_cancelled_consumer_cancels_its_entries() -> None:
    queue = MemoryQueue([1])
    queue.work = lambda _: asyncio.sleep(math.inf)
    serving = asyncio.create_task(consumer_of(queue).run())
    await until(lambda: queue.running == 1)
    serving.cancel()
    await asyncio.wait({serving})
    await until(lambda: queue.running == 0)
    assert queue.recorded == {}


async def test_without_a_wake_up_due_entries_are_found_by_polling() -> None:
    queue = MemoryQueue()
    async with running(consumer_of(queue, poll_every=0.01)):
        await until(lambda: bool(queue.limits))
        queue.due.append(1)
        await until(lambda: 1 in queue.recorded)


async def test_wake_up_claims_also_while_other_entries_run() -> None:
    queue = MemoryQueue([1])
    queue.work = lambda entry: asyncio.sleep(0) if entry > 1 else until(lambda: 2 in queue.recorded)
    consumer = consumer_of(queue)
    async with running(consumer):
        await until(lambda: queue.running == 1)
        queue.due.append(2)
        consumer.notify()
        await until(lambda: 1 in queue.recorded)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_wake_up_during_a_claim_is_not_lost_and_in_the_other_order_it_is(is_lost: bool) -> None:
    """The negative control forgets wake-ups after the claim instead of before it."""
    queue = MemoryQueue()
    consumer = consumer_of(queue)

    def enqueue_behind_the_claim() -> None:
        queue.after_claim = lambda: None
        queue.due.append(1)
        consumer.notify()
        if is_lost:
            consumer._is_notified = False

    queue.after_claim = enqueue_behind_the_claim
    async with running(consumer):
        await until(lambda: bool(queue.due or queue.recorded))
        for _ in range(50):
            await asyncio.sleep(0)
        assert (1 in queue.recorded) is not is_lost


async def test_consumer_whose_polling_ends_does_not_go_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = consumer_of(MemoryQueue())

    async def fails() -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(consumer, "_poll", fails)
    async with asyncio.timeout(30):
        with pytest.raises(ValueError, match="a fault"):
            await consumer.run()


async def test_entries_are_claimed_ahead_at_the_rate_of_those_that_end() -> None:
    queue = MemoryQueue(range(200))
    await consumer_of(queue, ahead=30).run_until_idle()
    assert queue.limits[0] == 3
    assert max(queue.limits) > 3
    assert queue.most_running == 3
    assert len(queue.recorded) == 200


async def test_no_entry_is_claimed_ahead_of_slow_runs() -> None:
    queue = MemoryQueue(range(12))
    queue.work = lambda _: asyncio.sleep(0.2)
    await consumer_of(queue, ahead=30).run_until_idle()
    assert max(queue.limits) == 3


@pytest.mark.parametrize("is_released", [True, False])
async def test_result_that_stops_releases_the_entries_claimed_ahead(is_released: bool) -> None:
    """The negative control does not look at the result."""
    queue = Generous(range(9))
    free = asyncio.Event()
    queue.work = lambda _: free.wait()
    consumer = consumer_of(queue, capacity=1, stops=lambda result: is_released and result == "result 0")
    running = asyncio.create_task(consumer.run_until_idle())
    await until(lambda: queue.running == 1)
    free.set()
    await running
    assert queue.released == ([1, 2, 3, 4] if is_released else [])
    assert queue.ran == ([0, 5, 6, 7, 8] if is_released else list(range(9)))


@pytest.mark.parametrize(("lease", "ran"), [(0.05, [0]), (3600, [0, 1, 2, 3, 4])])
async def test_entry_claimed_ahead_is_not_run_after_the_end_of_its_lease(lease: float, ran: list[int]) -> None:
    queue = Generous(range(5))
    queue.work = lambda entry: asyncio.sleep(0.2 if entry == 0 else 0)
    await consumer_of(queue, capacity=1, lease=lease).run_until_idle()
    assert queue.ran == ran


async def test_renewed_entry_claimed_ahead_is_run() -> None:
    queue = Generous(range(5))
    queue.work = lambda entry: until(lambda: queue.renewed[4] > 5) if entry == 0 else asyncio.sleep(0)
    await consumer_of(queue, capacity=1, lease=30, renew_every=0.01).run_until_idle()
    assert queue.ran == [0, 1, 2, 3, 4]


async def test_result_that_makes_entries_due_is_followed_by_a_claim() -> None:
    queue = MemoryQueue([1])

    def makes_due(entry: int) -> bool:
        if entry < 4:
            queue.due.append(entry + 1)
        return entry < 4

    queue.makes_due = makes_due
    await consumer_of(queue).run_until_idle()
    assert queue.ran == [1, 2, 3, 4]
    assert len(queue.limits) == 4, "no claim after the last one"
