"""Recurrence rules (RFC 5545, 3.3.10) of sessions, computed by python-dateutil.

A rule is input of a client, so its parts are restricted to bound the computation: no part finer than a day, a required
end, and no occurrences after `HORIZON`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from domain.errors import Invalid

HORIZON = timedelta(days=5 * 366)
MAX_RULE = 500

_PARTS = re.compile(r"(?:[A-Z]+=[A-Z0-9,+-]+)(?:;[A-Z]+=[A-Z0-9,+-]+)*", re.ASCII)
_FREQUENCIES = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_KNOWN = frozenset({"FREQ", "INTERVAL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"})
_NUMBER = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_UNTIL = re.compile(r"[0-9]{8}(?:T[0-9]{6}Z?)?", re.ASCII)


def _refused(why: str) -> Invalid:
    return Invalid({"rrule": why})


class RecurrenceRules:
    def occurrences(self, rule: str, first: datetime, zone: ZoneInfo, *, at_most: int) -> Sequence[datetime]:
        """Local times that a zone skips move by the length of the skip; of those that occur twice the first instant
        counts, unless `first` itself is the second one."""
        parts = _parts(rule)
        begins = first.astimezone(zone)
        wall = begins.replace(tzinfo=None, fold=0)
        count, until = _count(parts.pop("COUNT", None), at_most), _until(parts.pop("UNTIL", None), zone)
        if (count is None) == (until is None):
            raise _refused("Must have an end: either COUNT or UNTIL")
        found = _recurring(parts, wall, min(until or wall + HORIZON, wall + HORIZON), (count or at_most) + 1)
        if count is not None and len(found) < count:
            raise _refused("Must recur that often within five years")
        if until is not None and until > wall + HORIZON:
            raise _refused("Must end within five years")
        if until is not None and len(found) > at_most:
            raise _refused(f"Must have at most {at_most} occurrences")
        if not found:
            raise _refused("Must have at least one occurrence")
        return [first if each == wall else each.replace(tzinfo=zone).astimezone(UTC) for each in found[: count or None]]


def _parts(rule: str) -> dict[str, str]:
    text = rule.strip().upper().removeprefix("RRULE:").rstrip(";")
    if len(rule) > MAX_RULE or not _PARTS.fullmatch(text):
        raise _refused("Must be a recurrence rule such as FREQ=WEEKLY;BYDAY=MO;COUNT=10")
    pairs = [part.split("=") for part in text.split(";")]
    parts = dict(pairs)
    if len(parts) < len(pairs):
        raise _refused("Must not say the same thing twice")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise _refused("Must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY")
    unknown = parts.keys() - _KNOWN - {"COUNT", "UNTIL"}
    if unknown:
        raise _refused(f"Must do without {min(unknown)}")
    if not _NUMBER.fullmatch(parts.get("INTERVAL", "1")):
        raise _refused("Must have an INTERVAL from 1 to 999")
    return parts


def _count(text: str | None, at_most: int) -> int | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) > at_most:
        raise _refused(f"Must have a COUNT from 1 to {at_most}")
    return int(text)


def _until(text: str | None, zone: ZoneInfo) -> datetime | None:
    """The end in local time. A date includes its whole day; a time without `Z` is local time."""
    if text is None:
        return None
    try:
        if not _UNTIL.fullmatch(text):
            raise _refused("Must have an UNTIL such as 20261231 or 20261231T235959Z")
        if len(text) == 8:
            return datetime.combine(datetime.strptime(text, "%Y%m%d"), time.max)  # noqa: DTZ007 (local time)
        moment = datetime.strptime(text.rstrip("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007
        return moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) if text.endswith("Z") else moment
    except (ValueError, OverflowError):
        raise _refused("Must have an UNTIL that is a date") from None


def _recurring(parts: dict[str, str], wall: datetime, until: datetime, at_most: int) -> list[datetime]:
    """At most that many occurrences, sorted by time."""
    text = ";".join(f"{name}={value}" for name, value in parts.items())
    shift = _other_occurrence(wall) - wall
    try:
        from dateutil.rrule import rrulestr  # 0.03 s of CPU, for few requests

        rule = rrulestr(f"{text};UNTIL={until + shift:%Y%m%dT%H%M%S}", dtstart=wall + shift)
        return [found - shift for found in islice(rule, at_most)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        # dateutil has no error class: an invalid rule raises any of these.
        raise _refused("Must be a recurrence rule such as FREQ=WEEKLY;BYDAY=MO;COUNT=10") from None


def _other_occurrence(wall: datetime) -> datetime:
    """The same date in a year close to 9999 with the same calendar.

    For a rule that matches no day (30 February) dateutil searches until 9999, even with UNTIL: 4 s from the present
    year, 30 ms from the later one. The calendar repeats every 28 years between two centuries without a leap year.
    """
    if not 1901 <= wall.year < 2099 - HORIZON // timedelta(days=365):
        raise _refused("Must begin before 2094")
    year = next(
        year
        for year in range(9960, 9988)
        if year % 4 == wall.year % 4 and date(year, 1, 1).weekday() == date(wall.year, 1, 1).weekday()
    )
    return wall.replace(year=year)
