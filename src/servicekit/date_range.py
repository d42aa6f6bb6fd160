"""The dates that clients can enter: from 1970-01-01 to 2099-12-31 in UTC.

An instant within this range can be converted to every time zone and moved by any buffer or notice without leaving the
years 1 to 9999 that Python supports.
"""

import contextlib
from datetime import MINYEAR, UTC, date, datetime, tzinfo

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2099, 12, 31)
OUT_OF_RANGE = f"Must be between {FIRST_DAY} and {LAST_DAY}"

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2100, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def is_enterable(moment: datetime) -> bool:
    """Whether an instant is in the range. One without an offset is UTC."""
    return _EARLIEST <= (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment) < _END


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """An instant in a time zone. If its local year is outside of Python's range: the instant in UTC, or the first or
    last instant in UTC."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return _nearest_in_utc(moment)


def _nearest_in_utc(moment: datetime) -> datetime:
    with contextlib.suppress(OverflowError):
        return moment.astimezone(UTC)
    return _FIRST if moment.year == MINYEAR else _LAST
