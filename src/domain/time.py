"""Instants and intervals in UTC. A value without an offset counts as UTC.

Entered values lie between 1970-01-01 and 2099-12-31 (`entered_…`). Stored values outside of this range, which are older
than the rule, stay readable: an `Interval` does not validate it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from domain.errors import Invalid
from servicekit.date_range import FIRST_DAY, LAST_DAY, OUT_OF_RANGE, is_enterable


def as_utc(moment: datetime, field: str = "datetime") -> datetime:
    """The same instant in UTC. Raises `Invalid`, naming the field, if the offset moves it outside of years 1 to
    9999."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Invalid({field: OUT_OF_RANGE}) from None


def entered_instant(moment: datetime, field: str) -> datetime:
    """The instant in UTC. Raises `Invalid`, naming the field, outside of 1970-01-01 to 2099-12-31."""
    if not is_enterable(moment):
        raise Invalid({field: OUT_OF_RANGE})
    return as_utc(moment, field)


def entered_day(day: date, field: str) -> date:
    """Raises `Invalid`, naming the field, outside of 1970-01-01 to 2099-12-31."""
    if not FIRST_DAY <= day <= LAST_DAY:
        raise Invalid({field: OUT_OF_RANGE})
    return day


def end_of_day(moment: datetime) -> datetime:
    """The following midnight for a moment in the last minute of a day, by its own offset: many programs write the end
    of a day as 23:59 or 23:59:59. Any other moment stays."""
    if (moment.hour, moment.minute) != (23, 59) or moment.date() == date.max:
        return moment
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open interval: one that ends at 10:00 and one that starts at 10:00 do not overlap."""

    starts_at: datetime
    ends_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts_at", as_utc(self.starts_at, "start_datetime"))
        object.__setattr__(self, "ends_at", as_utc(self.ends_at, "end_datetime"))
        if self.ends_at <= self.starts_at:
            raise Invalid({"end_datetime": "Must be after the start"})


def entered_interval(interval: Interval, earlier: Interval | None = None) -> Interval:
    """Raises `Invalid` for an end outside of 1970-01-01 to 2099-12-31 that is not that of the `earlier` interval."""
    if earlier is None or interval.starts_at != earlier.starts_at:
        entered_instant(interval.starts_at, "start_datetime")
    if earlier is None or interval.ends_at != earlier.ends_at:
        entered_instant(interval.ends_at, "end_datetime")
    return interval
