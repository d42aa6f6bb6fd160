"""Availability once more, as slowly and plainly as it can be said: every instant of a grain is shown on the coach's
wall and looked up. It shares no arithmetic with `domain.availability`, only the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from domain.availability import Availability
from domain.time import Interval

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Model:
    """All times that occur have to be multiples of `grain` since 1970."""

    availability: Availability
    busy: Sequence[Interval]
    now: datetime
    grain: timedelta

    def slots(self, window: Interval, length: timedelta) -> list[Interval]:
        instants = _every(self.grain, window)
        wall = [self.on_the_wall(instant) for instant in instants]
        around = _every(self.grain, self.availability.with_buffers(window)) if self.busy else ()
        taken = [instant in self.taken for instant in around]
        step = self.availability.slot_step // timedelta(seconds=1)
        before, after, size = (
            part // self.grain for part in (self.availability.buffer_before, self.availability.buffer_after, length)
        )
        return [
            Interval(start, start + length)
            for index, start in enumerate(instants)
            if (open_for := wall[index]) is not None
            and open_for % step == 0
            and index + size <= len(instants)
            and None not in wall[index : index + size]
            and not any(taken[index : index + before + size + after])
            and self.is_in_time(start)
        ]

    def may_be_booked(self, session: Interval) -> bool:
        """Wherever it begins, on the grid or not."""
        return (
            all(self.on_the_wall(instant) is not None for instant in _every(self.grain, session))
            and self.taken.isdisjoint(_every(self.grain, self.availability.with_buffers(session)))
            and self.is_in_time(session.starts_at)
        )

    def on_the_wall(self, instant: datetime) -> int | None:
        """For how many seconds, by the clock on the wall, the coach has been open; None when they are not."""
        clock = instant.astimezone(self.zone)
        since_midnight = clock.hour * 3600 + clock.minute * 60 + clock.second
        hours_of_day = self.availability.weekly[clock.weekday()]
        if self.availability.overrides:
            hours_of_day = self.availability.overrides.get(clock.date(), hours_of_day)
        for hours in hours_of_day:
            closes = 24 * 3600 if (hours.closes // 60, hours.closes % 60) == (23, 59) else hours.closes * 60
            if hours.opens * 60 <= since_midnight < closes:
                return since_midnight - hours.opens * 60
        return None

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.availability.timezone)

    @cached_property
    def taken(self) -> set[datetime]:
        """The instants of busy times."""
        return {instant for each in self.busy for instant in _every(self.grain, each)}

    def is_in_time(self, start: datetime) -> bool:
        ahead = self.availability.bookable_ahead
        return start - self.now >= self.availability.minimum_notice and (ahead is None or start - self.now <= ahead)


def _every(grain: timedelta, window: Interval) -> list[datetime]:
    instant = EPOCH + -((EPOCH - window.starts_at) // grain) * grain
    found = []
    while instant < window.ends_at:
        found.append(instant)
        instant += grain
    return found
