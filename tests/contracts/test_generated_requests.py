"""Requests that schemathesis generates from both API descriptions: no answer is an internal error, and each is as the
description of its operation says: status, content type, headers and body.

A quarter of the requests is invalid by the description. Each operation is called by a client, a facilitator, an admin
and without an account; most of the valid requests name things that exist. Every service that the API calls is there,
so 503 is no answer either.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from crm.app import create_app as create_crm
from infrastructure.auth.passwords import Argon2Passwords
from tests.crm import parts as crm_parts
from tests.crm.description_checks import document as crm_document
from tests.support.authorisation import BOOKING_API, CRM, Account, rules
from tests.support.description_checks import document, named
from tests.support.generated_requests import Generator, failures, send, with_existing
from tests.support.google import fake_google
from tests.support.google_calendar import fake_google_calendar
from tests.support.outlook import fake_outlook
from tests.support.razorpay_server import fake_razorpay
from tests.support.settings import settings_for
from tests.support.stripe_server import fake_stripe
from tests.support.world import World, answering, populated

ANONYMOUS = None
CALLERS = (Account.CLIENT, Account.FACILITATOR, Account.ADMIN, ANONYMOUS)
EXCLUDED: Mapping[str, tuple[tuple[Account, ...], str]] = {
    "followFeed": ((Account.FACILITATOR, Account.ADMIN), "the answer is a stream without an end"),
}
"""By operation: callers who do not call it, and why."""
PASSWORD = "of no example"
"""Else an example of the description could change a password, or end an account."""


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(document())


@pytest.fixture(scope="module")
async def world(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with (
        fake_google() as google,
        fake_google_calendar() as google_calendar,
        fake_outlook() as outlook,
        fake_stripe() as stripe,
        fake_razorpay() as razorpay,
    ):
        services = (google_calendar, google, outlook, stripe, razorpay)
        configured = {name: value for service in services for name, value in service.settings.items()}
        limits = {"unpaid_holds_per_account": "1000", "api_keys_per_account": "1000"}
        settings = settings_for(shared_database_url, redis_url, tmp_path_factory.mktemp("data"), **configured, **limits)
        async with populated(settings, shared_database_url) as world:
            await world.database.execute("UPDATE users SET password_hash = $1", await Argon2Passwords().hash(PASSWORD))
            yield world


async def restore_logins(world: World) -> None:
    """Those that a request has ended."""
    await world.database.execute("UPDATE logins SET ended_at = NULL, end_reason = NULL WHERE ended_at IS NOT NULL")
    await world.database.execute("UPDATE users SET token_version = 1 WHERE token_version > 1")


@pytest.mark.parametrize("name", rules(BOOKING_API))
async def test_booking_api_answers_as_described(world: World, generator: Generator, name: str) -> None:
    wrong, excluded = [], EXCLUDED.get(name, ((), ""))[0]
    existing = await world.of(named(name), fresh=named(name).method != "GET") | await world.other()
    existing["user_id"] = str(world.people[Account.OTHER_CLIENT].id)
    for number, case in enumerate(generator.requests_of(name)):
        turn, caller = number // len(CALLERS), CALLERS[number % len(CALLERS)]
        if caller in excluded:
            continue
        sent = with_existing(case, existing) if turn % 2 == 0 else case
        credential = None if caller is ANONYMOUS else f"Bearer {world.people[caller].access_token}"
        answer = await send(sent, world.api, credential)
        wrong += [f"{caller}: {failure}" for failure in failures(sent, answer)]
        await restore_logins(world)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (500, "application/json", b"{}"),
        (418, "application/json", b"{}"),
        (200, "text/plain", b"no"),
        (200, "application/json", b'{"events": 1}'),
    ],
)
def test_other_answers_are_noticed(generator: Generator, status: int, content_type: str, body: bytes) -> None:
    """The negative control."""
    request = generator.requests_of("listEvents")[0]
    answer = httpx.Response(
        status, headers={"Content-Type": content_type}, content=body, request=httpx.Request("GET", "http://localhost")
    )
    answer.elapsed = timedelta()
    assert failures(request, answer)


@pytest.fixture
async def crm_answers(dsn: str, tmp_path: Path, mail_server: crm_parts.MailServer) -> AsyncIterator[httpx.AsyncClient]:
    user, password = map(quote, crm_parts.LOGIN)
    smtp_url = mail_server.url.replace("://", f"://{user}:{password}@")
    settings = crm_parts.settings_for(
        dsn, CONVENE_DATA=str(tmp_path), CRM_WEBHOOK_SECRET="a-secret-of-the-webhook", SMTP_URL=smtp_url
    )
    async with answering(create_crm(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def generator_for_crm() -> Generator:
    return Generator(crm_document())


@pytest.mark.parametrize("name", rules(CRM))
async def test_crm_answers_as_described(
    crm_answers: httpx.AsyncClient, generator_for_crm: Generator, name: str
) -> None:
    wrong = []
    credentials = (f"Bearer {crm_parts.TOKEN}", "Bearer a-secret-of-the-webhook", None)
    existing = {"facilitator_id": "1", "notification_id": str(uuid4()), "webhook_id": str(uuid4())}
    for number, case in enumerate(generator_for_crm.requests_of(name)):
        turn, caller = divmod(number, len(credentials))
        sent = with_existing(case, existing) if turn % 2 == 0 else case
        answer = await send(sent, crm_answers, credentials[caller])
        wrong += failures(sent, answer)
    assert not wrong, "\n".join(wrong)
