"""The database's clock in a process: exact to half of a round trip, and never back for a small correction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from servicekit.clock import DatabaseClock, Pace, machine_time

SECOND = 1_000_000_000
START = datetime(2031, 3, 5, 12, tzinfo=UTC)
EPOCH = datetime.fromtimestamp(0, UTC)
BEGIN = (START - EPOCH) // timedelta(microseconds=1) * 1000


class Unavailable(Exception):
    pass


@dataclass
class World:
    """The clocks of a database and of a machine, and the way between them. All times are in nanoseconds."""

    elapsed: int = 5_000 * SECOND
    there: int = BEGIN
    machine: int = BEGIN
    out: int = SECOND // 1000
    """How long a question takes to the database, and the answer back."""
    back: int = SECOND // 1000
    is_available: bool = True
    drift: int = 0
    """By which the database's clock is fast, in millionths."""
    readings: int = 0
    clock: DatabaseClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = self.started()

    def started(self, pace: Pace = Pace()) -> DatabaseClock:  # noqa: B008
        return DatabaseClock(self.connection, pace=pace, machine=lambda: self.machine, elapsed=lambda: self.elapsed)

    def pass_by(self, nanoseconds: int) -> None:
        self.elapsed += nanoseconds
        self.there += nanoseconds + nanoseconds * self.drift // 10**6
        self.machine += nanoseconds

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["World"]:
        if not self.is_available:
            raise Unavailable("the database does not answer")
        yield self

    async def fetchval(self, statement: str) -> datetime:
        assert statement == "SELECT clock_timestamp()"
        self.readings += 1
        self.pass_by(self.out)
        there = EPOCH + timedelta(microseconds=self.there // 1000)
        self.pass_by(self.back)
        return there

    def off(self) -> int:
        """How far the clock is ahead of the database's."""
        return (self.clock.now() - EPOCH) // timedelta(microseconds=1) * 1000 - self.there


def run(world: World, clock: DatabaseClock, seconds: float) -> None:
    """Runs the reader for a time of the world: each of its pauses passes there and not here."""

    async def rest(pause: float) -> None:
        if world.elapsed >= end:
            raise asyncio.CancelledError
        world.pass_by(int(pause * SECOND))

    end = world.elapsed + int(seconds * SECOND)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(asyncio.CancelledError):
        patch.setattr("servicekit.clock._pause", rest)
        asyncio.run(clock.run())


# Readings

WAYS = st.integers(0, 3 * SECOND)
STEPS = st.one_of(
    st.tuples(st.just("pass"), st.integers(0, 200 * SECOND)),
    st.tuples(st.just("read"), st.tuples(WAYS, WAYS)),
    st.tuples(st.just("machine"), st.integers(-(10**6) * SECOND, 10**6 * SECOND)),
    st.tuples(st.just("away"), st.tuples(WAYS, WAYS)),
)


@given(st.tuples(WAYS, WAYS), st.integers(-499, 499), st.lists(STEPS, max_size=30))
@example((0, 3 * SECOND), 0, [("read", (2 * SECOND, 0)), ("pass", 0), ("read", (0, SECOND))])
async def test_clock_is_exact_to_half_a_round_trip_and_never_goes_back(
    first: tuple[int, int], drift: int, steps: list[tuple[str, object]]
) -> None:
    world = World(machine=BEGIN + 7200 * SECOND, drift=drift)
    best = sum(first) / 2 + sum(first) / 2000
    world.out, world.back = first
    assert await world.clock.read()
    latest = world.clock.now()
    for step, value in steps:
        if step == "pass" and isinstance(value, int):
            world.pass_by(value)
            best += value / 2000
        elif step == "machine" and isinstance(value, int):
            world.machine += value
        elif isinstance(value, tuple):
            world.out, world.back = value
            world.is_available = step == "read"
            passed = sum(value)
            assert await world.clock.read() is world.is_available
            best = min(best + passed / 2000, passed / 2 + passed / 2000) if world.is_available else best
            world.is_available = True
        # While it stands still for a correction it is ahead by the former error.
        now, error = world.clock.now(), world.clock.error
        assert now >= latest
        assert error is not None
        if now > latest:
            assert abs(world.off()) <= best + 2000
            assert error <= timedelta(microseconds=best // 1000 + 2)
        latest = now


@given(WAYS, WAYS)
async def test_first_reading_is_the_middle_of_its_round_trip(out: int, back: int) -> None:
    world = World(out=out, back=back)
    await world.clock.read()
    assert abs(world.off() - (out - back) // 2) <= 2000


async def test_less_exact_reading_changes_nothing() -> None:
    world = World()
    await world.clock.read()
    off = world.off()
    world.out = 3 * SECOND
    await world.clock.read()
    assert world.off() == off
    assert world.clock.error == timedelta(microseconds=2502)  # 1 ms, and the drift of 3.003 s


async def test_small_correction_back_makes_the_clock_stand_still() -> None:
    world = World()
    await world.clock.read()
    world.there -= SECOND * 9 // 10
    before = world.clock.now()
    await world.clock.read()
    seen = []
    for _ in range(10):
        seen.append(world.clock.now() - before)
        world.pass_by(SECOND // 5)
    assert seen == sorted(seen)
    assert seen.count(seen[0]) == 5  # 0.9 s
    assert abs(world.off()) <= 2000


@given(st.integers(-(10**9), 10**9).filter(lambda seconds: abs(seconds) > 1))
async def test_clock_follows_a_jump_of_the_database(seconds: int) -> None:
    world = World()
    await world.clock.read()
    world.clock.now()
    world.there += seconds * SECOND
    with capture_logs() as logs:
        await world.clock.read()
    assert abs(world.off()) <= 2000
    assert [line["seconds"] for line in logs if line["event"] == "clock.stepped"] == [pytest.approx(seconds, abs=0.01)]


# Without a reading, and the machine's clock


def test_before_the_first_reading_the_machine_decides_and_is_flagged() -> None:
    world = World(machine=BEGIN + 7200 * SECOND, is_available=False)
    with capture_logs() as logs:
        run(world, world.clock, 5)
    assert world.clock.now() == START + timedelta(hours=2, seconds=5)
    assert (world.clock.is_read, world.clock.difference, world.clock.error) == (False, None, None)
    assert logs == [
        {
            "event": "clock.not_read",
            "log_level": "warning",
            "used": "the machine's clock",
            "error": "the database does not answer",
        }
    ]
    world.is_available = True
    run(world, world.clock, 0)
    asyncio.run(world.clock.first_reading())
    assert world.clock.is_read
    assert abs(world.off()) <= 2000


async def test_without_the_database_the_last_reading_goes_on() -> None:
    world = World()
    await world.clock.read()
    world.is_available = False
    world.pass_by(3600 * SECOND)
    assert not await world.clock.read()
    assert abs(world.off()) <= 2000


@given(st.integers(-(10**9), 10**9))
async def test_difference_is_how_far_the_machine_is_ahead(seconds: int) -> None:
    world = World(out=0, back=0, machine=BEGIN + seconds * SECOND)
    await world.clock.read()
    assert world.clock.difference == timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "logged"), [(0, 0), (30, 0), (31, 1), (-30, 0), (-31, 1)])
def test_difference_beyond_30_seconds_is_logged_every_ten_minutes(seconds: int, logged: int) -> None:
    world = World(out=0, back=0, machine=BEGIN + seconds * SECOND)
    with capture_logs() as logs:
        run(world, world.clock, 599)
        assert [(line["event"], line["seconds"]) for line in logs] == [("clock.differs", seconds)] * logged
        run(world, world.clock, 10)
        world.machine = world.there
        run(world, world.clock, 10)
        world.machine += seconds * SECOND
        run(world, world.clock, 10)
    assert [line["seconds"] for line in logs if line["event"] == "clock.differs"] == [seconds] * 3 * logged


def test_machine_time_is_in_utc() -> None:
    assert abs(machine_time() - datetime.now(UTC)) < timedelta(minutes=1)


# When it is read


def test_clock_is_read_at_the_start_and_every_minute() -> None:
    world = World(out=0, back=0)
    run(world, world.clock, 0)
    assert world.readings == 1
    run(world, world.clock, 600)
    assert world.readings == 11


@pytest.mark.parametrize("jump", [-7200 * SECOND, -2 * SECOND, 2 * SECOND, 7200 * SECOND])
def test_clock_is_read_within_a_second_of_a_jump_of_the_machine(jump: int) -> None:
    world = World(out=0, back=0)
    run(world, world.clock, 10)
    world.machine += jump
    run(world, world.clock, 1)
    assert world.readings == 2
    run(world, world.clock, 10)
    assert world.readings == 2


def test_clock_is_read_after_the_process_stood_still() -> None:
    world = World(out=0, back=0)
    run(world, world.clock, 10)
    world.pass_by(20 * SECOND)
    run(world, world.clock, 0)
    assert world.readings == 2


def test_inexact_reading_is_repeated_soon_and_a_failed_one_at_once() -> None:
    world = World(out=SECOND, back=0)
    run(world, world.clock, 20)
    assert world.readings == 3
    world = World(is_available=False)
    run(world, world.clock, 5)
    world.is_available = True
    run(world, world.clock, 1)
    assert world.clock.is_read


def test_database_that_jumps_is_noticed_within_a_minute() -> None:
    world = World()
    run(world, world.clock, 10)
    world.there -= 7200 * SECOND
    run(world, world.clock, 60)
    assert abs(world.off()) <= SECOND // 1000


def test_pace_is_a_parameter() -> None:
    world = World(out=0, back=0)
    run(world, world.started(Pace(read_every=2, look_every=0.5)), 10)
    assert world.readings == 6
