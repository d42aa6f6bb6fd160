"""Verification of addresses, over HTTP, with real mails."""

import asyncio
import re
from collections.abc import Callable

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from infrastructure.postgres.accounts import account_tokens
from infrastructure.settings import Settings
from tests.integration.account_mails import BROWSER, Account, Mails, registered, text_of


@pytest.fixture(scope="module")
def mails(make_shared_settings: Callable[..., Settings]) -> Mails:
    return Mails(make_shared_settings())


@pytest.fixture
async def account(shared_api: httpx.AsyncClient) -> Account:
    return await registered(shared_api)


async def verify(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/auth/verify-email", json={"token": token})


async def test_program_verifies_an_address(mails: Mails, account: Account, shared_database: asyncpg.Connection) -> None:
    assert not await account.is_verified()
    token = await mails.token_to(account.email)
    answer = await verify(account.api, token)
    assert (answer.status_code, answer.json()) == (200, {"message": "E-mail address verified successfully"})
    assert await account.is_verified()

    stored = await shared_database.fetch("SELECT t::text FROM account_tokens t UNION ALL SELECT o::text FROM outbox o")
    assert stored
    assert not any(token in row[0] for row in stored)


async def test_page_verifies_with_a_click_and_not_by_being_opened(mails: Mails, account: Account) -> None:
    """Programs that check mails open links; some follow HEAD and GET several times."""
    path = await mails.link_to(account.email)
    for _ in range(3):
        page = await account.api.get(path, headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not await account.is_verified()
    assert '<form method="post"><button>Confirm the address</button></form>' in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")

    clicked = await account.api.post(path, headers=BROWSER)
    assert clicked.status_code == 200
    assert "Your e-mail address is confirmed" in clicked.text
    assert await account.is_verified()
    again = await account.api.post(path, headers=BROWSER)
    assert (again.status_code, "This link is not valid" in again.text) == (400, True)


async def test_page_of_any_token_looks_the_same(mails: Mails, account: Account) -> None:
    known = await account.api.get(await mails.link_to(account.email), headers=BROWSER)
    unknown = await account.api.get("/verify-email/guess", headers=BROWSER)
    assert known.text == unknown.text


async def test_tokens_that_are_not_valid_get_one_answer(
    mails: Mails, account: Account, shared_database: asyncpg.Connection
) -> None:
    late = await mails.token_to(account.email)
    await shared_database.execute("UPDATE account_tokens SET expires_at = now() - interval '1 s'")
    assert (await account.api.post("/auth/verify-email/resend", headers=await account.headers())).status_code == 202
    replayed = await mails.token_to(account.email)
    assert (await verify(account.api, replayed)).status_code == 200
    answers = [await verify(account.api, token) for token in (late, replayed, "guess", "", "x" * 10_000)]
    bodies = [answer.json() | {"request_id": None} for answer in answers]
    assert [answer.status_code for answer in answers] == [400] * 5
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "token_not_valid"


async def test_token_is_used_once_by_concurrent_requests(mails: Mails, account: Account) -> None:
    token = await mails.token_to(account.email)
    answers = await asyncio.gather(*(verify(account.api, token) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 5]


async def test_without_the_guard_a_token_is_used_many_times(
    mails: Mails, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIND_OWNER", "_USE"):
        unguarded = getattr(account_tokens, name).text.replace("AND used_at IS NULL", "")
        monkeypatch.setattr(account_tokens, name, text(unguarded))
    token = await mails.token_to(account.email)
    answers = await asyncio.gather(*(verify(account.api, token) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6


async def test_resending_needs_a_login_and_an_unverified_address(mails: Mails, account: Account) -> None:
    assert (await account.api.post("/auth/verify-email/resend")).status_code == 401
    headers = await account.headers()
    answer = await account.api.post("/auth/verify-email/resend", headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"message": "A mail with a link is on its way"})
    first, second = await mails.to(account.email)
    assert first["Message-ID"] != second["Message-ID"]
    await verify(account.api, await mails.token_to(account.email))
    refused = await account.api.post("/auth/verify-email/resend", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "already_verified")


async def test_front_end_has_a_page_of_its_own(make_shared_settings: Callable[..., Settings], account: Account) -> None:
    mails = Mails(make_shared_settings(verify_url_template="https://app.example.com/verify?token={token}&from=mail"))
    (mail,) = await mails.to(account.email)
    (token,) = re.findall(r"https://app\.example\.com/verify\?token=([\w-]{43})&from=mail\s", text_of(mail))
    assert (await verify(account.api, token)).status_code == 200
