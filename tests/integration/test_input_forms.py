"""Values of bodies in one form each, and refusals in plain words."""

import json
from typing import Any

import httpx
import pytest

from tests.support.people import Person, event

JSON = {"Content-Type": "application/json"}


async def refusal(who: Person, method: str, path: str, body: dict[str, Any], field: str, text: str) -> dict[str, str]:
    """The details of the 400 for `body` in which `field` is written as `text`."""
    raw = json.dumps(body | {field: "@"}).replace('"@"', text).encode()
    answer = await who.api.request(method, path, content=raw, headers=who.headers | JSON)
    assert answer.status_code == 400, answer.text
    assert not any(sign in answer.text for sign in ("`", "<class", "got "))
    details: dict[str, str] = answer.json()["details"]
    return details


@pytest.mark.parametrize("text", ["1.0", "1e0", "10e-1", '"1.0"', '"1e0"', '"01"', '" 1"', "true", "[1]"])
async def test_integer_has_one_form(john: Person, text: str) -> None:
    booking = await refusal(john, "POST", "/bookings", {}, "event_id", text)
    assert booking == {"event_id": "Must be a whole number"}
    new = await refusal(john, "POST", "/events", event(), "max_participants", text)
    assert new == {"max_participants": "Must be a whole number"}
    change = await refusal(john, "PUT", "/events/1", {}, "max_participants", text)
    assert change.keys() == {"max_participants"}
    a_or_c = await refusal(john, "POST", "/api/bookings", {}, "event_id", text)
    assert a_or_c == {"event_id": "Must be a whole number or null"}
    session = await refusal(john, "POST", "/api/sessions", {"title": "x"}, "capacity", text)
    assert session.keys() <= {"capacity", "start_time"}


@pytest.mark.parametrize("text", ["1000000000", '"1000000000"', "1e9"])
async def test_time_has_one_form(john: Person, text: str) -> None:
    details = await refusal(john, "POST", "/events", event(), "start_datetime", text)
    assert details == {"start_datetime": "Must be an RFC 3339 date and time"}


async def test_coach_id_has_one_form(john: Person, ada: Person) -> None:
    """The one that a path takes."""
    body = {"session_datetime": "2026-01-01T10:00:00Z", "duration_minutes": 60}
    coach = "01a1f925-2bc7-7096-a9a6-2d6532b89802"
    for spelling in (coach.replace("-", ""), f"{{{coach}}}", f"urn:uuid:{coach}"):
        raw = json.dumps(body | {"coach_id": spelling}).encode()
        answer = await ada.api.post("/booking", content=raw, headers=ada.headers | JSON)
        assert answer.status_code == 400
        assert "coach_id" in answer.text


async def test_number_with_a_fraction_is_a_price(john: Person) -> None:
    for price in (25.0, 25.5, 25, "25.50"):
        answer = await john.post("/events", json=event(price=price))
        assert answer.status_code == 201, answer.text


async def test_form_with_two_files_or_none_is_rejected_in_plain_words(john: Person) -> None:
    path = "/booking/01a1f925-2bc7-7096-a9a6-2d6532b89802/attachments"
    two = [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]
    answer = await john.api.post(path, files=two, headers=john.headers)
    assert (answer.status_code, answer.json()["details"]) == (400, {"file": "Must be given once"})
    answer = await john.api.post(path, files=[("file", (None, b"text"))], headers=john.headers)
    assert (answer.status_code, answer.json()["details"]) == (400, {"file": "Must be a file, with its name"})


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("type=a%00b", "Must not contain NUL characters"),
        ("a%00=b", "Must not contain NUL characters"),
        ("type=%FF", "Is not valid UTF-8"),
    ],
)
async def test_query_that_is_not_text_is_rejected_with_a_reason(
    shared_api: httpx.AsyncClient, query: str, why: str
) -> None:
    answer = await shared_api.get(f"/events?{query}")
    assert (answer.status_code, answer.json()["details"]) == (400, {"query": why})
