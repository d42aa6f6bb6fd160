"""What a client can reasonably mean and the API cannot do is a 400 that says so."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from infrastructure import container
from interfaces.http.app import create_litestar
from interfaces.http.list_parameters import is_list, known_parameters
from servicekit.query_parameters import unknown_parameters
from tests.support.people import People, Person, event
from tests.support.settings import settings_for

PAGES = {"limit", "cursor"}
DOCUMENTED = {
    "/events": {"type", "facilitator_id", "active", "q", *PAGES},
    "/events/filter": {"type", "rating", "q", *PAGES},
    "/api/events": {"q", *PAGES},
    "/api/sessions": {"q", *PAGES},
    "/bookings": {"status", "payment_status", *PAGES},
    "/booking/{booking_id:str}/history": PAGES,
    "/booking/client/{client_id:str}": {"skip", "limit", "status"},
    "/booking/coach/{coach_id:str}": {"skip", "limit", "status"},
    "/booking/coach/{coach_id:str}/availability": {"start_date", "end_date", "duration_minutes"},
}
"""The parameters that the contracts name, the pages and the search."""


def lists() -> dict[str, HTTPRouteHandler]:
    app: Litestar = create_litestar(
        container.build(settings_for("postgresql://none@/none", "redis://127.0.0.1:1", Path("/nonexistent")))
    )
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    return {route.path: handler for route in routes for handler in route.route_handlers if is_list(handler)}


LISTS = lists()


@pytest.fixture(scope="module")
async def admin(shared_people: People, shared_database: asyncpg.Connection) -> Person:
    person = await shared_people.user()
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


def test_documented_parameters_are_known() -> None:
    for path, names in DOCUMENTED.items():
        assert names <= known_parameters(LISTS[path]).keys(), path


def test_lists_were_found() -> None:
    assert DOCUMENTED.keys() < LISTS.keys()
    assert len(LISTS) >= 19


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_rejects_unknown_parameters(path: str, john: Person, admin: Person) -> None:
    here = path.replace(":str", "").format_map(_AnyId())
    for who in (john, admin):
        answer = await who.get(here, params={"colour": "red"})
        if answer.status_code not in (401, 403):
            break
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["code"] == "validation_error"
    assert body["details"].keys() == {"colour"}
    assert "Is not a parameter of this list" in body["details"]["colour"]
    assert ("detail" in body) == path.startswith(("/booking/c", "/booking/{", "/calendar", "/coaches"))


async def test_nearest_parameter_is_suggested(john: Person) -> None:
    for given_name, meant in (
        ("Type", "type"),
        ("facilitatorId", "facilitator_id"),
        ("offset", None),
        ("limits", "limit"),
    ):
        answer = await john.get("/events", params={given_name: "1"})
        advice = answer.json()["details"][given_name]
        assert (f"did you mean {meant}?" if meant else "known are type, ") in advice


async def test_list_without_parameters_rejects_any(john: Person) -> None:
    answer = await john.get("/calendar/connections?limit=5")
    assert answer.status_code == 400
    assert "limit" in answer.json()["details"]


@pytest.mark.parametrize(
    "path",
    [
        "/auth/google/callback?state=x&code=y&scope=z&authuser=0&prompt=none",
        "/auth/google/login?utm_source=x",
        "/payment/stripe/back/paid?session_id=x",
        "/payment/return/x/success?razorpay_payment_id=x",
        "/sandbox/pay/x?utm_source=x",
        "/calendar/feed/none.ics?nocache=1",
        "/docs?x=1",
        "/docs/openapi.json?x=1",
        "/health?x=1",
        "/?x=1",
        "/events/1?x=1",
        "/profile?x=1",
    ],
)
async def test_other_endpoints_accept_parameters_of_other_programs(shared_api: httpx.AsyncClient, path: str) -> None:
    answer = await shared_api.get(path)
    assert "Is not a parameter" not in answer.text


@given(st.text(max_size=200), st.lists(st.sampled_from(["type", "limit", "cursor", "facilitator_id"]), unique=True))
def test_every_unlisted_name_is_unknown(name: str, known: list[str]) -> None:
    wrong = unknown_parameters([*known, name], known)
    assert bool(wrong) == (name not in known)
    assert all(len(key) <= 50 and name.startswith(key) and len(why) < 200 for key, why in wrong.items())


# Bodies


@pytest.mark.parametrize("quantity", [3, 0, -1, 2**62])
async def test_booking_of_more_or_less_than_one_seat_is_rejected(john: Person, ada: Person, quantity: int) -> None:
    created = await john.creates_event(max_participants=5)
    for path, field in (("/bookings", "event_id"), ("/api/bookings", "event_id"), ("/api/bookings", "session_id")):
        answer = await ada.post(path, json={field: created["id"], "quantity": quantity})
        assert answer.status_code == 400, answer.text
        assert answer.json()["details"].keys() == {"quantity"}
    assert (await john.get(f"/events/{created['id']}")).json()["current_participants"] == 0


@pytest.mark.parametrize("quantity", [1, None])
async def test_booking_of_one_seat_may_state_the_quantity(john: Person, ada: Person, quantity: int | None) -> None:
    created = await john.creates_event()
    assert (await ada.post("/bookings", json={"event_id": created["id"], "quantity": quantity})).status_code == 201


async def test_changing_the_email_in_the_profile_is_rejected_and_changes_nothing(ada: Person) -> None:
    for email in ("new@example.com", "", "nonsense", f"x{ada.email}"):
        answer = await ada.put("/profile", json={"name": "Changed", "email": email})
        assert answer.status_code == 400, answer.text
        assert answer.json()["details"].keys() == {"email"}
    assert (await ada.get("/profile")).json()["name"] == ada.name


async def test_own_email_in_the_profile_is_accepted(ada: Person) -> None:
    profile: dict[str, Any] = (await ada.get("/profile")).json()
    for email in (profile["email"], profile["email"].upper(), f" {profile['email']} ", None):
        answer = await ada.put("/profile", json={**profile, "email": email})
        assert answer.status_code == 200, answer.text


async def test_other_undocumented_fields_are_ignored(john: Person) -> None:
    answer = await john.post("/events", json=event(colour="red", quantity=3))
    assert answer.status_code == 201


class _AnyId(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "01a1f925-2bc7-7096-a9a6-2d6532b89802" if name in {"client_id", "coach_id", "message_id"} else "1"
