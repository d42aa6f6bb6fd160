"""Changes of the address of an account, over HTTP, with real mails."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from infrastructure.settings import Settings
from tests.integration.account_mails import BROWSER, Account, Mails, registered, text_of
from tests.support.people import PASSWORD

CHANGE, UNDO = "change-email", "undo-email-change"


@pytest.fixture(scope="module")
def mails(make_shared_settings: Callable[..., Settings]) -> Mails:
    return Mails(make_shared_settings())


@pytest.fixture
async def account(shared_api: httpx.AsyncClient) -> Account:
    return await registered(shared_api)


async def request(account: Account, email: str, password: str | None = PASSWORD) -> httpx.Response:
    body = {"email": email, "password": password}
    return await account.api.post("/profile/email", json=body, headers=await account.headers())


async def requested(account: Account) -> str:
    """The new address."""
    email = f"{uuid4()}@example.com"
    assert (await request(account, email)).status_code == 202
    return email


async def email_of(account: Account, headers: dict[str, str]) -> str:
    return str((await account.api.get("/profile", headers=headers)).json()["email"])


async def test_program_changes_an_address_and_undoes_it(mails: Mails, account: Account) -> None:
    headers, new = await account.headers(), await requested(account)
    assert await email_of(account, headers) == account.email
    answer = await account.api.post("/auth/email/change", json={"token": await mails.token_to(new, CHANGE)})
    assert (answer.status_code, answer.json()) == (200, {"message": "E-mail address changed successfully"})
    assert await email_of(account, headers) == new
    assert await Account(account.api, new).is_verified()
    assert "has another e-mail address now" in text_of((await mails.to(account.email))[-1])

    undo = {"token": await mails.token_to(account.email, UNDO)}
    undone = await account.api.post("/auth/email/undo", json=undo)
    assert undone.status_code == 200, undone.text
    assert (await account.api.get("/profile", headers=headers)).status_code == 401
    for address in (account.email, new):
        assert (await Account(account.api, address).logs_in()).status_code == 401
    token = await mails.token_to(account.email, "reset-password")
    reset = await account.api.post("/auth/password/reset", json={"token": token, "password": "a new password"})
    assert reset.status_code == 200
    assert await account.is_verified("a new password")

    for path in ("/auth/email/undo", "/auth/email/change"):
        again = await account.api.post(path, json=undo)
        assert (again.status_code, again.json()["code"]) == (400, "token_not_valid")


@pytest.mark.parametrize("page", [CHANGE, UNDO])
async def test_page_acts_with_a_click_and_not_by_being_opened(mails: Mails, account: Account, page: str) -> None:
    headers, new = await account.headers(), await requested(account)
    path = await mails.link_to(new if page == CHANGE else account.email, page)
    shown = await account.api.get(path, headers=BROWSER)
    assert (shown.status_code, '<form method="post">' in shown.text) == (200, True)
    assert shown.text == (await account.api.get(f"/{page}/guess", headers=BROWSER)).text
    assert await email_of(account, headers) == account.email
    clicked = await account.api.post(path, headers=BROWSER)
    assert (clicked.status_code, "has this e-mail address" in clicked.text) == (200, True)
    if page == CHANGE:
        assert await email_of(account, headers) == new
    else:
        assert (await account.api.get("/profile", headers=headers)).status_code == 401
    again = await account.api.post(path, headers=BROWSER)
    assert (again.status_code, "This link is not valid" in again.text) == (400, True)


async def test_taken_address_gets_the_same_answer_and_a_mail_without_a_link(mails: Mails, account: Account) -> None:
    other = await registered(account.api)
    verified = await other.api.post("/auth/verify-email", json={"token": await mails.token_to(other.email)})
    assert verified.status_code == 200, verified.text
    free, taken = await request(account, f"{uuid4()}@example.com"), await request(account, other.email)
    assert (free.status_code, free.json()) == (taken.status_code, taken.json())
    mail = text_of((await mails.to(other.email))[-1])
    assert "so nothing was changed" in mail
    assert "http" not in mail
    assert account.email not in mail
    assert await mails.link_to(account.email, UNDO)


@pytest.mark.parametrize(
    ("email", "password", "status", "code"),
    [
        ("new@example.com", "a wrong one", 401, "invalid_credentials"),
        ("new@example.com", None, 401, "invalid_credentials"),
        ("no address", PASSWORD, 400, "validation_error"),
        ("x" * 10_000 + "@example.com", PASSWORD, 400, "validation_error"),
    ],
)
async def test_wrong_requests_are_refused(
    account: Account, email: str, password: str | None, status: int, code: str
) -> None:
    answer = await request(account, email, password)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await account.api.post("/profile/email", json={"email": email, "password": PASSWORD})).status_code == 401


async def test_address_goes_to_one_of_two_accounts_that_confirm_it_at_once(mails: Mails, account: Account) -> None:
    accounts, new, tokens = [account, await registered(account.api)], f"{uuid4()}@example.com", []
    for each in accounts:
        assert (await request(each, new)).status_code == 202
        tokens.append(await mails.token_to(new, CHANGE))
    answers = await asyncio.gather(*(account.api.post("/auth/email/change", json={"token": token}) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    refused = next(answer.json() for answer in answers if answer.status_code == 400)
    assert refused["code"] == "email_taken"


async def test_front_end_has_pages_of_its_own(make_shared_settings: Callable[..., Settings], account: Account) -> None:
    mails = Mails(
        make_shared_settings(
            email_change_url_template="https://app.example.com/new?t={token}",
            email_undo_url_template="https://app.example.com/undo?t={token}",
        )
    )
    new = await requested(account)
    for address, link in ((new, "https://app.example.com/new?t="), (account.email, "https://app.example.com/undo?t=")):
        assert any(link in text_of(mail) for mail in await mails.to(address))
