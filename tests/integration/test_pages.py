"""Walking a list from page to page shows each entry once, also while others are written before and after it."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from tests.support.appointments import uuid_of
from tests.support.people import People, Person
from tests.support.process_harness import LONG_RUN

NOW = datetime.now(UTC)
Write = Callable[["Scene"], Awaitable[None]]


@dataclass
class Scene:
    """A facilitator and a client, one event that is over the client and others booked, and one coaching session."""

    database: asyncpg.Connection
    john: Person
    ada: Person
    root: Person
    event: int
    session: str
    john_uuid: str
    ada_uuid: str
    luck: random.Random

    def moment(self) -> datetime:
        return NOW + timedelta(minutes=self.luck.randrange(1_000, 100_000))

    async def someone(self) -> int:
        found: int = await self.database.fetchval(
            "INSERT INTO users (email, name, role) VALUES (uuidv4() || '@example.com', 'Someone', 'user') RETURNING id"
        )
        return found

    async def new_event(self) -> int:
        # Several begin at the same moment.
        starts_at = NOW + timedelta(days=self.luck.randrange(1, 5))
        found: int = await self.database.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price,
                   currency)
               VALUES ($1, 'Yoga', '', 'session', $2::timestamptz, $2::timestamptz + interval '1 hour', 1000, 0, 'INR')
               RETURNING id""",
            self.john.id,
            starts_at,
        )
        return found

    async def book(self, event_id: int, user_id: int) -> None:
        await self.database.execute(
            """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
               VALUES ($1, $2, 'confirmed', 'not_required', now())""",
            event_id,
            user_id,
        )


async def an_event(scene: Scene) -> None:
    await scene.new_event()


async def a_booking_of_adas(scene: Scene) -> None:
    await scene.book(await scene.new_event(), scene.ada.id)


async def a_booking_of_the_event(scene: Scene) -> None:
    await scene.book(scene.event, await scene.someone())


async def a_review(scene: Scene) -> None:
    await scene.database.execute(
        "INSERT INTO reviews (event_id, user_id, rating, created_at) VALUES ($1, $2, 5, now())",
        scene.event,
        await scene.someone(),
    )


async def a_message(scene: Scene) -> None:
    await scene.database.execute(
        """INSERT INTO outbox (destination, lane, fact, snapshot, status, occurred_at, settled_at)
           VALUES ($1, 'booking:1', 'booking_created', '{}', 'delivered', now(), now())""",
        scene.luck.choice(["crm", "email"]),
    )


async def a_session(scene: Scene) -> None:
    await scene.database.execute(
        """INSERT INTO coaching_bookings (client_id, coach_id, starts_at, ends_at, busy_from, busy_until, status,
               payment_status, price, currency, refund_policy, created_at, updated_at, cancelled_at)
           VALUES ($1, $2, $3::timestamptz, $3::timestamptz + interval '1 hour', $3::timestamptz,
               $3::timestamptz + interval '1 hour', 'cancelled', 'not_required', 0,
               'INR', '[]', now(), now(), now())""",
        scene.ada.id,
        scene.john.id,
        NOW + timedelta(days=scene.luck.randrange(1, 5)),
    )


async def a_change(scene: Scene) -> None:
    await scene.database.execute(
        """INSERT INTO coaching_changes (booking_id, change, actor_id, changed_at, after)
           VALUES ($1::text::uuid, 'notes_changed', $2, now(), jsonb_build_object('notes', $3::text))""",
        scene.session,
        scene.ada.id,
        str(scene.luck.random()),
    )


async def a_reminder(scene: Scene) -> None:
    await scene.database.execute(
        """INSERT INTO reminders (coaching_booking_id, user_id, "before", starts_at, due_at)
           VALUES ($1::text::uuid, $2, '1 hour', $3::timestamptz, $3::timestamptz - interval '1 hour')
           ON CONFLICT DO NOTHING""",
        scene.session,
        scene.ada.id,
        scene.moment(),
    )


async def an_invitation(scene: Scene) -> None:
    await scene.database.execute(
        """INSERT INTO invitations (event_id, name, email, invited_by, status, created_at, expires_at, answered_at)
           VALUES ($1, 'Rosa', gen_random_uuid() || '@example.com', $2, 'declined', now(), now(), now())""",
        scene.event,
        scene.john.id,
    )


def items_of(answer: httpx.Response) -> list[Any]:
    body = answer.json()
    if isinstance(body, list):
        return body
    [listed] = [value for value in body.values() if isinstance(value, list)]
    return listed


def identity(item: dict[str, Any]) -> str:
    return str(item.get("id", item))


