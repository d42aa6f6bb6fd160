"""Requests for known and unknown addresses get the same answer and cost the same: they do not show who has an account.

Costs are the CPU time of the process, of 200 requests each, interleaved: the load of the machine is not in them.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx
import pytest

from application.accounts.recovery import RequestPasswordReset
from domain.errors import DomainError
from infrastructure import container
from infrastructure.auth import passwords
from infrastructure.auth.passwords import Argon2Passwords, Cost
from infrastructure.settings import Settings
from tests.support.people import People, Person

REQUESTS = 200
ADDRESS = "192.0.2.1"
CHEAP = Cost(passes=1, kib=4096)
"""Of a hash that still takes as long as the rest of a login."""


async def _costs(request: Callable[[str], Awaitable[str]], known: str) -> tuple[float, float]:
    """The median cost of a request for a known and for an unknown address, in seconds. The answers are equal."""
    costs: dict[str, list[float]] = {known: [], f"not-{known}": []}
    for _ in range(REQUESTS):
        answers = set()
        for email, cost in costs.items():
            began = time.process_time()
            answers.add(await request(email))
            cost.append(time.process_time() - began)
        assert len(answers) == 1, answers
    of_known, of_unknown = map(statistics.median, costs.values())
    return of_known, of_unknown


def _are_equal(of_known: float, of_unknown: float) -> bool:
    return 0.8 < of_known / of_unknown < 1.25


@pytest.fixture
async def parts(
    make_shared_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[container.Container]:
    monkeypatch.setattr(Argon2Passwords, "cost", CHEAP)
    monkeypatch.setattr(passwords, "DUMMY_HASH", await Argon2Passwords().hash("a password"))
    parts = container.build(make_shared_settings())
    yield parts
    await parts.close()


@pytest.fixture
async def person(parts: container.Container, shared_people: People) -> Person:
    return await shared_people.user()


class AsksFirst(RequestPasswordReset):
    """The negative control: it looks for the account and enqueues a mail if there is one."""

    async def __call__(self, *, email: str, address: str) -> None:
        async with self.open_work() as work:
            if await work.users.find_credentials(email) is None:
                return
        await super().__call__(email=email, address=address)


@pytest.mark.parametrize("guarded", [True, False])
async def test_new_password_can_be_requested_for_any_address(
    parts: container.Container, person: Person, *, guarded: bool
) -> None:
    use_case = parts.use_cases.request_password_reset
    if not guarded:
        use_case = AsksFirst(use_case.open_work, use_case.limiter, use_case.wake_ups)

    async def request(email: str) -> str:
        await use_case(email=email, address=ADDRESS)
        return "accepted"

    of_known, of_unknown = await _costs(request, person.email)
    assert _are_equal(of_known, of_unknown) is guarded, (of_known, of_unknown)


class HashesNothing(Argon2Passwords):
    """The negative control: without an account there is nothing to compare the password with."""

    async def verify(self, password: str, password_hash: str | None) -> bool:
        return password_hash is not None and await super().verify(password, password_hash)


# Takes 4 s of CPU: 800 logins, a hash in most of them.
@pytest.mark.parametrize("guarded", [True, False])
async def test_wrong_login_tells_nothing(parts: container.Container, person: Person, *, guarded: bool) -> None:
    log_in = parts.use_cases.log_in
    if not guarded:
        log_in = replace(log_in, hasher=HashesNothing())

    async def request(email: str) -> str:
        with pytest.raises(DomainError) as refused:
            await log_in(email=email, password="another password", address=ADDRESS)
        return refused.value.code

    of_known, of_unknown = await _costs(request, person.email)
    assert _are_equal(of_known, of_unknown) is guarded, (of_known, of_unknown)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/password/forgot", {}),
        ("/auth/login", {"password": "another password"}),
        ("/api/login", {"password": "another password"}),
        ("/api/auth/login", {"password": "another password"}),
    ],
)
async def test_answers_are_equal(
    shared_api: httpx.AsyncClient, shared_people: People, path: str, body: dict[str, str]
) -> None:
    person = await shared_people.user()
    known, unknown = await asyncio.gather(
        *(shared_api.post(path, json={"email": email, **body}) for email in (person.email, f"not-{person.email}"))
    )
    assert known.status_code == unknown.status_code
    assert _without_id(known) == _without_id(unknown)


def _without_id(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}
