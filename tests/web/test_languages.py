"""Catalogues are complete, and no text of a page is outside of them."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from gettext import NullTranslations
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from domain.languages import LANGUAGES
from domain.refunds import RefundPolicy
from interfaces.http.web import languages, pages
from interfaces.http.web.refund_policies import sentences
from tests.support import catalogues
from tests.support.people import People, Person
from tests.web.test_event_pages import event_of, page
from tests.web.visitors import visiting

PLACEHOLDER = re.compile(r"%\(\w+\)s")
TRANSLATED = LANGUAGES[1:]


def test_every_language_has_a_catalogue_and_the_other_way_round() -> None:
    assert {path.name for path in languages.LOCALES.iterdir()} == set(TRANSLATED)


@pytest.mark.parametrize("code", TRANSLATED)
def test_catalogue_has_every_text_of_the_pages(code: str) -> None:
    """`python -m tests.support.catalogues` adds what is missing."""
    texts = {message.id for message in catalogues.extracted() if message.id}
    translated = {message.id for message in catalogues.read(code) if message.id}
    assert len(texts) > 40
    assert translated == texts


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_is_translated_with_its_values(code: str) -> None:
    for message in catalogues.read(code):
        ids, strings = (_forms(each) for each in (message.id, message.string))
        assert all(strings), message.id
        assert not message.fuzzy, message.id
        values = {name for each in ids for name in PLACEHOLDER.findall(each)}
        assert all(set(PLACEHOLDER.findall(string)) == values for string in strings) or not message.id, message.id


def _forms(text: Any) -> list[str]:
    """Of a text and its plurals."""
    return [text] if isinstance(text, str) else [*text]


class Pseudo(NullTranslations):
    """Marks each text that went through gettext."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


@pytest.fixture
def pseudo_language(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def marked(accepted: str, default: str) -> languages.Language:
        return replace(languages.language("en", "en"), texts=translations)

    translations = Pseudo()
    monkeypatch.setattr(pages, "language", marked)
    monkeypatch.setattr(pages, "_environment", cache(pages._environment.__wrapped__))
    yield


class Texts(HTMLParser):
    """What a person reads or hears: text, labels, alternatives. What is within `bdi` is of users, `time` is a date."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "link", "input", "img", "br"}:
            self.inside.append(tag)
        self.texts += [
            value for name, value in attrs if name in {"aria-label", "alt", "placeholder", "title"} and value
        ]

    def handle_endtag(self, tag: str) -> None:
        self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not {"bdi", "time", "script"}.intersection(self.inside):
            self.texts.append(data)


def _unmarked(text: str) -> list[str]:
    """What a person reads in a page that is in no catalogue."""
    reader = Texts()
    reader.feed(text)
    assert any("⟦" in each for each in reader.texts)
    # Marked texts, names of the organisation and of months, amounts and zones are no words of the page.
    known = re.compile(
        r"⟦[^⟦⟧]*⟧|⟨[^⟨⟩]*⟩|Convene|\b(?:January|February|March|April|May|June|July|August|September|October|November|"
        r"December)\b|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b|₹|Coordinated Universal Time"
    )
    left = [known.sub("", each).strip() for each in reader.texts]
    return [each for each in left if re.search(r"[^\W\d_]", each)]


async def test_every_text_of_the_pages_of_a_client_can_be_translated(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, pseudo_language: None
) -> None:
    person = await shared_people.user()
    texts: dict[str, Any] = {"title": "⟨title⟩", "description": "⟨text⟩", "location": "⟨hall⟩"}
    events = [await event_of(john, **texts, price=price) for price in (0, 10, 10)]
    bookings = [await person.books(event["id"]) for event in events[:2]]
    await person.post(f"/bookings/{bookings[0]['id']}/cancel")
    async with visiting(shared_api) as visitor:
        for path in ("/log-in", "/sign-up"):
            assert _unmarked(await visitor.page(path)) == [], path
        assert _unmarked((await visitor.send("/log-in", "/log-in", email="⟨a⟩", password="x")).text) == []
        assert _unmarked((await visitor.send("/sign-up", "/sign-up", email="⟨a⟩", password="", name="")).text) == []
        assert _unmarked((await visitor.api.post("/log-in")).text) == []
        await visitor.log_in(person)
        own = [f"/me/bookings/{booking['id']}" for booking in bookings]
        for path in ("/me", *own, f"/book/events/{events[2]['id']}"):
            assert _unmarked(await visitor.page(path)) == [], path
        assert _unmarked((await visitor.send(own[1], f"{own[1]}/pay")).text) == []


async def test_every_text_of_a_page_can_be_translated(
    shared_api: httpx.AsyncClient, john: Person, pseudo_language: None
) -> None:
    event = await event_of(john, title="⟨title⟩", description="⟨description⟩", location="⟨hall⟩", price=10)
    search = "/book?q=-&type=⟨x⟩&place=x&price=x"
    for path in (
        "/book",
        search,
        "/book?view=calendar",
        f"/book/events/{event['id']}",
        "/book/events/0",
        "/book?q=zzzz",
    ):
        text = await page(shared_api, path, 404 if path.endswith("/0") else 200)
        assert _unmarked(text) == [], path


def test_texts_outside_of_the_catalogue_are_found() -> None:
    reader = Texts()
    reader.feed('<p aria-label="heard">read <bdi>of a user</bdi></p>')
    assert reader.texts == ["heard", "read "]


def test_dates_and_amounts_are_those_of_the_language_and_country() -> None:
    start, end = datetime(2031, 3, 29, 22, 30, tzinfo=UTC), datetime(2031, 3, 30, 1, 30, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    german, british = languages.language("de-AT", "en"), languages.language("en-GB", "en")
    assert german.when(start, end, berlin) == "Samstag, 29. März 2031, 23:30 – Sonntag, 30. März 2031, 03:30"
    assert british.when(start, start, berlin) == "Saturday, 29 March 2031, 23:30 – 23:30"
    assert german.zone(start, berlin) == "Mitteleuropäische Normalzeit"
    assert german.zone(end, berlin) == "Mitteleuropäische Sommerzeit"
    assert german.money(Decimal("1234.5"), "JPY").endswith("1.234") or "1.23" in german.money(Decimal("1234.5"), "JPY")
    assert [british.weekdays()[0], languages.language("en-US", "en").weekdays()[0]] == ["Mon", "Sun"]


def test_refund_policy_in_words() -> None:
    english = languages.language("en", "en")
    for tiers, expected in (
        ([], ["There is no refund."]),
        ([(24, 0)], ["There is no refund."]),
        ([(0, 100)], ["Until the start: 100% of the price is refunded."]),
        (
            [(24, 80), (1, 20)],
            [
                "Until 1 day before the start: 80% of the price is refunded.",
                "Until 1 hour before the start: 20% of the price is refunded.",
                "Later: no refund.",
            ],
        ),
    ):
        assert sentences(RefundPolicy.of(tiers), english) == expected
    german = languages.language("de", "en")
    assert sentences(RefundPolicy.of([(48, 50)]), german)[0].startswith("Bis 2 Tage vor Beginn: 50\xa0%")