# Path, who asks, and how an entry comes to be.
LISTS: dict[str, tuple[str, Write]] = {
    "/events": ("john", an_event),
    "/events/filter?type=session": ("john", an_event),
    "/api/events": ("john", an_event),
    "/api/sessions": ("john", an_event),
    "/facilitator/events": ("john", an_event),
    "/api/facilitator/sessions": ("john", an_event),
    "/bookings?status=confirmed": ("ada", a_booking_of_adas),
    "/api/my-bookings": ("ada", a_booking_of_adas),
    "/api/bookings/my": ("ada", a_booking_of_adas),
    "/api/facilitator/bookings": ("john", a_booking_of_the_event),
    "/facilitator/events/{event}/bookings": ("john", a_booking_of_the_event),
    "/facilitator/registrations/{event}": ("john", a_booking_of_the_event),
    "/api/facilitator/sessions/{event}/bookings": ("john", a_booking_of_the_event),
    "/events/{event}/reviews": ("john", a_review),
    "/facilitator/events/{event}/invitations": ("john", an_invitation),
    "/admin/outbox?status=delivered": ("root", a_message),
    "/admin/outbox?destination=crm": ("root", a_message),
    "/booking/client/{ada_uuid}": ("ada", a_session),
    "/booking/coach/{john_uuid}?status=cancelled": ("john", a_session),
    "/booking/{session}/history": ("ada", a_change),
    "/booking/{session}/reminders": ("john", a_reminder),
}


@pytest.fixture(scope="module")
async def scene(shared_people: People, ada: Person, john: Person, shared_database: asyncpg.Connection) -> Scene:
    root = await shared_people.user("Katherine Johnson")
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", root.id)
    uuids = await uuid_of(john), await uuid_of(ada)
    await shared_database.execute(
        "INSERT INTO facilitator_profiles (user_id) VALUES ($1) ON CONFLICT DO NOTHING", john.id
    )
    scene = Scene(shared_database, john, ada, root, 0, "", *uuids, random.Random(10))
    scene.event = await scene.new_event()
    await a_session(scene)
    scene.session = str(await shared_database.fetchval("SELECT id FROM coaching_bookings"))
    return scene


async def walk(person: Person, path: str, limit: int, between: Callable[[], Awaitable[None]]) -> list[str]:
    """The entries of all pages, by their identity; after each page something happens."""
    seen: list[str] = []
    asked = parse_qs(urlsplit(path).query)
    address = f"{path}{'&' if '?' in path else '?'}limit={limit}"
    for _ in range(200):
        answer = await person.get(address)
        assert answer.status_code == 200, answer.text
        page = items_of(answer)
        assert len(page) <= limit
        seen += map(identity, page)
        body, following = answer.json(), answer.links.get("next", {}).get("url")
        if isinstance(body, dict):
            cursor = parse_qs(urlsplit(following).query)["cursor"][0] if following else None
            assert body["next_cursor"] == cursor
        if following is None:
            return seen
        assert asked.items() <= parse_qs(urlsplit(following).query).items()
        address = following
        await between()
    raise AssertionError("the list has no end")


LIMITS = (1, 2, 4) if LONG_RUN else (2,)


@pytest.mark.parametrize("path", LISTS)
async def test_each_entry_is_listed_once_during_writes(scene: Scene, path: str) -> None:
    who, write = LISTS[path]
    person: Person = getattr(scene, who)
    here = path.format(event=scene.event, session=scene.session, ada_uuid=scene.ada_uuid, john_uuid=scene.john_uuid)
    for _ in range(7):
        await write(scene)

    async def nothing() -> None:
        pass

    left = iter(range(6))

    async def more() -> None:
        # Before and after the page, as chance has it.
        if next(left, None) is not None:
            await write(scene)

    whole = await walk(person, here, 100, nothing)
    assert len(whole) >= 7
    for limit in LIMITS:
        left = iter(range(6))
        before = await walk(person, here, 100, nothing)
        seen = await walk(person, here, limit, more)
        assert len(seen) == len(set(seen))
        assert [entry for entry in seen if entry in set(before)] == before


@pytest.mark.parametrize("cursor", ["x", "MQ", "AAAA", "9" * 400, "MSAy"])
@pytest.mark.parametrize("path", LISTS)
async def test_invalid_cursor_is_rejected_in_the_contract_shape(scene: Scene, path: str, cursor: str) -> None:
    person: Person = getattr(scene, LISTS[path][0])
    here = path.format(event=scene.event, session=scene.session, ada_uuid=scene.ada_uuid, john_uuid=scene.john_uuid)
    answer = await person.get(f"{here}{'&' if '?' in here else '?'}cursor={cursor}")
    assert answer.status_code == 400
    assert "cursor" in answer.json()["details"]


async def test_undocumented_lists_have_50_entries_and_those_of_contract_e_20(scene: Scene) -> None:
    for _ in range(60):
        await a_message(scene)
        await a_session(scene)
    assert len(items_of(await scene.root.get("/admin/outbox"))) == 50
    assert len(items_of(await scene.root.get("/admin/outbox?limit=1000"))) > 50
    assert len(items_of(await scene.ada.get(f"/booking/client/{scene.ada_uuid}"))) == 20
    assert (await scene.ada.get(f"/booking/client/{scene.ada_uuid}?skip=1&cursor=MQ")).status_code == 400
