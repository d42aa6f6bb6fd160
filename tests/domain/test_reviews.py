"""Who may review an event, and what a review may say."""

from datetime import timedelta

import pytest

from domain.accounts import UserId
from domain.errors import DomainError, Invalid
from domain.events import EventId
from domain.reviews import DidNotAttend, EventNotOver, Review, require_attendance
from tests.domain.builders import NOW


def test_participant_can_review_after_the_event_ends() -> None:
    require_attendance(ended_at=NOW, now=NOW, has_booking=True, is_host=False)


@pytest.mark.parametrize(
    ("ended_ago", "has_booking", "is_host", "refusal"),
    [
        (timedelta(microseconds=-1), True, False, EventNotOver),
        (timedelta(microseconds=-1), False, False, EventNotOver),
        (timedelta(0), False, False, DidNotAttend),
        (timedelta(0), True, True, DidNotAttend),
    ],
)
def test_others_cannot_review(
    ended_ago: timedelta, has_booking: bool, is_host: bool, refusal: type[DomainError]
) -> None:
    with pytest.raises(refusal):
        require_attendance(ended_at=NOW - ended_ago, now=NOW, has_booking=has_booking, is_host=is_host)


@pytest.mark.parametrize("rating", [0, 6, -1])
def test_rating_outside_1_to_5_is_rejected(rating: int) -> None:
    with pytest.raises(Invalid) as rejected:
        Review(EventId(1), UserId(1), rating, None, NOW)
    assert rejected.value.details == {"rating": "Must be a whole number from 1 to 5"}


def test_blank_comment_is_stored_as_none() -> None:
    assert Review(EventId(1), UserId(1), 5, "  \n ", NOW).comment is None
