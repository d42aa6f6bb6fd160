"""Text and links that people enter over HTTP, in every contract, and stored text that today's rules would refuse."""

import asyncpg
import httpx
import pytest

from tests.support.people import PASSWORD, People, event

TURNED, EMPTY = "Yo\u202ega", "\u200b\u200b\u200b"
EMOJI = "👩\u200d🚀 می\u200cخواهم שלום\u200f!"
BAD_LINKS = [
    "https://",
    "https://a b/",
    "http://[::1",
    "https://accounts.google.com@evil.example/",
    "https://x.example/\u202e",
]


def in_sessions(**changes: object) -> dict[str, object]:
    body = event()
    times = {"start_time": body["start_datetime"], "end_time": body["end_datetime"]}
    return {"title": "Yoga", "session_type": "session", "capacity": 5, "price": 10, **times, **changes}


@pytest.mark.parametrize("text", [TURNED, EMPTY, "\u0301Yoga", "\ue000"], ids=ascii)
async def test_every_contract_rejects_invisible_text(shared_people: People, text: str) -> None:
    john = await shared_people.facilitator()
    created = await john.creates_event()
    path = f"/events/{created['id']}"
    asked = {
        "title": [await john.post("/events", event(title=text)), await john.put(path, {"title": text})],
        "description": [await john.post("/events", event(description=text))],
        "category": [await john.put(path, {"category": text})],
        "location": [await john.put(path, {"location": text})],
        "name": [await john.put("/profile", {"name": text})],
        "phone": [await john.put("/profile", {"phone": text})],
    }
    for field, answers in asked.items():
        for answer in answers:
            assert answer.status_code == 400, (field, answer.text)
            assert answer.json()["details"].keys() == {field}
    for answer in (
        await john.post("/api/sessions", in_sessions(title=text)),
        await john.post("/api/sessions", in_sessions(description=text)),
        await john.api.post("/auth/register", json={"email": "t@example.com", "password": PASSWORD, "name": text}),
        await john.api.post("/api/register", json={"email": "t@example.com", "password": PASSWORD, "name": text}),
        await john.post("/bookings", {"event_id": created["id"], "notes": text}),
    ):
        assert answer.status_code == 400, answer.text
    assert (await john.get(path)).json() == created


async def test_emoji_and_right_to_left_text_are_kept(shared_people: People) -> None:
    john = await shared_people.facilitator()
    created = await john.creates_event(title=EMOJI, description=f"{EMOJI}\n\n{EMOJI}", location=EMOJI)
    assert (created["title"], created["location"]) == (EMOJI, EMOJI)
    assert (await john.put("/profile", {"name": EMOJI})).json()["user"]["name"] == EMOJI


@pytest.mark.parametrize("link", BAD_LINKS, ids=ascii)
async def test_invalid_or_misleading_link_is_rejected(shared_people: People, link: str) -> None:
    john = await shared_people.facilitator()
    created = await john.creates_event()
    for answer in (
        await john.post("/events", event(virtual_link=link)),
        await john.put(f"/events/{created['id']}", {"virtual_link": link}),
    ):
        assert (answer.status_code, answer.json()["details"].keys()) == (400, {"virtual_link"})


async def test_scheme_in_upper_case_is_accepted(shared_people: People) -> None:
    john = await shared_people.facilitator()
    assert (await john.creates_event(virtual_link="HTTPS://meet.example.com/a"))[
        "virtual_link"
    ] == "HTTPS://meet.example.com/a"


async def test_stored_text_that_is_now_invalid_can_be_read_and_updated(
    shared_people: People, shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    john = await shared_people.facilitator()
    created = await john.creates_event()
    await shared_database.execute(
        "UPDATE events SET title = $1, description = $2, virtual_link = 'https://u@x.example' WHERE id = $3",
        TURNED,
        EMPTY,
        created["id"],
    )
    await shared_database.execute("UPDATE users SET name = $1 WHERE id = $2", TURNED, john.id)
    path = f"/events/{created['id']}"
    stored = (await john.get(path)).json()
    assert (stored["title"], stored["virtual_link"], stored["facilitator"]["name"]) == (
        TURNED,
        "https://u@x.example",
        TURNED,
    )
    # A client that sends everything back, and one that sends what it changes.
    for change in ({**stored, "max_participants": 20}, {"max_participants": 21}):
        changed = await john.put(path, change)
        assert changed.status_code == 200, changed.text
        assert changed.json()["event"]["title"] == TURNED
    assert (await john.put(f"/api/sessions/{created['id']}", {"capacity": 22})).status_code == 200
    profile = await john.put("/profile", {"name": TURNED, "phone": "1"})
    assert (profile.status_code, profile.json()["user"]["name"]) == (200, TURNED)
