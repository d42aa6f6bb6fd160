"""Second factors over HTTP, and what concurrent logins do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pyotp
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from application.accounts.login import LoggedIn
from application.accounts.ports.second_factors import TotpFactor
from domain.accounts import UserId
from domain.second_factors import TICKET_ATTEMPTS, FactorId, SecondFactorNotValid, TicketNotValid
from infrastructure import container
from infrastructure.auth.token_encryption import SecretBox
from infrastructure.postgres.accounts.login_tickets import PostgresLoginTickets
from infrastructure.postgres.accounts.repository import PostgresUsers
from infrastructure.postgres.accounts.second_factors import SECRETS, USE_TOTP, PostgresSecondFactors
from infrastructure.postgres.engine import Database
from infrastructure.postgres.reencryption import reencrypt
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.settings import Settings
from interfaces.cli import convene
from interfaces.http.app import create_app
from servicekit.logging import current_request_id
from tests.integration.account_mails import Account, Mails, registered
from tests.support.authenticator import SoftwareAuthenticator
from tests.support.google import Browser, FakeGoogle, fake_google
from tests.support.http import serving
from tests.support.machine_clock import SystemClock
from tests.support.people import PASSWORD
from tests.support.settings import JWT_SECRET_KEY, TOKEN_KEY, settings_for
from tests.support.without_locks import PAUSE, units_with, unlocked

AT_ONCE = 8
PROOF = {"password": PASSWORD}


class App:
    """An authenticator app. Its codes are those of the machine's clock."""

    def __init__(self, secret: str) -> None:
        self.totp = pyotp.TOTP(secret)

    def code(self) -> str:
        return self.totp.now()


async def enrol(api: httpx.AsyncClient, headers: dict[str, str], proof: dict[str, str]) -> tuple[App, list[str]]:
    """The app, whose present code can be used again, and the recovery codes."""
    started = await api.post("/auth/factors/totp", json={"name": "Phone"} | proof, headers=headers)
    assert started.status_code == 201, started.text
    app, path = App(started.json()["secret"]), f"/auth/factors/totp/{started.json()['id']}/confirm"
    confirmed = await api.post(path, json={"code": app.code()}, headers=headers)
    assert confirmed.status_code == 200, confirmed.text
    return app, confirmed.json()["recovery_codes"]


async def forget_steps(database: asyncpg.Connection) -> None:
    """Codes can be used again: a test does not wait for the next ones."""
    await database.execute("UPDATE second_factors SET last_step = NULL")


async def second_step(api: httpx.AsyncClient, required: httpx.Response, code: str) -> httpx.Response:
    return await api.post("/auth/second-factor", json={"ticket": required.json()["ticket"], "code": code})


@pytest.fixture(scope="module")
async def google() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as google:
        yield google


