"""Availability of coaches: weekly hours in local time, converted to instants.

**A coach is open at an instant if the local time of that instant, in the coach's time zone, lies within the coach's
hours.** The behaviour at daylight saving changes follows from this rule: a local time that is skipped has no instant
and is never offered; one that occurs twice has two instants, and both are open. A slot is offered if all of it is open
and it overlaps no busy time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from domain.errors import Conflict, Invalid
from domain.time import Interval, end_of_day, entered_instant
from servicekit.local_times import iana_zone

DAY = timedelta(days=1)
MINUTES_A_DAY = 24 * 60
LAST_MINUTE = MINUTES_A_DAY - 1
SHORTEST, LONGEST = timedelta(minutes=15), timedelta(minutes=480)
LONGEST_RANGE = timedelta(days=30)
LONGEST_REPORT = timedelta(days=371)
# The interval of the samples that find the changes of a zone's offset: no zone has changed twice within this time.
_GLANCE = timedelta(hours=3)
_NEVER = (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class SlotUnavailable(Conflict):
    code = "slot_unavailable"
    message = "Time slot is not available"


def zone_of(name: str, field: str = "timezone") -> ZoneInfo:
    """The IANA zone of that name. Raises `Invalid` naming the field."""
    zone = iana_zone(name)
    if zone is None:
        raise Invalid({field: "Must be an IANA time zone such as Europe/Berlin"})
    return zone


@dataclass(frozen=True, slots=True, order=True)
class Hours:
    """A range of local time within a day, in minutes after midnight: from `opens` inclusive to `closes` exclusive (at
    most 1440, which is midnight). The last range of a day that closes at 23:59 lasts to midnight, because many programs
    cannot write the end of a day in another way."""

    opens: int
    closes: int

    def __post_init__(self) -> None:
        if not 0 <= self.opens < self.closes <= MINUTES_A_DAY:
            raise Invalid({"hours": "Must begin before they end, within one day"})


WorkingDay = tuple[Hours, ...]

NINE_TO_FIVE: WorkingDay = (Hours(9 * 60, 17 * 60),)
EVERY_DAY: Mapping[int, WorkingDay] = dict.fromkeys(range(7), NINE_TO_FIVE)


@dataclass(frozen=True, slots=True)
class Availability:
    """The hours and rules of a coach. The default is 09:00 to 17:00 every day.

    `weekly`: hours by weekday, Monday is 0. `overrides`: hours of single dates, empty for a day off. Slots start every
    `slot_step` of local time, from the start of the hours. A slot needs free time of `buffer_before` and `buffer_after`
    around it, starts at least `minimum_notice` from now and at most `bookable_ahead` from now (None: no limit).
    """

    timezone: str = "UTC"
    weekly: Mapping[int, WorkingDay] = field(default_factory=lambda: EVERY_DAY)
    overrides: Mapping[date, WorkingDay] = field(default_factory=dict)
    buffer_before: timedelta = timedelta(0)
    buffer_after: timedelta = timedelta(0)
    minimum_notice: timedelta = timedelta(0)
    slot_step: timedelta = timedelta(minutes=30)
    bookable_ahead: timedelta | None = None

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        object.__setattr__(
            self, "weekly", {day: _validated_hours(self.weekly.get(day, ()), "weekly_hours") for day in range(7)}
        )
        object.__setattr__(
            self, "overrides", {day: _validated_hours(hours, "date_overrides") for day, hours in self.overrides.items()}
        )
        _within("buffer_before_minutes", self.buffer_before, timedelta(0), DAY)
        _within("buffer_after_minutes", self.buffer_after, timedelta(0), DAY)
        _within("minimum_notice_minutes", self.minimum_notice, timedelta(0), 366 * DAY)
        _within("slot_step_minutes", self.slot_step, timedelta(minutes=5), DAY)
        if self.bookable_ahead is not None:
            _within("bookable_days_ahead", self.bookable_ahead, DAY, 3660 * DAY)

    def hours_of(self, day: date) -> WorkingDay:
        """The hours of a date. An end at 23:59 counts as midnight."""
        hours = self.overrides.get(day, self.weekly[day.weekday()])
        if not hours or hours[-1].closes != LAST_MINUTE:
            return hours
        return (*hours[:-1], Hours(hours[-1].opens, MINUTES_A_DAY))

    def with_buffers(self, session: Interval) -> Interval:
        """The session with its buffers: the time in which its coach is busy."""
        return Interval(session.starts_at - self.buffer_before, session.ends_at + self.buffer_after)

    def slots(self, window: Interval, length: timedelta, busy: Iterable[Interval], now: datetime) -> list[Interval]:
        """Every slot of that length within the window that can be booked now, earliest first. `busy`: other sessions
        with their buffers, events, and entries of connected calendars."""
        return [Interval(start, start + length) for start in self.slot_starts(window, length, busy, now)]

    def slot_starts(
        self, window: Interval, length: timedelta, busy: Iterable[Interval], now: datetime
    ) -> Iterator[datetime]:
        """The start of each slot. There may be thousands, so each start costs only a few comparisons."""
        earliest, latest = self._bookable(now)
        first = max(window.starts_at, earliest)
        last = min(window.ends_at - length, latest)
        stretches = list(self._open_times(window))
        possible = _starts_in(_open(stretches), self._starts(stretches), length)
        # A slot that starts at `start` occupies [start - before, start + length + after) with its buffers.
        before, after = self.buffer_before, length + self.buffer_after
        blocked = iter([(each.starts_at - after, each.ends_at + before) for each in merged(busy)])
        from_, until = next(blocked, _NEVER)
        for start in possible:
            if start < first:
                continue
            if start > last:
                return
            while until <= start:
                from_, until = next(blocked, _NEVER)
            if start <= from_:
                yield start

    def refuse(self, session: Interval, busy: Iterable[Interval], now: datetime) -> None:
        """Raises `SlotUnavailable` unless a client may book this time now. Its start need not be a multiple of the
        step."""
        earliest, latest = self._bookable(now)
        if not earliest <= session.starts_at <= latest:
            raise SlotUnavailable
        open_times = _open(self._open_times(session))
        if not any(open_.starts_at <= session.starts_at and session.ends_at <= open_.ends_at for open_ in open_times):
            raise SlotUnavailable
        if overlaps_any(self.with_buffers(session), merged(busy)):
            raise SlotUnavailable

    def _bookable(self, now: datetime) -> tuple[datetime, datetime]:
        latest = datetime.max.replace(tzinfo=UTC) if self.bookable_ahead is None else now + self.bookable_ahead
        return now + self.minimum_notice, latest

    def _starts(self, stretches: "Iterable[_OpenTime]") -> Iterator[datetime]:
        """The possible starts of slots, in order. They count from the start of the hours, also if the clock skips that
        time."""
        for stretch in stretches:
            missed = max(stretch.opens - stretch.hours_open, timedelta(0))
            start = stretch.hours_open + -(-missed // self.slot_step) * self.slot_step
            yield from stretch.span.each(start, stretch.closes, self.slot_step)

    def _open_times(self, window: Interval) -> "Iterator[_OpenTime]":
        """The coach's hours over the window and a day to either side, in order."""
        for span in _spans(zone_of(self.timezone), window.starts_at - DAY, window.ends_at + DAY):
            day, last = span.wall_from.date(), span.wall_until.date()
            while day <= last:
                for hours in self.hours_of(day):
                    stretch = _open_time(span, day, hours)
                    if stretch.opens < stretch.closes:
                        yield stretch
                day += DAY


