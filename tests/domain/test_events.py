from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.accounts import Role, UserId
from domain.errors import DomainError, Invalid
from domain.events import (
    AlreadyBooked,
    CapacityBelowBookings,
    CurrencyOfBookings,
    EventCancelled,
    EventForbidden,
    EventFull,
    EventNotFound,
    EventStarted,
    EventStatus,
)
from domain.money import Money
from domain.time import Interval
from tests.domain.builders import NOW, a_plan, a_user, an_event, an_interval

BEGUN = an_interval(starts_in=timedelta(0))


# Who can book


def test_free_seat_in_a_future_event_can_be_booked() -> None:
    an_event(booked=9, capacity=10).refuse_booking(NOW, already_booked=False)


@pytest.mark.parametrize(
    ("reason", "event", "already_booked"),
    [
        (EventFull, an_event(booked=10, capacity=10), False),
        (AlreadyBooked, an_event(), True),
        (EventStarted, an_event(interval=BEGUN), False),
        (EventCancelled, an_event(status=EventStatus.CANCELLED), False),
        (EventNotFound, an_event(facilitator_active=False), False),
        # Of several reasons the most permanent one is reported.
        (AlreadyBooked, an_event(booked=10, capacity=10), True),
        (EventStarted, an_event(booked=10, capacity=10, interval=BEGUN), True),
        (EventCancelled, an_event(booked=10, capacity=10, interval=BEGUN, status=EventStatus.CANCELLED), True),
        (EventNotFound, an_event(facilitator_active=False, status=EventStatus.CANCELLED), True),
    ],
)
def test_each_reason_against_a_booking_has_its_own_error(
    reason: type[DomainError], event: object, already_booked: bool
) -> None:
    with pytest.raises(reason):
        event.refuse_booking(NOW, already_booked=already_booked)  # type: ignore[attr-defined]


def test_event_can_be_booked_until_it_starts() -> None:
    event = an_event(interval=an_interval(starts_in=timedelta(microseconds=1)))
    event.refuse_booking(NOW, already_booked=False)
    with pytest.raises(EventStarted):
        event.refuse_booking(NOW + timedelta(microseconds=1), already_booked=False)


# Who manages it


def test_event_is_managed_by_its_facilitator_and_admins() -> None:
    event = an_event()
    event.require_manager(a_user(2, Role.FACILITATOR))
    event.require_manager(a_user(9, Role.ADMIN))
    for stranger in (a_user(3, Role.FACILITATOR), a_user(2, Role.USER), a_user(3)):
        with pytest.raises(EventForbidden):
            event.require_manager(stranger)


# Plans


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "t" * 201}, "title"),
        ({"description": "d" * 10_001}, "description"),
        ({"category": "c" * 81}, "category"),
        ({"location": "l\x1b"}, "location"),
        ({"virtual_link": "javascript:alert(1)"}, "virtual_link"),
        ({"virtual_link": "ftp://example.com"}, "virtual_link"),
        ({"capacity": 0}, "max_participants"),
        ({"capacity": 1_000_001}, "max_participants"),
    ],
)
def test_invalid_event_details_are_rejected(change: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_plan(**change).entered()
    assert refused.value.details.keys() == {field}


STORED: dict[str, Any] = {
    "title": "Yo\u202ega",
    "description": "\u200b",
    "category": "\u0301",
    "location": "\ue000",
    "virtual_link": "https://u@example.com",
}


@pytest.mark.parametrize("field", STORED)
def test_stored_text_that_is_now_invalid_stays_until_it_is_changed(field: str) -> None:
    event = an_event(**STORED)
    assert event.with_details(a_plan(**STORED, capacity=20), NOW).details == a_plan(**STORED, capacity=20)
    changed = event.with_details(a_plan(**STORED | {field: "https://example.com"}), NOW).details
    assert changed == a_plan(**STORED | {field: "https://example.com"})
    with pytest.raises(Invalid) as refused:
        event.with_details(a_plan(**STORED | {field: STORED[field] + "\u202e"}), NOW)
    assert refused.value.details.keys() == {field}


def test_stored_dates_out_of_range_stay_until_they_are_changed() -> None:
    old = Interval(datetime(1960, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC))
    stored = a_plan(interval=old)
    assert a_plan(interval=old, title="Other").entered(stored).interval == old
    for changed, field in (
        (replace(old, starts_at=datetime(1961, 1, 1, tzinfo=UTC)), "start_datetime"),
        (replace(old, ends_at=datetime(2151, 1, 1, tzinfo=UTC)), "end_datetime"),
    ):
        with pytest.raises(Invalid) as refused:
            a_plan(interval=changed).entered(stored)
        assert refused.value.details.keys() == {field}


def test_event_details_are_normalised() -> None:
    details = a_plan(title="  Yoga ", category="", location="  ", virtual_link="").entered()
    assert (details.title, details.category, details.location, details.virtual_link) == ("Yoga", None, None, None)


@pytest.mark.parametrize(
    ("change", "visible"),
    [
        ({}, False),
        ({"title": "Other"}, True),
        ({"price": Money(Decimal(30), "INR")}, False),
        ({"capacity": 20}, False),
        ({"description": "Other"}, False),
        ({"location": "Studio B"}, True),
        ({"virtual_link": "https://example.com/x"}, True),
        ({"interval": an_interval(starts_in=timedelta(days=8))}, True),
        ({"interval": an_interval(lasts=timedelta(hours=2))}, True),
    ],
)
def test_only_changes_of_title_time_location_or_link_raise_the_revision(
    change: dict[str, object], visible: bool
) -> None:
    event = an_event()
    with_details = event.with_details(a_plan(**change), NOW)
    assert with_details.version == event.version + bool(change)
    assert with_details.updated_at == (NOW if change else None)
    assert with_details.revision == event.revision + visible


def test_capacity_cannot_fall_below_the_number_of_bookings() -> None:
    event = an_event(booked=3)
    assert event.with_details(a_plan(capacity=3), NOW).details.capacity == 3
    with pytest.raises(CapacityBelowBookings):
        event.with_details(a_plan(capacity=2), NOW)


def test_currency_is_fixed_once_there_are_bookings() -> None:
    euros = a_plan(price=Money(Decimal(25), "EUR"))
    assert an_event().with_details(euros, NOW).details.price.currency == "EUR"
    with pytest.raises(CurrencyOfBookings):
        an_event(booked=1).with_details(euros, NOW)


def test_event_cannot_be_moved_into_the_past_or_after_its_start() -> None:
    with pytest.raises(Invalid) as refused:
        an_event().with_details(a_plan(interval=BEGUN), NOW)
    assert refused.value.details.keys() == {"start_datetime"}
    begun = an_event(interval=BEGUN)
    with pytest.raises(EventStarted):
        begun.with_details(a_plan(), NOW)
    assert begun.with_details(a_plan(interval=BEGUN, title="Other"), NOW).details.title == "Other"


def test_cancelled_event_cannot_be_changed() -> None:
    cancelled = an_event(booked=3).cancelled(NOW, by=UserId(2))
    assert (cancelled.status, cancelled.booked, cancelled.version, cancelled.revision) == (
        EventStatus.CANCELLED,
        0,
        2,
        1,
    )
    with pytest.raises(EventCancelled):
        cancelled.cancelled(NOW, by=UserId(2))
    with pytest.raises(EventCancelled):
        cancelled.with_details(a_plan(title="Other"), NOW)


def test_events_are_compared_by_value() -> None:
    assert an_event() == an_event()
    assert replace(an_event(), booked=1) != an_event()
