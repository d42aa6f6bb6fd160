"""`q`: the text search of the lists of events, in contracts A, B, C and D."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.people import People, Person

EVENTS: dict[str, dict[str, Any]] = {
    "yoga": {"title": "Sunrise Yoga in the Garden", "description": "Bring a mat.", "category": "Movement"},
    "pilates": {"title": "Yoga/Pilates", "description": "Slow & gentle", "category": "Core-Training"},
    "tea": {"title": "“Teezeremonie” für Anfänger", "description": "Grüner Tee aus Übersee", "category": None},
    "zen": {"title": "瞑想クラス", "description": "Sitting. See https://example.com/zen?x=1", "category": "Zen"},
}


@pytest.fixture(scope="module")
async def mira(shared_people: People) -> Person:
    return await shared_people.facilitator("Mira Änders")


@pytest.fixture(scope="module")
async def ids(mira: Person, john: Person) -> dict[str, int]:
    owners = {"yoga": mira, "pilates": john, "tea": john, "zen": john}
    return {name: (await owners[name].creates_event(**plan))["id"] for name, plan in EVENTS.items()}


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("yoga", {"yoga", "pilates"}),
        ("YOGA garden", {"yoga"}),
        ("  yoga \t garden ", {"yoga"}),
        ("gard sun", {"yoga"}),  # beginnings of words, in any order
        ("arden", set()),
        ("yoga zen", set()),  # every word
        ("mat movement", {"yoga"}),
        ("pilates", {"pilates"}),
        ("training", {"pilates"}),
        ("yoga-pilates", {"pilates"}),
        ("gentle & slow", {"pilates"}),
        ("teezeremonie", {"tea"}),
        ("ANFÄNGER übersee", {"tea"}),
        ("mira", {"yoga"}),
        ("änders yoga", {"yoga"}),
        ("john yoga", {"pilates"}),
        ("クラス", {"zen"}),
        ("瞑想", {"zen"}),
        ("example", {"zen"}),
        ("a", {"yoga"}),  # a single letter is a word
        ("'; DROP TABLE events; --", set()),
        ("yoga:*", {"yoga", "pilates"}),
        ("!yoga", {"yoga", "pilates"}),
        ("yoga | zen", set()),
        ("yoga <-> garden", {"yoga"}),
        ("%", None),
        ("\\", None),
        ("👩‍🦰", set()),
        (" ", {"yoga", "pilates", "tea", "zen"}),
        ("", {"yoga", "pilates", "tea", "zen"}),
    ],
)
async def test_all_event_lists_have_the_same_search(
    ada: Person, ids: dict[str, int], q: str, found: set[str] | None
) -> None:
    for path in ("/events", "/events/filter", "/api/events", "/api/sessions"):
        answer = await ada.get(path, params={"q": q})
        if found is None:
            assert (answer.status_code, answer.json()["details"]) == (400, {"q": "Must contain a letter or a digit"})
            continue
        assert answer.status_code == 200, answer.text
        body = answer.json()
        listed = {event["id"] for event in (body["events"] if isinstance(body, dict) else body)}
        assert {name for name, number in ids.items() if number in listed} == found, path


async def test_search_text_has_at_most_100_characters(shared_api: httpx.AsyncClient) -> None:
    assert (await shared_api.get("/events", params={"q": "x" * 100})).status_code == 200
    answer = await shared_api.get("/events", params={"q": "x" * 101})
    assert (answer.status_code, answer.json()["details"]) == (400, {"q": "Must be at most 100 characters"})


async def test_search_combines_with_other_filters_and_pages(ada: Person, ids: dict[str, int], john: Person) -> None:
    answer = await ada.get("/events", params={"q": "yoga", "facilitator_id": john.id})
    assert [event["id"] for event in answer.json()["events"]] == [ids["pilates"]]
    first = (await ada.get("/events", params={"q": "yoga", "limit": 1})).json()
    second = (await ada.get("/events", params={"q": "yoga", "limit": 1, "cursor": first["next_cursor"]})).json()
    assert {first["events"][0]["id"], second["events"][0]["id"]} == {ids["yoga"], ids["pilates"]}
    assert second["next_cursor"] is None


@given(q=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=100))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_search_text_returns_200_or_400(shared_api: httpx.AsyncClient, q: str) -> None:
    answer = await shared_api.get("/events", params={"q": q})
    assert answer.status_code in (200, 400), answer.text
