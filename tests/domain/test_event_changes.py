"""Each transition of an event records what changed, and each kind of change has its effects."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.accounts import UserId
from domain.event_effects import EFFECTS
from domain.events import MAX_CAPACITY, Event, EventChange, EventStatus
from domain.money import Money
from domain.refunds import RefundPolicy, RefundTier
from domain.time import Interval
from tests.domain.builders import NOW, an_event, an_interval

FACILITATOR = UserId(2)
DAY = timedelta(days=1)
POLICY = RefundPolicy((RefundTier(24, 50),))


def details(**changes: Any) -> Callable[[Event], Event]:
    return lambda old: old.with_details(replace(old.details, **changes), NOW)


def interval(*, later: timedelta = timedelta(0), longer: timedelta = timedelta(0)) -> Callable[[Event], Event]:
    def changed(old: Event) -> Event:
        starts_at, ends_at = old.details.interval.starts_at + later, old.details.interval.ends_at + later + longer
        return old.with_details(replace(old.details, interval=Interval(starts_at, ends_at)), NOW)

    return changed


TRANSITIONS: dict[str, tuple[list[EventChange], Callable[[Event], Event]]] = {
    "created": ([EventChange.CREATED], lambda old: old.created()),
    "other_price": ([EventChange.EDITED], details(price=Money(Decimal(40), "INR"))),
    "other_capacity": ([EventChange.EDITED], details(capacity=20)),
    "other_policy": ([EventChange.POLICY_CHANGED, EventChange.EDITED], details(refund_policy=POLICY)),
    "other_title": ([EventChange.RENAMED], details(title="Yin")),
    "other_link": ([EventChange.RENAMED], details(virtual_link="https://meet.example.com/7")),
    "other_place": ([EventChange.RESCHEDULED], details(location="Hall 2")),
    "other_end": ([EventChange.RESCHEDULED], interval(longer=DAY)),
    "other_start": ([EventChange.MOVED], interval(later=DAY)),
    "other_policy_and_title": (
        [EventChange.POLICY_CHANGED, EventChange.RENAMED],
        details(refund_policy=POLICY, title="Yin"),
    ),
    "other_title_afterwards": ([EventChange.CORRECTED], details(title="Yin")),
    "other_place_afterwards": ([EventChange.CORRECTED], details(location="Hall 2")),
    "cancelled": ([EventChange.CANCELLED], lambda old: old.cancelled(NOW, by=FACILITATOR)),
    "deleted": ([EventChange.DELETED], lambda old: old.deleted(NOW, by=FACILITATOR)),
    "cancelled_and_deleted": (
        [EventChange.CANCELLED, EventChange.DELETED],
        lambda old: old.cancelled(NOW, by=FACILITATOR).deleted(NOW, by=FACILITATOR),
    ),
}


def before(transition: str) -> Event:
    starts_in = -DAY if transition.endswith("afterwards") else 7 * DAY
    return an_event(interval=an_interval(starts_in=starts_in))


def test_every_method_that_returns_an_event_is_a_transition() -> None:
    public = {name: each for name, each in inspect.getmembers(Event, inspect.isfunction) if name[0] != "_"}
    changing = {name for name, each in public.items() if "Event" in str(each.__annotations__.get("return"))}
    assert changing == {"created", "with_details", "cancelled", "deleted"}


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_transition_records_its_changes(transition: str) -> None:
    changes, apply = TRANSITIONS[transition]
    old = before(transition)
    new = apply(old)
    assert [event.change for event in new.events] == changes
    assert new.events[-1].after == new
    assert new.events[0].before == (None if transition == "created" else old)
    assert {event.takes_time for event in new.events} == {transition in {"created", "other_end", "other_start"}}


def test_unchanged_details_record_nothing() -> None:
    event = an_event()
    assert event.with_details(event.details, NOW).events == ()


def test_new_time_or_location_is_the_reason_of_the_messages() -> None:
    reasons = {name: apply(before(name)).events[-1].reason for name, (_, apply) in TRANSITIONS.items()}
    assert {name for name, reason in reasons.items() if reason == "rescheduled"} == {
        "other_place",
        "other_end",
        "other_start",
        "other_place_afterwards",
    }


def test_every_change_has_its_effects_and_a_transition() -> None:
    of_transitions = {change for changes, _ in TRANSITIONS.values() for change in changes}
    assert set(EFFECTS) == set(EventChange) == of_transitions | {EventChange.COMPLETED}


AT = NOW + timedelta(hours=1)


def test_cancelled_event_has_no_bookings_and_a_new_version() -> None:
    old = an_event(booked=3)
    new = old.cancelled(AT, by=FACILITATOR)
    changed: dict[str, Any] = {
        "status": EventStatus.CANCELLED,
        "booked": 0,
        "version": 2,
        "revision": 1,
        "updated_at": AT,
    }
    assert new == replace(old, **changed)
    (event,) = new.events
    assert (event.at, event.by, event.reason) == (AT, FACILITATOR, None)


def test_deleted_event_has_the_time_and_the_account() -> None:
    old = an_event(booked=3)
    new = old.deleted(AT, by=FACILITATOR)
    assert new == replace(old, deleted_at=AT)
    (event,) = new.events
    assert (event.at, event.by) == (AT, FACILITATOR)


def test_created_event_is_by_its_facilitator() -> None:
    (event,) = an_event().created().events
    assert (event.at, event.by) == (an_event().created_at, FACILITATOR)


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"price": Money(Decimal(40), "INR")}, (2, 0, 0)),
        ({"title": "Yin"}, (2, 1, 0)),
        ({"location": "Hall 2"}, (2, 1, 1)),
    ],
)
def test_versions_count_the_changes(change: dict[str, Any], counted: tuple[int, int, int]) -> None:
    old = an_event()
    new = old.with_details(replace(old.details, **change), AT)
    assert (new.version, new.revision, new.schedule_revision, new.updated_at) == (*counted, AT)
    assert {event.at for event in new.events} == {AT}


def test_capacity_is_at_most_a_million() -> None:
    assert MAX_CAPACITY == 1_000_000
    assert an_event(capacity=MAX_CAPACITY).details.capacity == MAX_CAPACITY


def test_recorded_changes_have_no_changes_of_their_own() -> None:
    """Each would hold all changes before it."""
    event = an_event().with_details(replace(an_event().details, title="Other"), NOW).cancelled(NOW, by=FACILITATOR)
    recorded = [state for each in event.events for state in (each.before, each.after) if state is not None]
    assert [state.events for state in recorded] == [()] * 4
