"""Weeks from Monday to Monday in the local time of a zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from domain.time import Interval

WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True)
class Week:
    begins_on: date
    zone: ZoneInfo

    @classmethod
    def of(cls, moment: datetime, zone: ZoneInfo) -> "Week":
        day = moment.astimezone(zone).date()
        return cls(day - timedelta(days=day.weekday()), zone)

    @property
    def starts_at(self) -> datetime:
        """Midnight of its Monday; where the clock skips midnight, the instant of that change."""
        return datetime.combine(self.begins_on, time.min, self.zone).astimezone(UTC)

    def later(self, weeks: int) -> "Week":
        return Week(self.begins_on + weeks * WEEK, self.zone)


def weeks_of(window: Interval, zone: ZoneInfo) -> list[Week]:
    """Every week that overlaps the window."""
    week = Week.of(window.starts_at, zone)
    found = []
    while week.starts_at < window.ends_at:
        found.append(week)
        week = week.later(1)
    return found
