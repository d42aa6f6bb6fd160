"""Reviews: who may write one, at most one per user, and the rating calculated from them."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.people import People, Person
from tests.support.shapes import Instant, Nullable, misfits

REVIEW = {
    "id": int,
    "rating": int,
    "comment": Nullable(str),
    "user": {"id": int, "name": str},
    "created_at": Instant,
}


def refused(sentence: str, code: str, **more: Any) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str} | more


NOT_OVER = refused("You can review an event once it is over", "event_not_over")
NOT_THERE = refused("Only people who attended can review an event", "did_not_attend")
ALREADY = refused("You have already reviewed this event", "already_reviewed")
UNAUTHENTICATED = refused("Invalid or expired token", "invalid_token")
NO_EVENT = refused("Event not found", "event_not_found")


async def end(database: asyncpg.Connection, event_id: int) -> None:
    """The event was yesterday."""
    await database.execute(
        "UPDATE events SET starts_at = now() - '25 hours'::interval, ends_at = now() - '1 day'::interval WHERE id = $1",
        event_id,
    )


async def attended(database: asyncpg.Connection, host: Person, *guests: Person) -> int:
    """A past event of the host, at which the guests were."""
    event = await host.creates_event()
    for guest in guests:
        await guest.books(event["id"])
    await end(database, event["id"])
    event_id: int = event["id"]
    return event_id


async def test_participant_reviews_and_reviews_are_public(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, shared_database: asyncpg.Connection
) -> None:
    ada, bob = await shared_people.user("Ada"), await shared_people.user("Bob")
    event_id = await attended(shared_database, john, ada, bob)
    answer = await ada.post(f"/events/{event_id}/reviews", {"rating": 5, "comment": "  Calm and clear.  "})
    assert answer.status_code == 201
    assert not misfits({"message": "Review created successfully", "review": REVIEW}, answer.json())
    first = answer.json()["review"]
    assert (first["rating"], first["comment"], first["user"]) == (5, "Calm and clear.", {"id": ada.id, "name": "Ada"})
    second = (await bob.post(f"/events/{event_id}/reviews", {"rating": 4})).json()["review"]
    assert second["comment"] is None

    answer = await shared_api.get(f"/events/{event_id}/reviews")
    assert (answer.status_code, answer.json()) == (200, {"reviews": [second, first], "next_cursor": None})
    page = (await shared_api.get(f"/events/{event_id}/reviews?limit=1")).json()
    assert page["reviews"] == [second]
    rest = await shared_api.get(f"/events/{event_id}/reviews", params={"cursor": page["next_cursor"]})
    assert rest.json() == {"reviews": [first], "next_cursor": None}


async def test_event_that_has_not_ended_cannot_be_reviewed(
    john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    ada, event = await shared_people.user(), await john.creates_event()
    await ada.books(event["id"])
    for starts, ends in [("'1 day'", "'2 days'"), ("'-1 hour'", "'1 hour'")]:
        await shared_database.execute(
            f"UPDATE events SET starts_at = now() + {starts}::interval, ends_at = now() + {ends}::interval "
            "WHERE id = $1",
            event["id"],
        )
        answer = await ada.post(f"/events/{event['id']}/reviews", {"rating": 5})
        assert (answer.status_code, misfits(NOT_OVER, answer.json())) == (400, [])


async def test_others_cannot_review(
    shared_api: httpx.AsyncClient, john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    stranger, gave_up, cancelled = [await shared_people.user() for _ in range(3)]
    event = await john.creates_event()
    booking = await gave_up.books(event["id"])
    await gave_up.post(f"/bookings/{booking['id']}/cancel")
    await john.books(event["id"])
    off = await john.creates_event()
    await cancelled.books(off["id"])
    await john.post(f"/facilitator/cancel/{off['id']}")
    for event_id in (event["id"], off["id"]):
        await end(shared_database, event_id)

    for person, event_id in [
        (stranger, event["id"]),
        (gave_up, event["id"]),
        (john, event["id"]),
        (cancelled, off["id"]),
    ]:
        answer = await person.post(f"/events/{event_id}/reviews", {"rating": 1})
        assert (answer.status_code, misfits(NOT_THERE, answer.json())) == (403, [])
    answer = await shared_api.post(f"/events/{event['id']}/reviews", json={"rating": 1})
    assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])
    assert (await shared_api.get(f"/events/{event['id']}/reviews")).json()["reviews"] == []


async def test_of_fifty_concurrent_reviews_by_one_user_one_is_stored(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    host, ada = await shared_people.facilitator(), await shared_people.user()
    event_id = await attended(shared_database, host, ada)
    upcoming = await host.creates_event()
    answers = await asyncio.gather(*(ada.post(f"/events/{event_id}/reviews", {"rating": 1 + n % 5}) for n in range(50)))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 49
    assert [misfits(ALREADY, answer.json()) for answer in answers if answer.status_code == 400] == [[]] * 49
    [kept] = [answer.json()["review"] for answer in answers if answer.status_code == 201]
    assert (await shared_api.get(f"/events/{event_id}/reviews")).json()["reviews"] == [kept]
    assert (await shared_api.get(f"/events/{upcoming['id']}")).json()["rating"] == kept["rating"]


async def test_concurrent_reviews_by_many_users_are_all_counted(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    host, guests = await shared_people.facilitator(), [await shared_people.user() for _ in range(8)]
    event_id = await attended(shared_database, host, *guests)
    upcoming = await host.creates_event()
    ratings = [5, 4, 5, 4, 5, 4, 5, 3]
    await asyncio.gather(
        *(
            guest.post(f"/events/{event_id}/reviews", {"rating": rating})
            for guest, rating in zip(guests, ratings, strict=True)
        )
    )
    assert (await shared_api.get(f"/events/{upcoming['id']}")).json()["rating"] == 4.38
    ratings_at_least = {}
    for minimum in ("4.375", "4.376"):
        listed = (await shared_api.get(f"/events/filter?rating={minimum}")).json()["events"]
        ratings_at_least[minimum] = [each["rating"] for each in listed if each["id"] == upcoming["id"]]
    assert ratings_at_least == {"4.375": [4.38], "4.376": []}


async def test_rating_is_the_mean_over_all_past_events_of_the_facilitator(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    john, jane, ada = (
        await shared_people.facilitator(),
        await shared_people.facilitator("Jane"),
        await shared_people.user(),
    )
    past = [await attended(shared_database, host, ada) for host in (john, john, jane)]
    upcoming = {host.name: (await host.creates_event())["id"] for host in (john, jane)}
    for event_id, rating in zip(past, (5, 2, 1), strict=True):
        await ada.post(f"/events/{event_id}/reviews", {"rating": rating})
    shown = {
        name: (await shared_api.get(f"/events/{event_id}")).json()["rating"] for name, event_id in upcoming.items()
    }
    assert shown == {john.name: 3.5, "Jane": 1.0}


async def test_events_of_an_admin_are_rated_too(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    host, guests = await shared_people.user("Admin"), [await shared_people.user() for _ in range(2)]
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", host.id)
    event_id = await attended(shared_database, host, *guests)
    for guest, rating in zip(guests, (5, 4), strict=True):
        assert (await guest.post(f"/events/{event_id}/reviews", {"rating": rating})).status_code == 201
    assert (await shared_api.get(f"/events/{event_id}")).json()["rating"] == 4.5


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *(({"rating": rating}, "rating") for rating in (0, 6, -1, 2**70, 4.5, "five", True, None)),
        ({}, "rating"),
        *(({"rating": 5, "comment": comment}, "comment") for comment in ("x" * 2001, 5, ["a"])),
    ],
)
async def test_invalid_review_is_rejected_with_its_field(
    john: Person, ada: Person, shared_database: asyncpg.Connection, body: dict[str, Any], field: str
) -> None:
    event_id = await attended(shared_database, john, ada)
    answer = await ada.post(f"/events/{event_id}/reviews", body)
    expected = refused("Validation error", "validation_error", details={field: str})
    assert (answer.status_code, misfits(expected, answer.json())) == (400, [])


async def test_lowest_and_highest_rating_and_longest_comment_are_accepted(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    for rating in (1, 5):
        event_id = await attended(shared_database, john, ada)
        answer = await ada.post(f"/events/{event_id}/reviews", {"rating": rating, "comment": "ä" * 2000})
        assert answer.status_code == 201
        assert answer.json()["review"]["rating"] == rating


async def test_unknown_event_has_no_reviews(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    deleted = await attended(shared_database, john, ada)
    await john.delete(f"/events/{deleted}")
    for event_id in (str(deleted), "0", "abc", "9223372036854775807", "9223372036854775808"):
        for answer in [
            await shared_api.get(f"/events/{event_id}/reviews"),
            await ada.post(f"/events/{event_id}/reviews", {"rating": 5}),
        ]:
            assert (answer.status_code, misfits(NO_EVENT, answer.json())) == (404, [])


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "LTE="}])
async def test_invalid_page_is_rejected(shared_api: httpx.AsyncClient, john: Person, query: dict[str, str]) -> None:
    event = await john.creates_event()
    answer = await shared_api.get(f"/events/{event['id']}/reviews", params=query)
    expected = refused("Validation error", "validation_error", details=dict.fromkeys(query, str))
    assert (answer.status_code, misfits(expected, answer.json())) == (400, [])
