"""The public pages of events as HTML: what they show, in which language and time zone, and what they refuse."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from interfaces.http.web import event_pages
from interfaces.http.web.assets import Assets
from tests.support.people import People, Person

TODAY = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


async def page(api: httpx.AsyncClient, path: str, status: int = 200, **headers: str) -> str:
    answer = await api.get(path, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def at(days: float) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


async def event_of(person: Person, days: float = 3, **changes: Any) -> dict[str, Any]:
    times = {"start_datetime": at(days), "end_datetime": at(days + 1 / 24)}
    return await person.creates_event(**(times | changes))


def titles(text: str) -> list[str]:
    return re.findall(r'<a href="/book/events/\d+"><bdi>(.*?)</bdi>', text)


async def test_list_has_what_a_visitor_chooses_by(shared_api: httpx.AsyncClient, john: Person) -> None:
    await event_of(john, title="Chosen by", price=12.5, currency="EUR", max_participants=7, location="Main Street 1")
    text = await page(shared_api, "/book?q=chosen")
    for shown in ("€12.50", "7 seats left", "Main Street 1", john.name, "Coordinated Universal Time", "Session"):
        assert shown in text


async def test_filters_choose_events(shared_api: httpx.AsyncClient, john: Person) -> None:
    await event_of(john, title="f online", price=0, virtual_link="https://meet.example/1", location=None)
    await event_of(john, title="f hall", price=20, location="Hall", event_type="retreat", category="Breath")
    for query, found in {
        "q=f+online": ["f online"],
        "type=retreat&q=hall": ["f hall"],
        "type=breath": ["f hall"],
        "place=online&price=0": ["f online"],
        "q=hall&place=on_site&price=20": ["f hall"],
        "q=hall&price=19,99": [],
    }.items():
        text = await page(shared_api, f"/book?{query}")
        assert titles(text) == found, query
        assert ("no events that match" in text) is (found == [])


async def test_wrong_fields_are_named_beside_them_and_not_searched_for(
    shared_api: httpx.AsyncClient, john: Person
) -> None:
    await event_of(john, title="Still found")
    text = await page(shared_api, f"/book?q={'-'}&price=cheap&place=moon&type={'x' * 81}&month=2026-13&cursor=junk")
    for field in ("q", "price", "place", "type"):
        assert f'id="{field}-error"' in text
        assert f'aria-invalid="true" aria-describedby="{field}-error"' in text
    assert titles(text)


async def test_pages_of_the_list_have_every_event_once(
    shared_api: httpx.AsyncClient, shared_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    facilitator = await shared_people.facilitator()
    for number in range(3):
        await event_of(facilitator, title=f"paged {number}")
    monkeypatch.setattr(event_pages, "EVENTS_OF_PAGE", 2)
    first = await page(shared_api, "/book?q=paged")
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = await page(shared_api, following.replace("&amp;", "&"))
    assert titles(first) + titles(second) == [f"paged {number}" for number in range(3)]
    assert 'href="/book?q=paged"' in second, "back to the first page, with the search"


async def test_calendar_has_the_events_of_its_month_on_their_days(shared_api: httpx.AsyncClient, john: Person) -> None:
    at_noon = TODAY + timedelta(days=40)
    await event_of(john, 40, title="dated")
    month = at_noon.strftime("%Y-%m")
    text = await page(shared_api, f"/book?view=calendar&month={month}&q=dated")
    day = re.search(r'datetime="([\d-]+)">(?:(?!<time).)*<bdi>dated', text, re.DOTALL)
    assert day
    assert day[1] == at_noon.date().isoformat()
    assert titles(await page(shared_api, "/book?view=calendar&q=dated&month=2098-12")) == []


async def test_times_are_those_of_the_visitor_else_of_the_facilitator(
    shared_api: httpx.AsyncClient, shared_people: People
) -> None:
    facilitator = await shared_people.facilitator()
    await facilitator.put("/profile", {"name": "Zoe", "timezone": "Asia/Tokyo"})
    event = await event_of(facilitator)
    path = f"/book/events/{event['id']}"
    text = await page(shared_api, path)
    assert "6:00" in text
    assert "Japan Standard Time" in text
    for zone, shown in (("America/New_York", "Eastern"), ("nonsense", "Japan"), ("../../etc/passwd", "Japan")):
        assert shown in await page(shared_api, path, cookie=f"time_zone={zone}")


async def test_language_is_the_one_that_the_browser_prefers(shared_api: httpx.AsyncClient, john: Person) -> None:
    event = await event_of(john, price=1234.5, currency="EUR", title="Spoken")
    path = f"/book/events/{event['id']}"
    for accepted, tag, shown in (
        ("de-DE,de;q=0.9,en;q=0.8", "de-DE", "1.234,50\xa0€"),
        ("fr,de;q=0.3,en;q=0.2", "de", "Preis"),
        ("en-GB", "en-GB", "€1,234.50"),
        ("de;q=0,fr", "en", "Price"),
        ("xx;;;=,,", "en", "Price"),
        ("de-XX", "de", "Preis"),
    ):
        answer = await shared_api.get(path, headers={"Accept-Language": accepted})
        assert answer.headers["content-language"] == tag
        assert f'<html lang="{tag}" dir="ltr">' in answer.text
        assert shown in answer.text
        assert answer.headers["vary"] == "Accept-Language, Cookie"


async def test_event_shows_refund_policy_and_reviews(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    facilitator, ada = await shared_people.facilitator(), await shared_people.user()
    tiers = [{"hours_before": 168, "percent": 100}, {"hours_before": 36, "percent": 50}]
    event = await event_of(facilitator, refund_policy=tiers, price=10)
    text = await page(shared_api, f"/book/events/{event['id']}")
    assert "Until 7 days before the start: 100% of the price is refunded." in text
    assert "Until 36 hours before the start: 50% of the price is refunded." in text
    assert "Later: no refund." in text
    assert "There are no reviews yet." in text
    await shared_database.execute(
        "INSERT INTO reviews (event_id, user_id, rating, comment, created_at) VALUES ($1, $2, 4, 'Calm', now())",
        event["id"],
        ada.id,
    )
    text = await page(shared_api, f"/book/events/{event['id']}")
    assert "4 of 5" in text
    assert "Calm" in text


async def test_event_that_cannot_be_booked_says_why(
    shared_api: httpx.AsyncClient, john: Person, shared_database: asyncpg.Connection
) -> None:
    event = await event_of(john, max_participants=1)
    path = f"/book/events/{event['id']}"
    for change, shown in (
        ("booked = capacity", "Fully booked"),
        ("starts_at = now() - interval '1 min'", "has started"),
        ("status = 'cancelled'", "is cancelled"),
    ):
        await shared_database.execute(f"UPDATE events SET {change} WHERE id = $1", event["id"])
        assert shown in await page(shared_api, path)


@pytest.mark.parametrize("number", ["0", "x", "9223372036854775807", "1e3", "%27"])
async def test_unknown_event_is_a_page_that_says_so(shared_api: httpx.AsyncClient, number: str) -> None:
    text = await page(shared_api, f"/book/events/{number}", 404, accept="text/html", **{"accept-language": "de"})
    assert "Diese Seite gibt es nicht" in text


async def test_private_link_is_on_no_page(shared_api: httpx.AsyncClient, john: Person) -> None:
    event = await event_of(john, title="secret link", virtual_link="https://meet.example/secret")
    for path in ("/book?q=secret", f"/book/events/{event['id']}"):
        assert "meet.example" not in await page(shared_api, path)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


async def test_text_of_users_is_escaped(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    facilitator = await shared_people.facilitator()
    event = await event_of(facilitator, title="hostile", description=HOSTILE, location=HOSTILE, category=HOSTILE[:60])
    await shared_database.execute("UPDATE users SET name = $2 WHERE id = $1", facilitator.id, HOSTILE)
    await shared_database.execute("UPDATE events SET title = $2 WHERE id = $1", event["id"], HOSTILE)
    await shared_database.execute(
        "INSERT INTO reviews (event_id, user_id, rating, comment, created_at) VALUES ($1, $2, 1, $3, now())",
        event["id"],
        facilitator.id,
        HOSTILE,
    )
    for path in ("/book", "/book?view=calendar", f"/book/events/{event['id']}", f"/book?q={HOSTILE}&price={HOSTILE}"):
        text = await page(shared_api, path)
        tags = _Tags()
        tags.feed(text)
        assert not [tag for tag, attributes in tags.seen if tag == "img" or any(a.startswith("on") for a in attributes)]
        assert {a.get("src") for tag, a in tags.seen if tag == "script"} == {
            a["src"] for tag, a in tags.seen if tag == "script" and str(a["src"]).startswith("/assets/")
        }
        assert "{{" not in text or "7*7" in text


async def test_policy_allows_own_files_alone(shared_api: httpx.AsyncClient) -> None:
    for path in ("/book", "/book/events/0"):
        answer = await shared_api.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy
        assert {part.split()[1] for part in policy.split("; ")} <= {"'none'", "'self'"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"\bstyle=|<style|<script(?! type=\"module\" src=\"/assets/)", answer.text)


async def test_assets_are_kept_for_a_year(shared_api: httpx.AsyncClient) -> None:
    text = await page(shared_api, "/book")
    addresses = re.findall(r'"(/assets/[^"]+)"', text)
    assert len(addresses) >= 3
    for address in addresses:
        answer = await shared_api.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    for wrong in ("/assets/style.css", "/assets/..%2Fpages.py", "/assets/style.0000000000000000.css"):
        assert (await shared_api.get(wrong)).status_code == 404


def test_logo_of_the_organisation_is_an_asset(tmp_path: Path) -> None:
    logo = tmp_path / "ours.PNG"
    logo.write_bytes(b"picture")
    found = Assets("#2f6f5e", logo).logo
    assert found
    assert (found.content, found.media_type) == (b"picture", "image/png")
    assert re.fullmatch(r"logo\.[0-9a-f]{16}\.png", found.name)
    assert Assets("#2f6f5e", None).logo is None
    assert Assets("#2f6f5e", None).style.name != Assets("#8b0000", None).style.name, "another colour, another address"


async def test_first_visit_is_small(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    facilitator = await shared_people.facilitator()
    for number in range(20):
        await event_of(facilitator, 1, title=f"Event of some length, number {number}", price=30)
    text = await page(shared_api, "/book")
    assert len(titles(text)) == event_pages.EVENTS_OF_PAGE
    assets = [(await shared_api.get(address)).content for address in set(re.findall(r'"(/assets/[^"]+)"', text))]
    assert sum(len(gzip.compress(each)) for each in (text.encode(), *assets)) < 60_000
