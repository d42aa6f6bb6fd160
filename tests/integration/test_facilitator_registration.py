"""`FACILITATOR_REGISTRATION`: who may register as a facilitator, at every path, and how operators approve."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from click.testing import CliRunner, Result

from domain.outbox import Destination, MessageType
from infrastructure.email.composer import MailComposer
from interfaces.cli import convene
from interfaces.cli.problems import error_message
from interfaces.http.app import create_app
from tests.conftest import a_client
from tests.support.http import serving
from tests.support.messages import a_message
from tests.support.people import PASSWORD, event
from tests.support.rows import stored_row
from tests.support.settings import settings_for
from tests.support.standard_mail import received

COMPOSER = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")
WAYS = {"/auth/register": 201, "/api/register": 200, "/api/auth/register": 201}
"""Every path to register at, with the status its contract documents."""

Run = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="module")
async def apis(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """An API for each value of the setting, on one database."""

    def app(registration: str) -> Any:
        data = tmp_path_factory.mktemp(registration)
        return create_app(settings_for(shared_database_url, redis_url, data, facilitator_registration=registration))

    async with (
        serving(app("open")) as first,
        serving(app("approval")) as second,
        serving(app("closed")) as third,
        a_client(first) as open_,
        a_client(second) as approval,
        a_client(third) as closed,
    ):
        yield {"open": open_, "approval": approval, "closed": closed}


@pytest.fixture
def run(shared_database_url: str, redis_url: str, tmp_path: Path) -> Run:
    """A command in this process, where facilitators cannot register by themselves."""
    settings = {
        "DATABASE_URL": shared_database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": "j" * 32,
        "CRM_BEARER_TOKEN": "c" * 32,
        "BACKEND_SERVICE_TOKEN": "b" * 32,
        "CONVENE_DATA": str(tmp_path),
        "CONVENE_PASSWORD": PASSWORD,
        "FACILITATOR_REGISTRATION": "closed",
    }

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner(env=settings).invoke, convene, arguments)

    return run


def account(role: str = "facilitator", **more: str) -> dict[str, str]:
    return {"email": f"{uuid4()}@example.com", "password": PASSWORD, "name": "Mira Sol", "role": role} | more


async def logged_in(api: httpx.AsyncClient, body: dict[str, str]) -> dict[str, str]:
    answer = await api.post("/auth/login", json={"email": body["email"], "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def has_profile(database: asyncpg.Connection, email: str) -> bool:
    return bool(
        await database.fetchval(
            "SELECT count(*) FROM facilitator_profiles p JOIN users u ON u.id = p.user_id WHERE u.email = $1", email
        )
    )


@pytest.mark.parametrize("path", WAYS)
async def test_open_registers_facilitators_as_in_the_contracts(apis: dict[str, httpx.AsyncClient], path: str) -> None:
    answer = await apis["open"].post(path, json=account())
    assert answer.status_code == WAYS[path]
    user = answer.json()["user"]
    assert (user["role"], user["requested_role"]) == ("facilitator", None)


@pytest.mark.parametrize("path", WAYS)
async def test_approval_registers_a_user_until_approved(
    apis: dict[str, httpx.AsyncClient], path: str, run: Run, shared_database: asyncpg.Connection
) -> None:
    """Until `convene users approve` the account cannot do what facilitators do. Its bio is kept."""
    api, body = apis["approval"], account(bio="Twenty years of breath work", specialization="Breathing")
    answer = await api.post(path, json=body)
    assert answer.status_code == WAYS[path]
    user = answer.json()["user"]
    assert (user["role"], user["requested_role"]) == ("user", "facilitator")
    token = await logged_in(api, body)
    profile = (await api.get("/profile", headers=token)).json()
    assert (profile["role"], profile["requested_role"]) == ("user", "facilitator")
    refused = await api.post("/events", headers=token, json=event())
    assert (refused.status_code, refused.json()["code"]) == (403, "facilitator_required")
    assert (await api.get("/facilitator/events", headers=token)).status_code == 403
    assert profile["uuid"] not in (await api.get("/coaches?limit=100")).text

    listed = json.loads((await run("users", "list", "--requested", "--json")).stdout)["items"]
    assert [each["requested_role"] for each in listed if each["email"] == body["email"]] == ["facilitator"]
    assert all(each["requested_role"] == "facilitator" for each in listed)
    assert "user (requests facilitator)" in (await run("users", "list")).stdout
    done = await run("users", "approve", body["email"])
    assert (done.exit_code, done.stdout) == (0, f"{body['email']} is facilitator\n")

    query = "SELECT * FROM outbox WHERE lane = $1 AND fact <> 'email_verification'"
    row = await stored_row(shared_database, query, f"user:{user['id']}")
    assert (row["destination"], row["fact"]) == ("email", "facilitator_approved")
    message = a_message(MessageType(row["fact"]), destination=Destination.EMAIL)
    mail = received(COMPOSER.compose(replace(message, payload=json.loads(row["snapshot"]))))
    assert (mail["To"], mail["Subject"]) == (f"Mira Sol <{body['email']}>", "You are a facilitator now")

    token = await logged_in(api, body)
    profile = (await api.get("/profile", headers=token)).json()
    assert (profile["role"], profile["requested_role"]) == ("facilitator", None)
    assert (await api.post("/events", headers=token, json=event())).status_code == 201
    if path == "/api/auth/register":
        bio = "SELECT bio FROM facilitator_profiles WHERE user_id = $1"
        assert await shared_database.fetchval(bio, user["id"]) == "Twenty years of breath work"
    assert (await api.get("/api/facilitator/dashboard", headers=token)).status_code == 200
    again = await run("users", "approve", body["email"])
    assert again.exit_code == 1
    assert isinstance(again.exception, Exception)
    assert error_message(again.exception) == "The account does not wait for approval"


@pytest.mark.parametrize("path", WAYS)
async def test_closed_rejects_facilitators_and_registers_users(
    apis: dict[str, httpx.AsyncClient], path: str, shared_database: asyncpg.Connection
) -> None:
    """The refusal has the shape of the path's contract, and there is no account."""
    api, body = apis["closed"], account()
    answer = await api.post(path, json=body)
    refused = answer.json()
    assert (answer.status_code, refused["code"]) == (403, "facilitator_registration_closed")
    error_message = "Facilitators cannot register here: please ask the operator"
    if path == "/api/register":
        assert (refused["error"], refused["message"]) == ("Forbidden", error_message)
    else:
        assert refused["error"] == error_message
    assert not await shared_database.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"])
    answer = await api.post(path, json=body | {"role": "user"})
    assert (answer.status_code, answer.json()["user"]["role"]) == (WAYS[path], "user")