@pytest.fixture(scope="module")
async def address(
    google: FakeGoogle, shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    data = tmp_path_factory.mktemp("data")
    async with serving(create_app(settings_for(shared_database_url, redis_url, data, **google.settings))) as address:
        yield address


@pytest.fixture
async def api(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address) as api:
        yield api


def shape(body: Any) -> Any:
    """Names and types."""
    if isinstance(body, dict):
        return {name: shape(value) for name, value in body.items()}
    return type(body).__name__


async def test_every_login_needs_the_second_factor_and_keeps_its_formats(
    api: httpx.AsyncClient, address: str, google: FakeGoogle, shared_database: asyncpg.Connection
) -> None:
    account = await registered(api)
    claims = {"sub": account.email, "email": account.email}

    async def by_password(path: str) -> httpx.Response:
        return await api.post(path, json={"email": account.email, "password": PASSWORD})

    async def in_browser() -> httpx.Response:
        async with Browser(address) as browser:
            return await browser.signs_in(google, **claims)

    async def by_id_token() -> httpx.Response:
        names = {"google_id": account.email, "email": account.email, "name": "Ada"}
        return await api.post("/api/auth/google", json=names | {"id_token": google.id_token(**claims)})

    # Google first: it proves the address, which ends the password of an address that was not proven.
    logins: dict[str, Callable[[], Any]] = {
        "browser": in_browser,
        "id token": by_id_token,
        **{path: partial(by_password, path) for path in ("/auth/login", "/api/login", "/api/auth/login")},
    }
    await shared_database.execute("UPDATE users SET is_verified = true WHERE email = $1", account.email)
    before = {name: await login() for name, login in logins.items()}
    assert {answer.status_code for answer in before.values()} == {200}
    headers = {"Authorization": f"Bearer {before['browser'].json()['access_token']}"}
    app, _ = await enrol(api, headers, PROOF)

    for name, login in logins.items():
        required = await login()
        body = required.json()
        assert (required.status_code, body["code"]) == (401, "second_factor_required"), name
        assert (body["methods"], body["expires_in"]) == (["totp", "recovery_code"], 300)
        assert "access_token" not in body
        title = "Unauthorized" if name == "/api/login" else "A second factor is required"
        assert (body["error"], body.get("message")) == (
            title,
            "A second factor is required" if name == "/api/login" else None,
        )
        await forget_steps(shared_database)
        done = await second_step(api, required, app.code())
        assert (done.status_code, shape(done.json())) == (200, shape(before[name].json())), name
        profile = await api.get("/profile", headers={"Authorization": f"Bearer {done.json()['access_token']}"})
        assert profile.json()["email"] == account.email


async def test_program_manages_the_factors_of_an_account(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, make_shared_settings: Callable[..., Settings]
) -> None:
    account = await registered(shared_api)
    headers = await account.headers()
    app, codes = await enrol(shared_api, headers, PROOF)
    listed = (await shared_api.get("/auth/factors", headers=headers)).json()
    [factor] = listed["factors"]
    assert (factor["type"], factor["name"], factor["last_used_at"], listed["recovery_codes_left"]) == (
        "totp",
        "Phone",
        None,
        10,
    )
    path = f"/auth/factors/{factor['id']}"
    for proof, status, code in (
        ({}, 401, "invalid_credentials"),
        ({"password": "wrong password"}, 401, "invalid_credentials"),
        ({"code": "000000"}, 401, "second_factor_not_valid"),
    ):
        refused = await shared_api.post(f"{path}/remove", json=proof, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    renamed = await shared_api.patch(path, json={"name": "Tablet"} | PROOF, headers=headers)
    assert renamed.json()["factor"]["name"] == "Tablet"
    replaced = await shared_api.post("/auth/recovery-codes", json={"code": codes[0]}, headers=headers)
    assert len(replaced.json()["recovery_codes"]) == 10
    assert (await second_step(shared_api, await account.logs_in(), codes[1])).status_code == 401
    again = replaced.json()["recovery_codes"][0]
    assert (await second_step(shared_api, await account.logs_in(), again)).status_code == 200
    removed = await shared_api.post(f"{path}/remove", json=PROOF, headers=headers)
    assert removed.status_code == 200, removed.text
    assert (await account.logs_in()).status_code == 200

    subjects = [mail["Subject"] for mail in await Mails(make_shared_settings()).to(account.email)]
    assert subjects.count("Your second factors were changed") == 3
    stored = [repr(row) for table in ("audit_log", "outbox") for row in await shared_database.fetch(f"TABLE {table}")]
    assert not [row for row in stored if any(secret in row for secret in (app.totp.secret, *codes, again))]


async def test_browser_adds_a_passkey_and_logs_in_with_it(
    shared_api: httpx.AsyncClient, make_shared_settings: Callable[..., Settings]
) -> None:
    account, laptop = await registered(shared_api), SoftwareAuthenticator(make_shared_settings().public_url)
    headers = await account.headers()
    path = "/auth/factors/passkeys"
    started = await shared_api.post(f"{path}/creation-options", json=PROOF, headers=headers)
    created = {"credential": laptop.create(started.json()["options"]), "name": "Laptop"}
    added = await shared_api.post(path, json=created, headers=headers)
    assert (added.status_code, added.json()["factor"]["type"], len(added.json()["recovery_codes"])) == (
        201,
        "passkey",
        10,
    )
    again = await shared_api.post(path, json=created, headers=headers)
    assert (again.status_code, again.json()["code"]) == (400, "passkey_not_valid")

    required = (await account.logs_in()).json()
    assert required["methods"] == ["passkey", "recovery_code"]
    ticket = {"ticket": required["ticket"]}
    options = await shared_api.post("/auth/second-factor/passkey-options", json=ticket)
    answer = ticket | {"passkey": laptop.get(options.json()["options"])}
    for wrong, status, code in (
        (ticket, 400, "validation_error"),
        (ticket | {"passkey": {"response": {"clientDataJSON": "AAAA"}}}, 401, "second_factor_not_valid"),
    ):
        refused = await shared_api.post("/auth/second-factor", json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    done = await shared_api.post("/auth/second-factor", json=answer)
    assert done.status_code == 200, done.text
    headers = {"Authorization": f"Bearer {done.json()['access_token']}"}
    options = await shared_api.post(f"{path}/request-options", headers=headers)
    proof = {"passkey": laptop.get(options.json()["options"])}
    factor_id = added.json()["factor"]["id"]
    assert (await shared_api.post(f"/auth/factors/{factor_id}/remove", json=proof, headers=headers)).status_code == 200


async def test_secret_is_encrypted_and_follows_the_rotation_of_keys(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, shared_database_url: str
) -> None:
    account = await registered(shared_api)
    app, _ = await enrol(shared_api, await account.headers(), PROOF)
    select = "SELECT f.id, f.secret FROM second_factors f JOIN users u ON u.id = f.user_id WHERE u.email = $1"
    before = await shared_database.fetchrow(select, account.email)
    assert before is not None
    assert app.totp.secret.encode() not in before["secret"]
    database, new = Database(shared_database_url), "n" * 32
    try:
        await reencrypt(database, SecretBox([new, TOKEN_KEY]), SECRETS)
        after = await shared_database.fetchrow(select, account.email)
        assert after is not None
        assert after["secret"] != before["secret"]
        assert SecretBox([new]).open(after["secret"], SECRETS.place(after["id"])).decode() == app.totp.secret
        assert (await second_step(shared_api, await account.logs_in(), app.code())).status_code == 401
        await reencrypt(database, SecretBox([TOKEN_KEY, new]), SECRETS)
    finally:
        await database.close()
    await forget_steps(shared_database)
    assert (await second_step(shared_api, await account.logs_in(), app.code())).status_code == 200


async def test_without_a_key_there_are_no_apps(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(token_encryption_keys="")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        account = await registered(api)
        refused = await api.post("/auth/factors/totp", json=PROOF, headers=await account.headers())
        assert (refused.status_code, refused.json()["code"]) == (503, "totp_not_configured")


async def test_role_that_needs_a_factor_can_only_add_one(
    make_settings: Callable[..., Settings], database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = make_settings(mfa_required_roles="user")
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as api:
        account = await registered(api)
        headers = await account.headers()
        for path in ("/profile", "/api/my-bookings", "/bookings"):
            refused = await api.get(path, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required_for_role")
        assert (await api.get("/events", headers=headers)).status_code == 200
        await enrol(api, headers, PROOF)
        assert (await api.get("/profile", headers=headers)).status_code == 200
        environ = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "JWT_SECRET_KEY": JWT_SECRET_KEY,
            "CRM_BEARER_TOKEN": "c" * 32,
            "BACKEND_SERVICE_TOKEN": "b" * 32,
            "CONVENE_DATA": str(tmp_path),
        }
        arguments = ("users", "reset-factor", account.email)
        done = await asyncio.to_thread(CliRunner(env=environ).invoke, convene, arguments)
        assert (done.exit_code, done.stdout) == (0, f"{account.email} has no second factor\n")
        assert (await api.get("/profile", headers=headers)).status_code == 401
        assert (await account.logs_in()).status_code == 200
        assert (await api.get("/auth/factors", headers=await account.headers())).json()["factors"] == []


# Races


class NaiveFactors(PostgresSecondFactors):
    """The negative control: the statement that uses a step has no condition."""

    async def find_totp(self, user_id: UserId) -> Sequence[TotpFactor]:
        found = await super().find_totp(user_id)
        await asyncio.sleep(PAUSE)
        return found

    async def use_totp(self, factor_id: FactorId, step: int, now: datetime) -> bool:
        statement, guard = USE_TOTP.split("AND (last_step")
        assert "last_step < :step" in guard
        await self._session.execute(text(statement), {"id": factor_id, "step": step, "now": now})
        return True


class NaiveTickets(PostgresLoginTickets):
    """The negative control: attempts are read and then counted."""

    async def take_attempt(self, fingerprint: bytes, now: datetime, *, at_most: int) -> bool:
        values = {"fingerprint": fingerprint}
        found = await self._session.execute(
            text("SELECT attempts FROM login_tickets WHERE fingerprint = :fingerprint"), values
        )
        attempts = found.scalar_one()
        await asyncio.sleep(PAUSE)
        await self._session.execute(
            text("UPDATE login_tickets SET attempts = attempts + 1 WHERE fingerprint = :fingerprint"), values
        )
        return bool(attempts < at_most)


async def complete_at_once(
    settings: Settings, units: type[UnitsOfWork], tickets: Sequence[str], code: str
) -> Counter[type]:
    parts, database = container.build(settings), Database(settings.database_url, pool_size=AT_ONCE)
    open_work = units(database, {}, SystemClock(), current_request_id, box=SecretBox([TOKEN_KEY]))
    complete = replace(parts.second_factors.complete_login, open_work=open_work)
    try:
        answers = await asyncio.gather(
            *(complete(ticket, code, address="192.0.2.1") for ticket in tickets), return_exceptions=True
        )
    finally:
        await database.close()
        await parts.close()
    return Counter(type(answer[0]) if isinstance(answer, tuple) else type(answer) for answer in answers)


@pytest.fixture
async def enrolled(shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection) -> tuple[Account, App]:
    account = await registered(shared_api)
    app, _ = await enrol(shared_api, await account.headers(), PROOF)
    await forget_steps(shared_database)
    return account, app


async def tickets_of(account: Account, number: int) -> list[str]:
    return [(await account.logs_in()).json()["ticket"] for _ in range(number)]


GUARDS: dict[str, type[UnitsOfWork]] = {
    "both": UnitsOfWork,
    "the statement": units_with(users=unlocked(PostgresUsers)),
    "none": units_with(users=unlocked(PostgresUsers), second_factors=NaiveFactors),
}


@pytest.mark.parametrize("guarded_by", GUARDS)
async def test_concurrent_logins_with_one_code(
    make_shared_settings: Callable[..., Settings], enrolled: tuple[Account, App], guarded_by: str
) -> None:
    account, app = enrolled
    tickets = await tickets_of(account, AT_ONCE)
    outcomes = await complete_at_once(make_shared_settings(), GUARDS[guarded_by], tickets, app.code())
    if guarded_by == "none":
        assert outcomes[LoggedIn] > 1
    else:
        assert outcomes == {LoggedIn: 1, SecondFactorNotValid: AT_ONCE - 1}


@pytest.mark.parametrize("guarded", [True, False])
async def test_concurrent_attempts_with_one_ticket(
    make_shared_settings: Callable[..., Settings], enrolled: tuple[Account, App], *, guarded: bool
) -> None:
    account, _ = enrolled
    [ticket] = await tickets_of(account, 1)
    units = units_with(users=unlocked(PostgresUsers), **({} if guarded else {"login_tickets": NaiveTickets}))
    outcomes = await complete_at_once(make_shared_settings(), units, [ticket] * AT_ONCE, "wrong")
    if guarded:
        assert outcomes == {SecondFactorNotValid: TICKET_ATTEMPTS, TicketNotValid: AT_ONCE - TICKET_ATTEMPTS}
    else:
        assert outcomes[SecondFactorNotValid] > TICKET_ATTEMPTS
