"""The rows and the requests of the measurement of growth. Nothing is measured."""

from datetime import UTC, datetime, timedelta

import pytest

from bench.__main__ import parser
from bench.growth import rows
from bench.growth.reads import CRM_READS, LIMIT, READS, bytes_of
from bench.growth.rows import BOOKING_TABLES, CRM_TABLES, MEMBER, REGULAR, Size
from bench.growth.run import SMALL

SIZE = Size(SMALL, datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize("table", [*BOOKING_TABLES, *CRM_TABLES])
def test_rows_have_a_value_for_each_column(table: str) -> None:
    columns, made = {**BOOKING_TABLES, **CRM_TABLES}[table]
    assert {len(row) for row in made(SIZE)} == {len(columns.split(", "))}


@pytest.mark.parametrize("bookings", [SMALL, 20 * SMALL])
def test_bookings_are_possible(bookings: int) -> None:
    size = Size(bookings, SIZE.now)
    made = list(rows.bookings(size))
    live = [row[1:3] for row in made if row[3] != "cancelled"]
    assert len(live) == len(set(live))
    assert {row[2] for row in made} <= set(range(MEMBER, MEMBER + size.members))
    owners = {row[0]: row[1] for row in rows.events(size)}
    assert all(row[9] == owners[row[1]] for row in made)


def test_pages_of_the_small_database_are_full() -> None:
    ahead = [row for row in rows.events(SIZE) if row[12] is None]
    cancelled = [row for row in rows.events(SIZE) if row[11] == "cancelled"]
    assert len([row for row in cancelled if row[5] == "yoga"]) >= LIMIT
    assert len([row for row in ahead if row[1] == 1 and row[11] == "active"]) >= LIMIT
    for column, value in ((2, MEMBER), (1, SIZE.events), (9, 1)):
        assert len([row for row in rows.bookings(SIZE) if row[column] == value]) >= LIMIT


@pytest.mark.parametrize("bookings", [SMALL, 20 * SMALL])
def test_calendar_of_the_regular_facilitator_does_not_grow(bookings: int) -> None:
    size = Size(bookings, SIZE.now)
    since = size.now - timedelta(days=90)
    events = [row[7] for row in rows.events(size) if row[1] == REGULAR]
    appointments = [row[3] for row in rows.appointments(size) if row[1] == REGULAR]
    recent = [[at for at in each if isinstance(at, datetime) and at > since] for each in (events, appointments)]
    assert [len(each) for each in recent] == [50, 50]
    assert (len(events), len(appointments)) == (50 + size.events // 10, 50 + size.appointments // 10)


def test_every_list_is_asked_for_pages_of_the_same_size() -> None:
    ids = {"coach": "3f", "client": "4e", "regular": "5d"}
    single = {"one event", "one booking", "dashboard", "free slots of a coach", "calendar feed"}
    for name, path in [*((name, path) for name, (path, _) in READS.items()), *CRM_READS.items()]:
        content = bytes_of(path, SIZE, ids, token=None)
        assert (f"limit={LIMIT}".encode() in content) is (name not in single), name


def test_size_of_the_large_database_is_an_option() -> None:
    assert parser().parse_args(["growth"]).bookings == 1_000_000
    assert parser().parse_args(["growth", "--bookings", "5000"]).bookings == 5_000
