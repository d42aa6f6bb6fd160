"""The port of idempotency keys, and the commit under a key, in memory and in PostgreSQL.

Leases and ages are zero or negative where they have to be over: the clock of the database cannot be moved.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest

from application.idempotency import (
    Claim,
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IdempotencyKeys,
    KeptAnswer,
    KeyedRequest,
    Made,
)
from application.unit_of_work import OpenUnitOfWork
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.engine import Database
from infrastructure.postgres.idempotency import PostgresIdempotencyKeys
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.machine_clock import SystemClock
from tests.support.memory.idempotency import MemoryIdempotencyKeys, request_under
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

LEASE = timedelta(seconds=30)
OVER = timedelta(0)
DAYS = timedelta(days=3)
ANSWER = KeptAnswer(201, (("content-type", "application/json"), ("location", "/bookings/1")), b'{"id": 1}')
REFUSAL = KeptAnswer(422, (), b"{}")


@dataclass
class Keys:
    keys: IdempotencyKeys
    units: OpenUnitOfWork

    async def claim(
        self, request: KeyedRequest, *, lease: timedelta = LEASE, kept_for: timedelta = DAYS
    ) -> Claim | KeptAnswer | None:
        return await self.keys.claim(request, lease=lease, kept_for=kept_for)

    async def is_claimed(self, request: KeyedRequest, *, lease: timedelta = LEASE) -> Claim:
        found = await self.claim(request, lease=lease)
        assert isinstance(found, Claim)
        return found

    async def commit(self, claim: Claim, made: Made | None = None) -> None:
        with request_under(claim):
            async with self.units() as work:
                await work.commit(made)


@pytest.fixture(params=["memory", "postgres"])
def keys(request: pytest.FixtureRequest) -> Keys:
    if request.param == "memory":
        store, clock = Store(), SettableClock()
        return Keys(MemoryIdempotencyKeys(store, clock), MemoryUnitsOfWork(store, clock))
    database: Database = request.getfixturevalue("postgres_database")
    units = UnitsOfWork(database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None)
    return Keys(PostgresIdempotencyKeys(database), units)


@pytest.fixture
def request_() -> KeyedRequest:
    return KeyedRequest(f"user:{uuid4()}", "a key", b"a fingerprint of the request")


async def test_new_key_is_claimed(keys: Keys, request_: KeyedRequest) -> None:
    claim = await keys.is_claimed(request_)
    assert (claim.owner, claim.key, claim.made) == (request_.owner, request_.key, None)


async def test_claimed_key_waits_for_its_runner(keys: Keys, request_: KeyedRequest) -> None:
    await keys.is_claimed(request_)
    assert await keys.claim(request_) is None


async def test_equal_keys_of_two_owners_are_different(keys: Keys, request_: KeyedRequest) -> None:
    await keys.is_claimed(request_)
    await keys.is_claimed(replace(request_, owner=f"user:{uuid4()}"))


@pytest.mark.parametrize("is_answered", [True, False])
async def test_key_of_another_request_is_rejected(keys: Keys, request_: KeyedRequest, is_answered: bool) -> None:
    claim = await keys.is_claimed(request_)
    if is_answered:
        await keys.keys.keep(claim, ANSWER)
    with pytest.raises(IdempotencyKeyReused):
        await keys.claim(replace(request_, fingerprint=b"another request"))


@pytest.mark.parametrize("answer", [ANSWER, REFUSAL])
async def test_kept_answer_is_returned(keys: Keys, request_: KeyedRequest, answer: KeptAnswer) -> None:
    await keys.keys.keep(await keys.is_claimed(request_), answer)
    assert [await keys.claim(request_) for _ in range(2)] == [answer, answer]


async def test_expired_claim_is_taken_over(keys: Keys, request_: KeyedRequest) -> None:
    first = await keys.is_claimed(request_, lease=OVER)
    second = await keys.is_claimed(request_)
    assert first.runner != second.runner
    assert await keys.claim(request_) is None


async def test_former_runner_cannot_commit(keys: Keys, request_: KeyedRequest) -> None:
    first = await keys.is_claimed(request_, lease=OVER)
    second = await keys.is_claimed(request_, lease=OVER)
    with pytest.raises(IdempotencyKeyInUse):
        await keys.commit(first, made=1)

    await keys.commit(second, made=2)
    assert (await keys.is_claimed(request_)).made == "2"


async def test_former_runner_can_neither_keep_an_answer_nor_release(keys: Keys, request_: KeyedRequest) -> None:
    first = await keys.is_claimed(request_, lease=OVER)
    await keys.is_claimed(request_)
    await keys.keys.keep(first, ANSWER)
    await keys.keys.release(first)
    assert await keys.claim(request_) is None


async def test_expired_claim_that_is_not_taken_over_can_commit(keys: Keys, request_: KeyedRequest) -> None:
    claim = await keys.is_claimed(request_, lease=OVER)
    await keys.commit(claim, made={"id": 1})
    await keys.keys.keep(claim, ANSWER)
    assert await keys.claim(request_) == ANSWER


async def test_result_of_a_runner_that_died_is_passed_on(keys: Keys, request_: KeyedRequest) -> None:
    await keys.commit(await keys.is_claimed(request_, lease=OVER), made={"id": 1})
    again = await keys.is_claimed(request_, lease=OVER)
    await keys.commit(again)
    assert [claim.made for claim in (again, await keys.is_claimed(request_))] == ['{"id": 1}'] * 2


async def test_committed_work_without_a_result_is_not_repeated(keys: Keys, request_: KeyedRequest) -> None:
    await keys.commit(await keys.is_claimed(request_, lease=OVER))
    with pytest.raises(IdempotencyAnswerLost):
        await keys.claim(request_)


async def test_rolled_back_work_is_repeated(keys: Keys, request_: KeyedRequest) -> None:
    with request_under(await keys.is_claimed(request_, lease=OVER)):
        async with keys.units():
            pass
    assert (await keys.is_claimed(request_)).made is None


async def test_released_key_can_be_claimed(keys: Keys, request_: KeyedRequest) -> None:
    await keys.keys.release(await keys.is_claimed(request_))
    await keys.is_claimed(replace(request_, fingerprint=b"another request"))


async def test_released_key_of_committed_work_returns_its_result(keys: Keys, request_: KeyedRequest) -> None:
    claim = await keys.is_claimed(request_)
    await keys.commit(claim, made=7)
    await keys.keys.release(claim)
    assert (await keys.is_claimed(request_)).made == "7"


async def test_released_key_of_committed_work_without_result_waits_for_its_lease(
    keys: Keys, request_: KeyedRequest
) -> None:
    claim = await keys.is_claimed(request_)
    await keys.commit(claim)
    await keys.keys.release(claim)
    assert await keys.claim(request_) is None


async def test_answer_is_not_released(keys: Keys, request_: KeyedRequest) -> None:
    claim = await keys.is_claimed(request_)
    await keys.keys.keep(claim, ANSWER)
    await keys.keys.release(claim)
    assert await keys.claim(request_) == ANSWER


async def test_key_is_free_after_its_time(keys: Keys, request_: KeyedRequest) -> None:
    await keys.keys.keep(await keys.is_claimed(request_), ANSWER)
    assert await keys.claim(request_, kept_for=OVER) is None
    await keys.is_claimed(replace(request_, fingerprint=b"another request"))


async def test_errors_of_an_owner_with_many_keys_are_not_kept(keys: Keys, request_: KeyedRequest) -> None:
    claims = [await keys.is_claimed(replace(request_, key=f"key {number}")) for number in range(1_001)]
    await keys.keys.keep(claims[0], REFUSAL)
    await keys.keys.keep(claims[1], ANSWER)

    first = await keys.is_claimed(replace(request_, key="key 0"))
    assert await keys.claim(replace(request_, key="key 1")) == ANSWER
    await keys.keys.release(claims[2])
    await keys.keys.keep(first, REFUSAL)
    assert await keys.claim(replace(request_, key="key 0")) == REFUSAL


async def test_expired_keys_are_pruned_in_steps(keys: Keys, request_: KeyedRequest) -> None:
    while await keys.keys.prune(older_than=OVER, limit=5_000):
        pass
    for number in range(3):
        await keys.is_claimed(replace(request_, key=f"key {number}"))

    assert await keys.keys.prune(older_than=DAYS, limit=5) == 0
    assert [await keys.keys.prune(older_than=OVER, limit=2) for _ in range(3)] == [2, 1, 0]
    await keys.is_claimed(replace(request_, key="key 0", fingerprint=b"another request"))
