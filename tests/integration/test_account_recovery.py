"""A new password by a link in a mail, over HTTP, with real mails."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import pytest
from click.testing import CliRunner

from infrastructure.settings import Settings
from interfaces.cli import convene
from tests.integration.account_mails import BROWSER, Account, Mails, registered
from tests.support.settings import JWT_SECRET_KEY

NEW = "another password"
PAGE = "reset-password"


@pytest.fixture(scope="module")
def mails(make_shared_settings: Callable[..., Settings]) -> Mails:
    return Mails(make_shared_settings())


@pytest.fixture
async def account(shared_api: httpx.AsyncClient) -> Account:
    return await registered(shared_api)


async def forget(account: Account) -> httpx.Response:
    return await account.api.post("/auth/password/forgot", json={"email": account.email})


async def reset(api: httpx.AsyncClient, token: str, password: str = NEW) -> httpx.Response:
    return await api.post("/auth/password/reset", json={"token": token, "password": password})


async def test_program_sets_a_new_password(mails: Mails, account: Account) -> None:
    headers = await account.headers()
    feed = await account.api.post("/calendar/feed", headers=headers)
    assert (await forget(account)).status_code == 202
    token = await mails.token_to(account.email, PAGE)
    answer = await reset(account.api, token)
    assert (answer.status_code, answer.json()) == (200, {"message": "Password changed successfully. Please log in"})

    assert (await account.api.get("/profile", headers=headers)).status_code == 401
    assert (await account.api.get(httpx.URL(feed.json()["url"]).path)).status_code == 404
    assert (await account.logs_in()).status_code == 401
    assert await account.is_verified(NEW)
    assert {mail["Subject"] for mail in await mails.to(account.email)} == {
        "Please confirm your e-mail address",
        "Set a new password",
        "Your password was changed",
    }


async def test_page_sets_a_new_password(mails: Mails, account: Account) -> None:
    await forget(account)
    path = await mails.link_to(account.email, PAGE)
    page = await account.api.get(path, headers=BROWSER)
    assert page.status_code == 200
    assert 'type="password" name="password"' in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    short = await account.api.post(path, data={"password": "short"}, headers=BROWSER)
    assert (short.status_code, "Must have 8 to 128 characters" in short.text) == (400, True)
    done = await account.api.post(path, data={"password": NEW}, headers=BROWSER)
    assert (done.status_code, "You have a new password" in done.text) == (200, True)
    assert (await account.logs_in(NEW)).status_code == 200
    again = await account.api.post(path, data={"password": "a third password"}, headers=BROWSER)
    assert (again.status_code, "This link is not valid" in again.text) == (400, True)
    assert (await account.logs_in(NEW)).status_code == 200


async def test_tokens_that_are_not_valid_get_one_answer(
    mails: Mails, account: Account, shared_database: asyncpg.Connection
) -> None:
    verification = await mails.token_to(account.email)
    await forget(account)
    late = await mails.token_to(account.email, PAGE)
    await shared_database.execute("UPDATE account_tokens SET expires_at = now() - interval '1 s'")
    await forget(account)
    used = await mails.token_to(account.email, PAGE)
    answers = await asyncio.gather(*(reset(account.api, used) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    refused = [await reset(account.api, token) for token in (late, used, verification, "guess", "")]
    bodies = [answer.json() | {"request_id": None} for answer in refused]
    assert {answer.status_code for answer in refused} == {400}
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "token_not_valid"


async def test_unknown_addresses_get_the_same_answer_and_no_mail(mails: Mails, account: Account) -> None:
    known = await forget(account)
    unknown = await forget(Account(account.api, "unknown@example.com"))
    assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
    assert await mails.to("unknown@example.com") == []
    wrong = await forget(Account(account.api, "no address"))
    assert (wrong.status_code, list(wrong.json()["details"])) == (400, ["email"])


async def test_operator_sets_a_password(
    mails: Mails, account: Account, shared_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = {
        "DATABASE_URL": shared_database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": JWT_SECRET_KEY,
        "CRM_BEARER_TOKEN": "c" * 32,
        "BACKEND_SERVICE_TOKEN": "b" * 32,
        "CONVENE_DATA": str(tmp_path),
        "CONVENE_PASSWORD": NEW,
    }
    headers = await account.headers()
    done = await asyncio.to_thread(CliRunner(env=settings).invoke, convene, ("users", "passwd", account.email))
    assert (done.exit_code, done.stdout) == (0, f"{account.email} has a new password\n")
    assert (await account.api.get("/profile", headers=headers)).status_code == 401
    assert (await account.logs_in(NEW)).status_code == 200
    assert [mail["Subject"] for mail in await mails.to(account.email)][-1] == "Your password was changed"
    unknown = await asyncio.to_thread(CliRunner(env=settings).invoke, convene, ("users", "passwd", "no@example.com"))
    assert unknown.exit_code == 1
