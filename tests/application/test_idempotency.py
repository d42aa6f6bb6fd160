"""The rules of requests with an idempotency key."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from application.idempotency import (
    ANONYMOUS_KEYS_PER_NETWORK,
    CLAIM,
    KEPT_FOR,
    LEASE,
    AnswerOnce,
    Claim,
    IdempotencyAnswerLost,
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    KeptAnswer,
    KeyedRequest,
    Made,
    PruneIdempotencyKeys,
    recorded_result,
    without_request_key,
)
from domain.errors import TooManyRequests, Unavailable
from tests.support.memory.idempotency import MemoryIdempotencyKeys, request_under
from tests.support.memory.rate_limits import MemoryLimits
from tests.support.memory.store import SettableClock, Store
from tests.support.memory.unit_of_work import MemoryUnitsOfWork

REQUEST = KeyedRequest("user:1", "a key", b"a fingerprint")
ANSWER = KeptAnswer(201, (), b"created")


class Requests:
    def __init__(self) -> None:
        self.store = Store()
        self.clock = SettableClock()
        self.keys = MemoryIdempotencyKeys(self.store, self.clock)
        self.units = MemoryUnitsOfWork(self.store, self.clock)
        self.once = self.answering_once(patience=-1)

    def answering_once(self, *, patience: float, secret: bytes = b"secret") -> AnswerOnce:
        """With a negative patience a request does not wait."""
        return AnswerOnce(self.keys, secret, MemoryLimits(self.clock), patience)

    async def begin(self, request: KeyedRequest = REQUEST) -> Claim:
        found = await self.once.begin(request)
        assert isinstance(found, Claim)
        return found

    async def work(self, claim: Claim, made: Made | None = None) -> None:
        """Carries out the request."""
        with request_under(claim):
            async with self.units() as work:
                await work.commit(made)


@pytest.fixture
def requests() -> Requests:
    return Requests()


async def test_repeated_request_gets_the_same_answer(requests: Requests) -> None:
    claim = await requests.begin()
    await requests.work(claim)
    await requests.once.end(claim, ANSWER)
    assert [await requests.once.begin(REQUEST) for _ in range(2)] == [ANSWER, ANSWER]


async def test_concurrent_request_waits_for_the_answer_without_a_connection(requests: Requests) -> None:
    claim = await requests.begin()
    waiting = asyncio.create_task(requests.answering_once(patience=60).begin(REQUEST))
    await asyncio.sleep(0)
    await requests.work(claim)  # asserts that no other unit of work is open
    await requests.once.end(claim, ANSWER)
    assert await waiting == ANSWER


async def test_concurrent_request_does_not_wait_longer_than_its_patience(requests: Requests) -> None:
    await requests.begin()
    with pytest.raises(IdempotencyKeyInUse):
        await requests.once.begin(REQUEST)


async def test_patience_is_not_shorter_than_the_lease_of_a_dead_runner(requests: Requests) -> None:
    once = AnswerOnce(requests.keys, b"secret", MemoryLimits(requests.clock))
    assert once.patience >= LEASE.total_seconds()


async def test_same_key_with_another_request_is_rejected(requests: Requests) -> None:
    claim = await requests.begin()
    for answer in (None, ANSWER):
        with pytest.raises(IdempotencyKeyReused):
            await requests.once.begin(replace(REQUEST, fingerprint=b"another request"))
        if answer is None:
            await requests.once.end(claim, ANSWER)


async def test_same_key_of_another_owner_is_another_key(requests: Requests) -> None:
    await requests.begin()
    await requests.begin(replace(REQUEST, owner="user:2"))


# Runners that died


async def test_request_of_a_dead_runner_is_taken_over_when_its_lease_ends(requests: Requests) -> None:
    dead = await requests.begin()
    requests.clock.advance(LEASE - timedelta(microseconds=1))
    with pytest.raises(IdempotencyKeyInUse):
        await requests.once.begin(REQUEST)
    requests.clock.advance(timedelta(microseconds=1))
    assert (await requests.begin()).runner != dead.runner


async def test_committed_work_of_a_dead_runner_is_not_repeated(requests: Requests) -> None:
    await requests.work(await requests.begin(), made={"id": 7})
    requests.clock.advance(LEASE)
    with request_under(await requests.begin()):
        assert recorded_result() == {"id": 7}


async def test_committed_work_without_a_result_is_not_repeated_either(requests: Requests) -> None:
    await requests.work(await requests.begin())
    requests.clock.advance(LEASE)
    with pytest.raises(IdempotencyAnswerLost):
        await requests.once.begin(REQUEST)


async def test_slow_runner_whose_request_was_taken_over_cannot_commit(requests: Requests) -> None:
    slow = await requests.begin()
    requests.clock.advance(LEASE)
    await requests.begin()
    with pytest.raises(IdempotencyKeyInUse):
        await requests.work(slow)


async def test_uncommitted_work_is_repeated(requests: Requests) -> None:
    with request_under(await requests.begin()):
        async with requests.units():
            pass
    requests.clock.advance(LEASE)
    with request_under(await requests.begin()):
        assert recorded_result() is None


async def test_request_without_an_answer_can_be_repeated(requests: Requests) -> None:
    await requests.once.end(await requests.begin(), None)
    await requests.begin(replace(REQUEST, fingerprint=b"also with another content"))


class UnavailableKeys(MemoryIdempotencyKeys):
    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        raise Unavailable

    async def release(self, claim: Claim) -> None:
        raise Unavailable


@pytest.mark.parametrize("answer", [ANSWER, None])
async def test_answer_is_sent_if_the_database_is_unavailable_after_the_work(
    requests: Requests, answer: KeptAnswer | None
) -> None:
    """`end` does not fail, so the caller sends the answer. The repeated request builds it again from the result."""
    claim = await requests.begin()
    await requests.work(claim, made=7)
    unavailable = UnavailableKeys(requests.store, requests.clock)
    await AnswerOnce(unavailable, b"secret", MemoryLimits(requests.clock)).end(claim, answer)

    requests.clock.advance(LEASE)
    assert (await requests.begin()).made == "7"


# Results


async def test_request_without_a_key_has_no_recorded_result() -> None:
    assert recorded_result() is None


async def test_background_task_does_not_record_the_claim_of_its_request(requests: Requests) -> None:
    with request_under(await requests.begin()):
        assert without_request_key().run(CLAIM.get) is None
        assert CLAIM.get() is not None


# Fingerprints


def test_fingerprint_depends_on_the_parts_and_on_the_secret(requests: Requests) -> None:
    fingerprint = requests.once.fingerprint
    assert fingerprint(b"POST", b"/bookings") == fingerprint(b"POST", b"/bookings")
    different = {
        fingerprint(b"POST", b"/bookings"),
        fingerprint(b"POST/", b"bookings"),
        fingerprint(b"POST/bookings"),
        fingerprint(b"POST", b"/bookings", b""),
        requests.answering_once(patience=0, secret=b"another").fingerprint(b"POST", b"/bookings"),
    }
    assert len(different) == 5


# Limits


async def test_keys_of_requests_without_an_account_are_limited_per_network(requests: Requests) -> None:
    for _ in range(ANONYMOUS_KEYS_PER_NETWORK.times):
        await requests.once.allow_anonymous("192.0.2.1")
    with pytest.raises(TooManyRequests):
        await requests.once.allow_anonymous("192.0.2.1")
    await requests.once.allow_anonymous("198.51.100.7")


# Expiry


async def test_key_can_be_used_again_after_72_hours(requests: Requests) -> None:
    await requests.once.end(await requests.begin(), ANSWER)
    requests.clock.advance(KEPT_FOR - timedelta(microseconds=1))
    assert await requests.once.begin(REQUEST) == ANSWER
    requests.clock.advance(timedelta(microseconds=1))
    anew = await requests.answering_once(patience=60).begin(replace(REQUEST, fingerprint=b"another request"))
    assert isinstance(anew, Claim)


async def test_expired_keys_are_deleted_up_to_20_000_a_call(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.idempotency.AT_ONCE", 10)
    prune = PruneIdempotencyKeys(requests.keys)
    for number in range(205):
        await requests.begin(replace(REQUEST, key=f"old {number}"))
    assert await prune() == 0
    requests.clock.advance(KEPT_FOR)
    await requests.begin(replace(REQUEST, key="young"))

    assert await prune(overdue=timedelta(minutes=1)) == 0
    assert [await prune() for _ in range(3)] == [200, 5, 0]
    assert list(requests.store.tables.of("idempotency_keys")) == [("user:1", "young")]


def test_malformed_key_is_invalid_in_its_header() -> None:
    assert IdempotencyKeyInvalid().details.keys() == {"Idempotency-Key"}
    assert IdempotencyKeyInvalid.code == "idempotency_key_invalid"
