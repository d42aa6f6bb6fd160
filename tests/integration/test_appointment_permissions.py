"""Authorisation of appointments: each endpoint, called by every role."""

import asyncpg
import pytest

from tests.support.appointments import books, free_hour, promoted, uuid_of, wanted
from tests.support.people import People, Person

WHO = ("client", "coach", "admin", "other_client", "other_coach", "anonymous")
FREE = "There is nothing to pay for this booking"

# `{id}` is a fresh booking of the client's with the coach; the numbers are in the order of WHO.
CALLS = [
    ("GET", "/booking/{id}", None, (200, 200, 200, 403, 403, 401)),
    ("GET", "/booking/{id}/history", None, (200, 200, 200, 403, 403, 401)),
    ("GET", "/booking/client/{client}", None, (200, 403, 200, 403, 403, 401)),
    ("GET", "/booking/coach/{coach}", None, (403, 200, 200, 403, 403, 401)),
    ("PATCH", "/booking/{id}/status", {"status": "confirmed"}, (403, 200, 200, 403, 403, 401)),
    ("PATCH", "/booking/{id}/status", {"status": "cancelled"}, (200, 200, 200, 403, 403, 401)),
    ("PATCH", "/booking/{id}", {"notes": "About the move"}, (200, 200, 200, 403, 403, 401)),
    ("DELETE", "/booking/{id}", None, (204, 204, 204, 403, 403, 401)),
    ("POST", "/booking/{id}/reschedule", {"session_datetime": "{free}"}, (200, 200, 200, 403, 403, 401)),
    ("POST", "/booking/{id}/pay", None, (400, 403, 400, 403, 403, 401)),
    ("POST", "/booking/{id}/payment", None, (403, 200, 200, 403, 403, 401)),
    ("POST", "/booking", {}, (201, 403, 403, 201, 403, 401)),
]


@pytest.fixture(scope="module")
async def by_role(
    ada: Person, john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> dict[str, Person]:
    return {
        "client": ada,
        "coach": john,
        "admin": await promoted(await shared_people.user(), shared_database),
        "other_client": await shared_people.user(),
        "other_coach": await shared_people.facilitator(),
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"), CALLS, ids=lambda part: part if isinstance(part, str) else ""
)
async def test_every_endpoint_for_every_role(
    by_role: dict[str, Person], method: str, path: str, body: dict[str, str] | None, expected: tuple[int, ...]
) -> None:
    client, coach = by_role["client"], await uuid_of(by_role["coach"])
    for who, status in zip(WHO, expected, strict=True):
        made = await books(client, coach, free_hour())
        del made["payment_url"]
        address = path.format(id=made["id"], client=await uuid_of(client), coach=coach)
        asked = wanted(coach, free_hour()) if path == "/booking" else body
        if asked and "{free}" in asked.values():
            asked = {"session_datetime": free_hour().isoformat()}
        headers = by_role[who].headers if who in by_role else {}
        answer = await client.api.request(method, address, headers=headers, json=asked)
        assert answer.status_code == status, f"{who}: {answer.text}"
        if status in {401, 403} or method == "GET":
            assert (await client.get(f"/booking/{made['id']}")).json() == made


async def test_each_refusal_has_its_message(by_role: dict[str, Person]) -> None:
    client, coach = by_role["client"], by_role["coach"]
    booking = (await books(client, await uuid_of(coach), free_hour()))["id"]
    details = {
        (await by_role["other_client"].get(f"/booking/{booking}")).json()["detail"],
        (await by_role["other_client"].get(f"/booking/{booking}/history")).json()["detail"],
        (await by_role["other_coach"].post(f"/booking/{booking}/pay")).json()["detail"],
    }
    assert details == {"Unauthorized to view this booking"}
    assert (await client.post(f"/booking/{booking}/pay")).json()["detail"] == FREE
    assert (await coach.post(f"/booking/{booking}/pay")).json()["detail"] == "Only the client can pay for this booking"
    answer = await client.post(f"/booking/{booking}/payment")
    assert answer.json()["detail"] == "Only the coach or an admin can record a payment"


async def test_admin_can_be_booked_as_a_coach(by_role: dict[str, Person]) -> None:
    client, admin = by_role["client"], by_role["admin"]
    booking = (await books(client, await uuid_of(admin), free_hour()))["id"]
    answer = await admin.patch(f"/booking/{booking}/status", {"status": "confirmed"})
    assert (answer.status_code, answer.json()["coach_name"]) == (200, admin.name)
    assert (await by_role["coach"].get(f"/booking/{booking}")).status_code == 403
