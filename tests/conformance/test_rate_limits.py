"""The port of rate limits: in memory, in Redis, and in the memory of a process without Redis."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from application.ports import Limit, RateLimiter
from domain.errors import TooManyRequests
from infrastructure.redis.rate_limits import CountedLimits, LocalLimits, RedisLimits
from tests.support.memory.rate_limits import MemoryLimits
from tests.support.memory.store import SettableClock


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "redis", "process"])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    if request.param == "memory":
        return MemoryLimits(SettableClock())
    if request.param == "process":
        return LocalLimits()
    return RedisLimits(request.getfixturevalue("redis"), LocalLimits())


@pytest.fixture
def limit() -> Limit:
    return Limit(f"a test {uuid4()}", times=2, per=timedelta(hours=1))


async def test_attempts_beyond_the_limit_are_refused(limiter: RateLimiter, limit: Limit) -> None:
    for _ in range(2):
        await limiter.take(limit, "ada")
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refused:
            await limiter.take(limit, "ada")
        assert 3_500 < refused.value.retry_after <= 3_600
        assert refused.value.limit == limit.name


async def test_limits_and_clients_are_counted_separately(limiter: RateLimiter, limit: Limit) -> None:
    for _ in range(2):
        await limiter.take(limit, "ada")
    await limiter.take(limit, "grace")
    await limiter.take(Limit(f"another {limit.name}", limit.times, limit.per), "ada")


async def test_given_back_attempt_does_not_count(limiter: RateLimiter, limit: Limit) -> None:
    for _ in range(5):
        await limiter.take(limit, "ada")
        await limiter.give_back(limit, "ada")
    for _ in range(2):
        await limiter.take(limit, "ada")
    with pytest.raises(TooManyRequests):
        await limiter.take(limit, "ada")


async def test_nothing_is_given_back_without_an_attempt(limiter: RateLimiter, limit: Limit) -> None:
    for _ in range(3):
        await limiter.give_back(limit, "ada")
    for _ in range(2):
        await limiter.take(limit, "ada")
    with pytest.raises(TooManyRequests):
        await limiter.take(limit, "ada")


async def test_several_limits_count_together_or_not_at_all(limiter: RateLimiter, limit: Limit) -> None:
    narrow = Limit(f"narrow {limit.name}", times=1, per=timedelta(minutes=1))
    await limiter.take_all([(limit, "ada"), (narrow, "event")])
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refused:
            await limiter.take_all([(limit, "ada"), (narrow, "event")])
        assert refused.value.retry_after <= 60
        assert refused.value.limit == narrow.name
    await limiter.take_all([(limit, "ada"), (narrow, "another")])
    with pytest.raises(TooManyRequests) as refused:
        await limiter.take_all([(narrow, "event"), (limit, "ada")])
    assert refused.value.retry_after > 3_500, "the longest wait"


async def test_refused_attempts_are_counted_by_the_limit_with_the_longest_wait(
    limiter: RateLimiter, limit: Limit
) -> None:
    refused: list[str] = []
    counted = CountedLimits(limiter, refused.append)
    narrow = Limit(f"narrow {limit.name}", times=2, per=timedelta(minutes=1))
    for _ in range(2):
        await counted.take_all([(narrow, "event"), (limit, "ada")])
    for attempt in ([(narrow, "event"), (limit, "ada")], [(narrow, "event")]):
        with pytest.raises(TooManyRequests):
            await counted.take_all(attempt)
    await counted.give_back(narrow, "event")
    await counted.take(narrow, "event")
    assert refused == [limit.name, narrow.name]


async def test_each_concurrent_attempt_names_its_own_limit(limiter: RateLimiter, limit: Limit) -> None:
    narrow = Limit(f"narrow {limit.name}", times=2, per=timedelta(minutes=1))
    for _ in range(2):
        await limiter.take_all([(narrow, "event"), (limit, "ada")])
    answers = await asyncio.gather(
        limiter.take(limit, "grace"),
        limiter.take_all([(narrow, "event"), (limit, "grace")]),
        limiter.take_all([(narrow, "another"), (limit, "ada")]),
        limiter.take_all([(narrow, "event"), (limit, "ada")]),
        limiter.take(limit, "grace"),
        return_exceptions=True,
    )
    refused = [answer.limit if isinstance(answer, TooManyRequests) else answer for answer in answers]
    assert refused == [None, narrow.name, limit.name, limit.name, None]


async def test_concurrent_attempts_count_in_their_order(limiter: RateLimiter, limit: Limit) -> None:
    attempts = [limiter.take(limit, who) for who in ["ada", "grace"] * 10]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None)] * 4 + [TooManyRequests] * 16


async def test_concurrent_attempt_beyond_a_limit_does_not_count_at_the_others(
    limiter: RateLimiter, limit: Limit
) -> None:
    narrow = Limit(f"narrow {limit.name}", times=1, per=timedelta(minutes=1))
    at_both = [limiter.take_all([(limit, "ada"), (narrow, "event")]) for _ in range(5)]
    answers = await asyncio.gather(limiter.take(limit, "grace"), *at_both, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None)] * 2 + [TooManyRequests] * 4
    await limiter.take(limit, "ada")
    with pytest.raises(TooManyRequests):
        await limiter.take(limit, "ada")


async def test_attempts_that_wait_are_counted_by_one_script(redis: Redis, limit: Limit) -> None:
    limiter = RedisLimits(redis, LocalLimits())
    await limiter.take(limit, "before")  # loads the script
    calls = [await _calls_of_scripts(redis)]
    await asyncio.gather(*(limiter.take(limit, str(number)) for number in range(20)))
    calls.append(await _calls_of_scripts(redis))
    assert calls[1] - calls[0] == 2, "the first one, and the others together"


async def _calls_of_scripts(redis: Redis) -> int:
    calls: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    return calls


async def test_without_redis_each_concurrent_attempt_counts_in_the_process(limit: Limit) -> None:
    unreachable = Redis(host="127.0.0.1", port=1)
    limiter = RedisLimits(unreachable, LocalLimits())
    answers = await asyncio.gather(*(limiter.take(limit, "ada") for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None)] * 2 + [TooManyRequests] * 3
    await unreachable.aclose()
