"""The search form of the page of events. What it does not understand is named beside its field and not searched for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal
from zoneinfo import ZoneInfo

from application.events.ports import EventFilter
from domain.errors import Invalid
from interfaces.http.parameters import search_text

PLACES = ("online", "on_site")
_LONGEST_KIND = 80
_HIGHEST_PRICE = Decimal(1_000_000_000)
_MONTHS_AHEAD = 12
_LAST_YEAR = 2098


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a calendar."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> "Month":
        return cls(day.year, day.month)

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def next(self) -> "Month":
        return Month.of(self.first + timedelta(days=31))

    @property
    def previous(self) -> "Month":
        return Month.of(self.first - timedelta(days=1))

    def starts_at(self, zone: ZoneInfo) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=zone).astimezone(UTC)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Fields as they were entered, and their values. `wrong` names the fields that were not understood."""

    view: Literal["list", "calendar"]
    text: str
    kind: str
    place: str
    price: str
    month: Month | None
    cursor: str | None
    wrong: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "EventSearch":
        wrong: set[str] = set()

        def checked(name: str, is_valid: Callable[[str], bool]) -> str:
            given = query.get(name, "").strip()
            if given and not is_valid(given):
                wrong.add(name)
            return given

        month = _month(query.get("month", ""))
        return cls(
            "calendar" if query.get("view") == "calendar" else "list",
            checked("q", _is_search_text),
            checked("type", lambda text: len(text) <= _LONGEST_KIND),
            checked("place", PLACES.__contains__),
            checked("price", lambda text: _price(text) is not None),
            month,
            query.get("cursor") or None,
            frozenset(wrong),
        )

    def without(self, *names: str) -> "EventSearch":
        """The same search, with these fields marked as not understood."""
        return EventSearch(
            self.view, self.text, self.kind, self.place, self.price, self.month, None, self.wrong.union(names)
        )

    def filters(self, starts_from: datetime | None, starts_before: datetime | None) -> EventFilter:
        def if_right(name: str, text: str) -> str | None:
            return None if name in self.wrong or not text else text

        place, price = if_right("place", self.place), if_right("price", self.price)
        return EventFilter(
            kind=if_right("type", self.kind),
            text=if_right("q", self.text),
            online=None if place is None else place == "online",
            highest_price=None if price is None else _price(price),
            starts_from=starts_from,
            starts_before=starts_before,
        )

    def parameters(self, **changes: object) -> dict[str, object]:
        """The query of the same search with these changes, from its first page on."""
        view = self.view if self.view == "calendar" else None
        own = {"q": self.text, "type": self.kind, "place": self.place, "price": self.price, "month": self.month}
        return {"view": view, **own, **changes}


def coming_months(today: date) -> Iterator[Month]:
    month = Month.of(today)
    for _ in range(_MONTHS_AHEAD):
        yield month
        month = month.next


def _month(text: str) -> Month | None:
    try:
        found = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return Month.of(found) if 2000 <= found.year <= _LAST_YEAR else None


def _is_search_text(text: str) -> bool:
    try:
        search_text("q", text)
    except Invalid:
        return False
    return True


def _price(text: str) -> Decimal | None:
    """An amount in a person's notation, with a comma or a point before the decimals."""
    if len(text) > 20 or not text.isascii():
        return None
    try:
        price = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None
    return price if price.is_finite() and 0 <= price <= _HIGHEST_PRICE else None
