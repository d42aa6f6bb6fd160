"""Formatting of instants for people: local time with the name of the time zone and its offset from UTC."""

import contextlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from servicekit.date_range import in_zone

# Files beside the zones that open as zones: zones with leap seconds, duplicates, the machine's own zone.
_NOT_IANA = ("right/", "posix/", "posixrules", "localtime", "Factory")


def iana_zone(name: str) -> ZoneInfo | None:
    """The IANA time zone of that name; None if there is none."""
    # "../etc/passwd" is a ValueError, an unknown name a KeyError, "America" a directory.
    with contextlib.suppress(ValueError, KeyError, OSError):
        if not name.startswith(_NOT_IANA):
            return ZoneInfo(name)
    return None


def reading_zone(name: str | None) -> ZoneInfo:
    """The time zone for a person: UTC without a name, and for a name that is unknown to this machine."""
    return iana_zone(name or "UTC") or ZoneInfo("UTC")


def when(starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> str:
    """Start and end. Both have an offset if it changes in between: `01:30 (UTC+02:00) to 02:30 (UTC+01:00)
    Europe/Berlin`."""
    # In UTC, because times of one zone are equal keys before and after the end of summer time.
    return _when(in_zone(starts_at, UTC), in_zone(ends_at, UTC), zone)


@lru_cache(maxsize=256)  # all mails about an event have the same
def _when(starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> str:
    start, end = in_zone(starts_at, zone), in_zone(ends_at, zone)
    until = "" if start.date() == end.date() else f"{_day(end)}, "
    if start.utcoffset() == end.utcoffset():
        return f"{_day(start)}, {start:%H:%M} to {until}{end:%H:%M} {_zone(end, zone)}"
    return f"{_day(start)}, {start:%H:%M} ({_offset(start)}) to {until}{end:%H:%M} ({_offset(end)}) {zone.key}"


def instant(moment: datetime, zone: ZoneInfo) -> str:
    moment = in_zone(moment, zone)
    return f"{_day(moment)}, {moment:%H:%M} {_zone(moment, zone)}"


def ahead(starts_at: datetime, now: datetime, zone: ZoneInfo) -> str:
    """The time until a start, in words: `in 20 minutes`, `in an hour`, `in 5 hours`, and from 20 hours on by dates of
    that zone: `today`, `tomorrow`, `in 3 days`."""
    left = starts_at - now
    minutes = max(round(left / timedelta(minutes=1)), 1)
    if minutes < 55:
        return f"in {minutes} minutes" if minutes > 1 else "in a minute"
    if minutes < 90:
        return "in an hour" if minutes <= 65 else f"in {minutes} minutes"
    if left < timedelta(hours=20):
        return f"in {round(left / timedelta(hours=1))} hours"
    days = (in_zone(starts_at, zone).date() - in_zone(now, zone).date()).days
    return ("today", "tomorrow")[days] if days < 2 else f"in {days} days"


def _day(moment: datetime) -> str:
    return f"{moment:%A}, {moment.day} {moment:%B %Y}"


def _zone(moment: datetime, zone: ZoneInfo) -> str:
    return zone.key if zone.key == "UTC" else f"{zone.key} ({_offset(moment)})"


def _offset(moment: datetime) -> str:
    east = moment.isoformat()[-6:]
    return f"UTC{east}"
