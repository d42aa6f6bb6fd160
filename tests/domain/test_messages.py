"""When a message is tried again."""

from datetime import timedelta

import pytest

from domain.outbox import ALWAYS_SERVED, ROUTES, Destination, MessageType, RetrySchedule, routes_for

STANDARD = RetrySchedule(tuple(timedelta(seconds=s) for s in (0, 5, 300, 1800, 7200, 18000, 36000, 36000)))


def test_retry_delays_follow_the_schedule_and_then_end() -> None:
    delays = [STANDARD.next_delay(attempts, random_fraction=0.5) for attempts in range(1, 9)]
    assert delays == [*STANDARD.delays[1:], None]


@pytest.mark.parametrize(("random_fraction", "seconds"), [(0.0, 270), (0.5, 300), (0.999999, 330)])
def test_retry_delay_varies_by_ten_percent(random_fraction: float, seconds: float) -> None:
    delay = STANDARD.next_delay(2, random_fraction)
    assert delay is not None
    assert delay.total_seconds() == pytest.approx(seconds, abs=0.01)


def test_message_with_more_attempts_than_the_schedule_is_not_retried() -> None:
    assert STANDARD.next_delay(50, random_fraction=0.5) is None


def test_every_message_type_has_a_route_and_bookings_go_to_crm_and_email() -> None:
    assert set(ROUTES) == set(MessageType)
    assert all(routes_for(ALWAYS_SERVED).values())
    assert {Destination.CRM, Destination.EMAIL} <= set(ROUTES[MessageType.BOOKING_CREATED])


def test_destination_that_is_not_served_has_no_routes() -> None:
    assert Destination.NOTIFICATION in ROUTES[MessageType.BOOKING_CREATED]
    assert {each for destinations in routes_for(ALWAYS_SERVED).values() for each in destinations} == ALWAYS_SERVED
    assert routes_for(set(Destination)) == ROUTES
    assert not any(routes_for(()).values())