@dataclass(frozen=True, slots=True)
class _Span:
    """A period in which a zone has one offset, in its local time (naive)."""

    wall_from: datetime
    wall_until: datetime
    offset: timedelta

    def at(self, wall: datetime) -> datetime:
        return (wall - self.offset).replace(tzinfo=UTC)

    def each(self, wall: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
        """As `at` for `wall` and every `step` after it, before `until`."""
        start, end = self.at(wall), self.at(until)
        while start < end:
            yield start
            start += step


@dataclass(frozen=True, slots=True)
class _OpenTime:
    """The part of a day's hours that lies in a span, in local time (naive). `hours_open` is the start of the hours
    themselves."""

    span: _Span
    hours_open: datetime
    opens: datetime
    closes: datetime


def _open_time(span: _Span, day: date, hours: Hours) -> _OpenTime:
    midnight = datetime.combine(day, time.min)
    opens, closes = midnight + timedelta(minutes=hours.opens), midnight + timedelta(minutes=hours.closes)
    return _OpenTime(span, opens, max(opens, span.wall_from), min(closes, span.wall_until))


def _open(stretches: Iterable[_OpenTime]) -> list[Interval]:
    """The intervals whose local time lies within the coach's hours."""
    return merged(Interval(each.span.at(each.opens), each.span.at(each.closes)) for each in stretches)


def _spans(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[_Span]:
    begins, offset = since, _offset(zone, since)
    glance = since
    while glance < until:
        ahead = min(glance + _GLANCE, until)
        if _offset(zone, ahead) != offset:
            changes = _change_between(zone, glance, ahead)
            yield _span(begins, changes, offset)
            begins, offset = changes, _offset(zone, changes)
            ahead = changes
        glance = ahead
    if begins < until:
        yield _span(begins, until, offset)


def _span(begins: datetime, ends: datetime, offset: timedelta) -> _Span:
    return _Span((begins + offset).replace(tzinfo=None), (ends + offset).replace(tzinfo=None), offset)


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second with another offset than `before`; `after` has one."""
    low, high = int(before.timestamp()), int(after.timestamp())
    offset = _offset(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _starts_in(open_times: Iterable[Interval], starts: Iterable[datetime], length: timedelta) -> Iterator[datetime]:
    """The starts at which the following `length` is open. Both arguments are sorted. The open times do not touch, and
    each start lies in one of them."""
    times = iter(open_times)
    closes = datetime.min.replace(tzinfo=UTC)
    for start in starts:
        while closes <= start:
            closes = next(times).ends_at
        if start + length <= closes:
            yield start


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of the intervals, as sorted intervals that neither overlap nor touch."""
    result: list[Interval] = []
    for interval in sorted(intervals, key=lambda each: each.starts_at):
        if result and interval.starts_at <= result[-1].ends_at:
            result[-1] = Interval(result[-1].starts_at, max(result[-1].ends_at, interval.ends_at))
        else:
            result.append(interval)
    return result


def overlaps_any(wanted: Interval, blocked: Sequence[Interval]) -> bool:
    """Whether the interval overlaps one of `blocked`, a result of `merged`."""
    first = bisect_right(blocked, wanted.starts_at, key=lambda each: each.ends_at)
    return first < len(blocked) and blocked[first].starts_at < wanted.ends_at


def _validated_hours(hours: WorkingDay, field: str) -> WorkingDay:
    day = tuple(sorted(hours))
    if any(later.opens < earlier.closes for earlier, later in pairwise(day)):
        raise Invalid({field: "The hours of one day must not overlap"})
    return day


def _within(field: str, value: timedelta, least: timedelta, most: timedelta) -> None:
    if not least <= value <= most:
        minutes = timedelta(minutes=1)
        raise Invalid({field: f"Must be between {least // minutes} and {most // minutes} minutes"})


def search_window(starts_at: datetime, ends_at: datetime) -> Interval:
    """Raises `Invalid` for an end that is not after the start, and for more than 30 days. An end in the last minute of
    a day, by its own offset, is the end of that day."""
    return _window(starts_at, ends_at, LONGEST_RANGE)


def statistics_window(starts_at: datetime, ends_at: datetime) -> Interval:
    """As `search_window`, for up to a year."""
    return _window(starts_at, ends_at, LONGEST_REPORT)


def _window(starts_at: datetime, ends_at: datetime, longest: timedelta) -> Interval:
    last = end_of_day(ends_at)
    starts_at, ends_at = entered_instant(starts_at, "start_date"), entered_instant(ends_at, "end_date")
    if ends_at <= starts_at:
        raise Invalid({"end_date": "End date must be after start date"})
    if ends_at - starts_at > longest:
        raise Invalid({"end_date": f"Date range cannot exceed {longest.days} days"})
    return Interval(starts_at, last)
