"""Instants as people read them: on the clock of their own zone, which is named, with its distance from UTC then."""

from datetime import datetime
from zoneinfo import ZoneInfo

from domain.availability import zone_of
from domain.errors import Invalid


def reading_zone(name: str | None) -> ZoneInfo:
    """UTC for nobody's zone, and for one that this machine does not know any more."""
    try:
        return zone_of(name or "UTC")
    except Invalid:
        return ZoneInfo("UTC")


def when(starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> str:
    """Both offsets where the clocks change in between: `01:30 (UTC+02:00) to 02:30 (UTC+01:00) Europe/Berlin`."""
    start, end = starts_at.astimezone(zone), ends_at.astimezone(zone)
    until = "" if start.date() == end.date() else f"{_day(end)}, "
    if start.utcoffset() == end.utcoffset():
        return f"{_day(start)}, {start:%H:%M} to {until}{end:%H:%M} {_zone(end, zone)}"
    return f"{_day(start)}, {start:%H:%M} ({_offset(start)}) to {until}{end:%H:%M} ({_offset(end)}) {zone.key}"


def instant(moment: datetime, zone: ZoneInfo) -> str:
    moment = moment.astimezone(zone)
    return f"{_day(moment)}, {moment:%H:%M} {_zone(moment, zone)}"


def _day(moment: datetime) -> str:
    return f"{moment:%A}, {moment.day} {moment:%B %Y}"


def _zone(moment: datetime, zone: ZoneInfo) -> str:
    return zone.key if zone.key == "UTC" else f"{zone.key} ({_offset(moment)})"


def _offset(moment: datetime) -> str:
    east = moment.isoformat()[-6:]
    return f"UTC{east}"
