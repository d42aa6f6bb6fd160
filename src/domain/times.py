"""Instants and intervals. Inside everything is UTC; a value without an offset is taken to be UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import Invalid


def as_utc(moment: datetime, field: str = "datetime") -> datetime:
    """The same instant in UTC. Near year 1 and 9999 an offset can leave the calendar: `Invalid`, naming the field."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Invalid({field: "Is outside the calendar"}) from None


@dataclass(frozen=True, slots=True)
class Interval:
    """Half open: an interval that ends at ten and one that begins at ten do not overlap."""

    starts_at: datetime
    ends_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts_at", as_utc(self.starts_at, "start_datetime"))
        object.__setattr__(self, "ends_at", as_utc(self.ends_at, "end_datetime"))
        if self.ends_at <= self.starts_at:
            raise Invalid({"end_datetime": "Must be after the start"})
