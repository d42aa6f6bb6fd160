"""Contract B, endpoints 1, 2, 5, 20, 21 and 28: accounts and the health check, in the document's order."""

from uuid import uuid4

import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.people import PASSWORD, People, Person
from tests.support.shapes import Instant, Nullable, Uuid, misfits

USER = {"id": int, "uuid": Uuid, "email": str, "name": str, "role": str}
UNAUTHENTICATED = {"error": "Invalid or expired token", "code": "invalid_token", "request_id": str}


def invalid(*fields: str) -> dict[str, object]:
    return {
        "error": "Validation error",
        "code": "validation_error",
        "request_id": str,
        "details": dict.fromkeys(fields, str),
    }


def a_registration(**changes: object) -> dict[str, object]:
    return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, "name": "John Doe"} | changes


# 1. User Registration


async def test_1_register_returns_201_with_the_user(shared_api: httpx.AsyncClient) -> None:
    body = a_registration()
    answer = await shared_api.post("/auth/register", json=body)
    assert answer.status_code == 201
    user = USER | {"email": body["email"], "name": "John Doe", "role": "user"}
    assert not misfits({"message": "User registered successfully", "user": user}, answer.json())
    assert "password" not in answer.text


async def test_1_facilitator_registers_with_a_role(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.post("/auth/register", json=a_registration(role="facilitator"))
    assert answer.status_code == 201
    assert answer.json()["user"]["role"] == "facilitator"


@pytest.mark.parametrize("role", ["admin", "root", "", "Facilitator", 1, None])
async def test_1_other_roles_are_not_self_assignable(shared_api: httpx.AsyncClient, role: object) -> None:
    answer = await shared_api.post("/auth/register", json=a_registration(role=role))
    assert answer.status_code == 400
    assert not misfits(invalid("role"), answer.json())


async def test_1_registered_email_is_rejected_in_any_case(shared_api: httpx.AsyncClient) -> None:
    body = a_registration()
    assert (await shared_api.post("/auth/register", json=body)).status_code == 201
    for email in (body["email"], str(body["email"]).upper(), f"  {body['email']} "):
        answer = await shared_api.post("/auth/register", json=body | {"email": email})
        assert answer.status_code == 400
        assert not misfits({"error": "Email already exists", "code": "email_taken", "request_id": str}, answer.json())


@pytest.mark.parametrize("field", ["email", "password", "name"])
async def test_1_missing_field_is_named(shared_api: httpx.AsyncClient, field: str) -> None:
    body = a_registration()
    del body[field]
    answer = await shared_api.post("/auth/register", json=body)
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())
    assert answer.json()["details"] == {field: "Missing required field"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "user"),
        ("email", "user@"),
        ("email", "a b@example.com"),
        ("email", ""),
        ("email", 5),
        ("email", "a" * 300 + "@example.com"),
        ("email", "a@example.com\r\nBcc: all@example.com"),
        ("name", ""),
        ("name", "   "),
        ("name", "n" * 121),
        ("name", "Ada\r\nBcc: all@example.com"),
        ("name", "Ada\x1b[31m"),
        ("name", None),
        ("password", "seven77"),
        ("password", None),
    ],
)
async def test_1_invalid_field_is_named(shared_api: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await shared_api.post("/auth/register", json=a_registration(**{field: value}))
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


async def test_1_read_only_fields_are_ignored(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    body = a_registration(
        id=10**9, uuid=str(uuid4()), is_verified=True, token_version=9, created_at="2001-01-01T00:00:00Z"
    )
    registered = await shared_api.post("/auth/register", json=body)
    assert registered.status_code == 201
    assert registered.json()["user"]["id"] != 10**9
    assert registered.json()["user"]["uuid"] != body["uuid"]
    token = (await shared_api.post("/auth/login", json=body)).json()["access_token"]
    profile = (await shared_api.get("/profile", headers={"Authorization": f"Bearer {token}"})).json()
    assert profile["is_verified"] is False
    assert not profile["created_at"].startswith("2001")


# 2. User Login


async def test_2_login_returns_200_with_tokens_and_user(shared_api: httpx.AsyncClient, ada: Person) -> None:
    answer = await shared_api.post("/auth/login", json={"email": ada.email.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    user = USER | {"id": ada.id, "email": ada.email, "name": ada.name, "role": "user"}
    assert not misfits({"access_token": str, "refresh_token": str, "user": user}, answer.json())


async def test_2_wrong_credentials_return_the_same_401(shared_api: httpx.AsyncClient, ada: Person) -> None:
    wrong = [
        {"email": ada.email, "password": "password124"},
        {"email": ada.email, "password": ""},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"email": "no address", "password": PASSWORD},
    ]
    answers = [await shared_api.post("/auth/login", json=credentials) for credentials in wrong]
    assert [answer.status_code for answer in answers] == [401] * len(wrong)
    expected = {"error": "Invalid credentials", "code": "invalid_credentials"}
    assert all({**answer.json(), "request_id": None} == {**expected, "request_id": None} for answer in answers)
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


@pytest.mark.parametrize("field", ["email", "password"])
async def test_2_missing_field_is_named(shared_api: httpx.AsyncClient, field: str) -> None:
    body = {"email": "user@example.com", "password": PASSWORD}
    del body[field]
    answer = await shared_api.post("/auth/login", json=body)
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


# 5. Refresh Token


async def refresh(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/auth/refresh", headers={"Authorization": f"Bearer {token}"})


async def test_5_refresh_token_returns_an_access_token(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    person = await shared_people.user()
    answer = await refresh(shared_api, person.refresh_token)
    assert answer.status_code == 200
    user = USER | {"id": person.id, "email": person.email, "name": person.name, "role": "user"}
    assert not misfits({"access_token": str, "refresh_token": str, "user": user}, answer.json())
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/profile", headers=headers)).json()["id"] == person.id


async def test_5_second_use_of_a_refresh_token_revokes_its_family(
    shared_api: httpx.AsyncClient, shared_people: People
) -> None:
    person = await shared_people.user()
    elsewhere = (await shared_api.post("/auth/login", json={"email": person.email, "password": PASSWORD})).json()
    successor = (await refresh(shared_api, person.refresh_token)).json()
    assert (await refresh(shared_api, successor["refresh_token"])).status_code == 200
    again = await refresh(shared_api, person.refresh_token)
    assert again.status_code == 401
    assert not misfits(UNAUTHENTICATED, again.json())
    assert (await refresh(shared_api, successor["refresh_token"])).status_code == 401
    assert (await person.get("/profile")).status_code == 401
    assert (await refresh(shared_api, elsewhere["refresh_token"])).status_code == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic dXNlcg==", "Bearer a.b.c", "Bearer \u00e9"])
async def test_5_missing_or_invalid_refresh_token_returns_401(
    shared_api: httpx.AsyncClient, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = await shared_api.post("/auth/refresh", headers=headers)
    assert answer.status_code == 401
    assert not misfits(UNAUTHENTICATED, answer.json())


# 20. Get User Profile


async def test_20_profile_is_that_of_the_caller(ada: Person) -> None:
    answer = await ada.get("/profile")
    assert answer.status_code == 200
    shape = {
        "id": ada.id,
        "uuid": Uuid,
        "email": ada.email,
        "name": ada.name,
        "phone": Nullable(str),
        "role": "user",
        "is_active": True,
        "is_verified": bool,
        "created_at": Instant,
    }
    assert not misfits(shape, answer.json())


# 21. Update User Profile


async def test_21_name_and_phone_are_updated(shared_people: People) -> None:
    person = await shared_people.user()
    answer = await person.put("/profile", {"name": "John Updated", "phone": "+1234567890"})
    assert answer.status_code == 200
    user = USER | {"id": person.id, "email": person.email, "name": "John Updated", "phone": "+1234567890"}
    assert not misfits({"message": "Profile updated successfully", "user": user}, answer.json())
    profile = (await person.get("/profile")).json()
    assert (profile["name"], profile["phone"]) == ("John Updated", "+1234567890")

    await person.put("/profile", {"name": "Only The Name"})
    assert (await person.get("/profile")).json()["phone"] == "+1234567890"
    await person.put("/profile", {"phone": ""})
    profile = (await person.get("/profile")).json()
    assert (profile["name"], profile["phone"]) == ("Only The Name", None)


async def test_21_other_fields_cannot_be_changed(shared_people: People) -> None:
    person = await shared_people.user()
    before = (await person.get("/profile")).json()
    forged = {"role": "admin", "id": 1, "is_verified": True, "is_active": False}
    assert (await person.put("/profile", forged)).status_code == 200
    assert (await person.get("/profile")).json() == before


@pytest.mark.parametrize(("field", "value"), [("name", ""), ("name", "a\nb"), ("phone", "1" * 41), ("phone", 5)])
async def test_21_invalid_field_is_named(ada: Person, field: str, value: object) -> None:
    answer = await ada.put("/profile", {field: value})
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_20_21_profile_needs_a_token(shared_api: httpx.AsyncClient, method: str) -> None:
    answer = await shared_api.request(method, "/profile", json={} if method == "PUT" else None)
    assert answer.status_code == 401
    assert not misfits(UNAUTHENTICATED, answer.json())
    assert answer.headers["www-authenticate"] == "Bearer"


# 28. Booking API Health Check


async def test_28_root_reports_a_running_service(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.get("/")
    assert answer.status_code == 200
    shape = {"message": "Booking System API is running!", "status": "healthy", "timestamp": Instant}
    assert not misfits(shape, answer.json())


async def test_health_check_reports_a_connected_database(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.get("/health")
    assert answer.status_code == 200
    shape = {"status": "healthy", "service": "backend", "timestamp": Instant, "database": "connected"}
    assert not misfits(shape, answer.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