@pytest.mark.parametrize("registration", ["approval", "closed"])
async def test_admin_role_cannot_be_registered(apis: dict[str, httpx.AsyncClient], registration: str) -> None:
    for path in WAYS:
        answer = await apis[registration].post(path, json=account("admin"))
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


async def test_operators_create_facilitators_with_any_setting(run: Run, shared_database: asyncpg.Connection) -> None:
    email = f"{uuid4()}@example.com"
    done = await run("users", "create", email, "--name", "Mira", "--role", "facilitator")
    assert done.exit_code == 0, done.output
    assert await shared_database.fetchval("SELECT role FROM users WHERE email = $1", email) == "facilitator"
    assert await has_profile(shared_database, email)


async def test_operator_declines_by_promoting_to_user(apis: dict[str, httpx.AsyncClient], run: Run) -> None:
    body = account()
    await apis["approval"].post("/auth/register", json=body)
    assert (await run("users", "promote", body["email"], "user")).exit_code == 0
    assert (await run("users", "approve", body["email"])).exit_code == 1
    unknown = await run("users", "approve", "nobody@example.com")
    assert unknown.exit_code == 1
    assert "there is no account with nobody@example.com" in unknown.stderr


async def test_demo_names_the_required_setting(apis: dict[str, httpx.AsyncClient]) -> None:
    """The demo registers a facilitator of its own."""
    for registration in ("approval", "closed"):
        environ = {"PUBLIC_URL": str(apis[registration].base_url), "CONVENE_DATA": "/nonexistent"}
        done = await asyncio.to_thread(CliRunner(env=environ).invoke, convene, ["demo"])
        assert done.exit_code == 1
        assert "the demo needs FACILITATOR_REGISTRATION=open" in done.stderr
