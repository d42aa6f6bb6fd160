"""Authorisation of appointments over HTTP."""

from typing import Any

import pytest

from tests.support.appointments import at, books, free_hour, uuid_of
from tests.support.people import People, Person

FREE = "There is nothing to pay for this booking"

# `{id}` is a booking of the client with the coach.
CALLS = [
    ("GET", "/booking/{id}", None),
    ("GET", "/booking/{id}/history", None),
    ("GET", "/booking/client/{client}", None),
    ("GET", "/booking/coach/{coach}", None),
    ("PATCH", "/booking/{id}/status", {"status": "confirmed"}),
    ("PATCH", "/booking/{id}/status", {"status": "cancelled"}),
    ("PATCH", "/booking/{id}", {"notes": "About the move"}),
    ("DELETE", "/booking/{id}", None),
    ("POST", "/booking/{id}/reschedule", {"session_datetime": at(12).isoformat()}),
    ("POST", "/booking/{id}/pay", None),
    ("POST", "/booking/{id}/payment", None),
    ("GET", "/booking/{id}/attachments", None),
    ("GET", "/booking/coach/{coach}/analytics", None),
]


@pytest.fixture(scope="module")
async def others(shared_people: People) -> dict[str, Person]:
    return {"other_client": await shared_people.user(), "other_coach": await shared_people.facilitator()}


@pytest.fixture(scope="module")
async def booking(ada: Person, john: Person) -> dict[str, Any]:
    made = await books(ada, await uuid_of(john), free_hour())
    del made["payment_url"]
    return made


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=lambda part: part if isinstance(part, str) else "")
async def test_every_endpoint_rejects_others_and_requests_without_a_token(
    ada: Person, others: dict[str, Person], booking: dict[str, Any], method: str, path: str, body: dict[str, str] | None
) -> None:
    """Who may do what is tested in `tests/application/`."""
    address = path.format(id=booking["id"], client=booking["client_id"], coach=booking["coach_id"])
    for person in others.values():
        answer = await ada.api.request(method, address, headers=person.headers, json=body)
        assert answer.status_code == 403, answer.text
    assert (await ada.api.request(method, address, json=body)).status_code == 401
    assert (await ada.get(f"/booking/{booking['id']}")).json() == booking


async def test_each_refusal_has_its_message(
    ada: Person, john: Person, others: dict[str, Person], booking: dict[str, Any]
) -> None:
    client, coach, path = ada, john, f"/booking/{booking['id']}"
    details = {
        (await others["other_client"].get(path)).json()["detail"],
        (await others["other_client"].get(f"{path}/history")).json()["detail"],
        (await others["other_coach"].post(f"{path}/pay")).json()["detail"],
    }
    assert details == {"Unauthorized to view this booking"}
    assert (await client.post(f"{path}/pay")).json()["detail"] == FREE
    assert (await coach.post(f"{path}/pay")).json()["detail"] == "Only the client can pay for this booking"
    answer = await client.post(f"{path}/payment")
    assert answer.json()["detail"] == "Only the coach or an admin can record a payment"
