"""The language of a page: its texts by gettext, its dates, numbers and amounts by Babel.

Catalogues are .po files in `locale/`, which Babel reads when the first page in a language is made: a checkout and an
installed package have the same files, and none is compiled. Texts in the code are English. Babel is imported for the
first page.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from domain.languages import LANGUAGES
from servicekit.date_range import in_zone

if TYPE_CHECKING:
    from babel import Locale

LOCALES = Path(__file__).parent / "locale"

_LONGEST_HEADER = 200
"""Characters of an Accept-Language header that are looked at."""
_RANGE = re.compile(r"\s*([a-z]{2,3})(?:-[a-z]{4})?(?:-([a-z]{2}))?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.I)


@dataclass(frozen=True)
class Language:
    """`code` is one of `LANGUAGES`; the locale may be one of a country."""

    code: str
    locale: "Locale"
    texts: NullTranslations

    @property
    def tag(self) -> str:
        """BCP 47."""
        return str(self.locale).replace("_", "-")

    def gettext(self, text: str) -> str:
        return self.texts.gettext(text)

    def ngettext(self, one: str, several: str, number: int) -> str:
        return self.texts.ngettext(one, several, number)

    def number(self, number: float | Decimal) -> str:
        from babel.numbers import format_decimal

        return format_decimal(number, locale=self.locale)

    def percent(self, percent: int) -> str:
        from babel.numbers import format_percent

        return format_percent(Decimal(percent) / 100, locale=self.locale)

    def money(self, amount: Decimal, currency: str) -> str:
        return _money(amount, currency, self.locale)

    def day(self, day: date) -> str:
        """With the weekday."""
        return _day(day, self.locale)

    def month(self, day: date) -> str:
        """Such as `December 2026`."""
        from babel.dates import format_skeleton

        return format_skeleton("yMMMM", datetime(day.year, day.month, 1), locale=self.locale)  # noqa: DTZ001

    def weekdays(self) -> list[str]:
        """Short names in the order of a week of the locale."""
        names = self.locale.days["stand-alone"]["abbreviated"]
        return [names[(self.locale.first_week_day + number) % 7] for number in range(7)]

    def time(self, moment: datetime, zone: ZoneInfo) -> str:
        from babel.dates import format_time

        return format_time(in_zone(moment, zone), "short", locale=self.locale)

    def zone(self, moment: datetime, zone: ZoneInfo) -> str:
        """The name of the time zone at that moment."""
        return _zone(moment, zone, self.locale)

    def when(self, starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> str:
        """Start and end, without the name of the zone."""
        start, end = in_zone(starts_at, zone), in_zone(ends_at, zone)
        from_, until = self.time(starts_at, zone), self.time(ends_at, zone)
        if start.date() == end.date():
            return f"{self.day(start.date())}, {from_} – {until}"
        return f"{self.day(start.date())}, {from_} – {self.day(end.date())}, {until}"


@lru_cache(maxsize=256)
def _money(amount: Decimal, currency: str, locale: "Locale") -> str:
    from babel.numbers import format_currency

    return format_currency(amount, currency, locale=locale)


@lru_cache(maxsize=256)
def _day(day: date, locale: "Locale") -> str:
    from babel.dates import format_date

    return format_date(day, "full", locale=locale)


@lru_cache(maxsize=256)
def _zone(moment: datetime, zone: ZoneInfo, locale: "Locale") -> str:
    from babel.dates import get_timezone_name

    return get_timezone_name(in_zone(moment, zone), locale=locale)


@cache
def catalogue(code: str) -> NullTranslations:
    """The texts of a language. English has no catalogue."""
    path = LOCALES / code / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po
    from babel.support import Translations

    with path.open("rb") as file:
        messages = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return Translations(compiled)


@lru_cache(maxsize=64)
def language(accepted: str, default: str) -> Language:
    """The language of an Accept-Language header (RFC 9110, 12.5.4): the one with the highest quality that there is a
    catalogue of, else `default`."""
    code, country = _preferred(accepted[:_LONGEST_HEADER], default)
    return Language(code, _locale(code, country), catalogue(code))


def _preferred(accepted: str, default: str) -> tuple[str, str]:
    found: list[tuple[float, str, str]] = []
    for each in accepted.split(","):
        match = _RANGE.fullmatch(each)
        if match and match[1].lower() in LANGUAGES and float(match[3] or 1) > 0:
            found.append((float(match[3] or 1), match[1].lower(), (match[2] or "").upper()))
    if not found:
        return default, ""
    _, code, country = max(found, key=lambda each: each[0])  # the first of several
    return code, country


def _locale(code: str, country: str) -> "Locale":
    from babel import Locale, UnknownLocaleError

    try:
        return Locale(code, country or None)
    except UnknownLocaleError:
        return Locale(code)
