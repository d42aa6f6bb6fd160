"""Contract C on the booking API: accounts and the health check, walked in the document's order."""

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.contracts.sessions import USER, an_account, invalid, refused
from tests.support.people import PASSWORD, Person
from tests.support.shapes import Instant, misfits

# User Registration


async def test_register_returns_201_with_a_valid_token(shared_api: httpx.AsyncClient) -> None:
    account = an_account(bio=None)
    answer = await shared_api.post("/api/auth/register", json=account)
    assert answer.status_code == 201
    user = USER | {"email": account["email"], "name": "John Doe", "role": "user"}
    assert not misfits({"access_token": str, "user": user}, answer.json())
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/api/bookings/my", headers=headers)).json() == []


async def test_facilitator_registers_with_bio_and_specialization(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    about = {"bio": "Teaches since 2001.\nLikes hills.", "specialization": "Mindfulness & Wellness"}
    answer = await shared_api.post("/api/auth/register", json=an_account(role="facilitator", **about))
    assert answer.status_code == 201
    assert answer.json()["user"]["role"] == "facilitator"
    kept = await shared_database.fetchrow(
        "SELECT bio, specialization FROM facilitator_profiles WHERE user_id = $1", answer.json()["user"]["id"]
    )
    assert kept is not None
    assert dict(kept) == about
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/api/facilitator/sessions", headers=headers)).json() == []


async def test_register_rejects_a_registered_email(shared_api: httpx.AsyncClient) -> None:
    account = an_account()
    await shared_api.post("/api/auth/register", json=account)
    answer = await shared_api.post("/api/auth/register", json=account)
    assert answer.status_code == 400
    assert not misfits(refused("Email already registered", "email_taken"), answer.json())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("password", "short"),
        ("name", " "),
        ("role", "admin"),
        ("bio", "x" * 4001),
        ("specialization", "two\nlines"),
    ],
)
async def test_register_names_the_invalid_field(shared_api: httpx.AsyncClient, field: str, value: str) -> None:
    answer = await shared_api.post("/api/auth/register", json=an_account(**{field: value}))
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


@pytest.mark.parametrize("field", ["email", "password", "name"])
async def test_register_names_the_missing_field(shared_api: httpx.AsyncClient, field: str) -> None:
    account = an_account()
    del account[field]
    answer = await shared_api.post("/api/auth/register", json=account)
    assert answer.status_code == 400
    missing = refused("Missing required fields", "validation_error", details={field: "Missing required field"})
    assert not misfits(missing, answer.json())


# User Login


async def test_login_returns_200_with_a_valid_token(shared_api: httpx.AsyncClient, john: Person) -> None:
    answer = await shared_api.post("/api/auth/login", json={"email": john.email, "password": PASSWORD})
    assert answer.status_code == 200
    user = USER | {"id": john.id, "email": john.email, "name": john.name, "role": "facilitator"}
    assert not misfits({"access_token": str, "user": user}, answer.json())
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/api/facilitator/dashboard", headers=headers)).status_code == 200


@pytest.mark.parametrize("email", [None, "nobody@example.com", "not an address"])
async def test_wrong_credentials_return_401(shared_api: httpx.AsyncClient, ada: Person, email: str | None) -> None:
    answer = await shared_api.post("/api/auth/login", json={"email": email or ada.email, "password": "wrong-password"})
    assert answer.status_code == 401
    assert not misfits(refused("Invalid credentials", "invalid_credentials"), answer.json())


# Health Check


async def test_health_needs_no_token(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.get("/health")
    assert answer.status_code == 200
    shape = {"status": "healthy", "service": "backend", "timestamp": Instant, "database": "connected"}
    assert not misfits(shape, answer.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
