"""An invitation is answered once, and has a time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.accounts import UserId
from domain.events import EventId, EventStatus
from domain.ids import BookingId
from domain.invitations import Invitation, InvitationId, InvitationOver, InvitationStatus, answer_until
from domain.time import Interval
from tests.domain.builders import NOW, an_event

LATER = NOW + timedelta(hours=1)
ANSWERS: dict[InvitationStatus, Callable[[Invitation], Invitation]] = {
    InvitationStatus.CONFIRMED: lambda old: old.confirmed(LATER, BookingId(5)),
    InvitationStatus.DECLINED: lambda old: old.declined(LATER),
    InvitationStatus.EXPIRED: lambda old: old.expired(LATER),
    InvitationStatus.WITHDRAWN: lambda old: old.withdrawn(LATER),
}


def an_invitation() -> Invitation:
    return Invitation(
        id=InvitationId(UUID(int=1)),
        event_id=EventId(1),
        name="Ada",
        email="ada@example.com",
        invited_by=UserId(2),
        created_at=NOW,
        expires_at=NOW + timedelta(hours=72),
    )


@pytest.mark.parametrize("status", ANSWERS)
def test_invitation_is_answered_once(status: InvitationStatus) -> None:
    answered = ANSWERS[status](an_invitation())
    assert (answered.status, answered.answered_at) == (status, LATER)
    assert answered.booking_id == (BookingId(5) if status is InvitationStatus.CONFIRMED else None)
    assert set(ANSWERS) == set(InvitationStatus) - {InvitationStatus.PENDING}
    for again in ANSWERS.values():
        with pytest.raises(InvitationOver):
            again(answered)


def test_invitation_can_be_confirmed_until_it_expires_or_the_event_starts() -> None:
    invitation, event = an_invitation(), an_event()
    instant = timedelta(microseconds=1)
    invitation.require_open(event, invitation.expires_at - instant)
    soon = an_event(interval=Interval(LATER, LATER + timedelta(hours=1)))
    invitation.require_open(soon, LATER - instant)
    closed: list[tuple[Any, Any]] = [
        (event, invitation.expires_at),
        (soon, LATER),
        (an_event(status=EventStatus.CANCELLED), NOW),
        (an_event(facilitator_active=False), NOW),
    ]
    for of_event, now in closed:
        with pytest.raises(InvitationOver):
            invitation.require_open(of_event, now)


def test_answer_is_possible_for_72_hours_or_until_the_start() -> None:
    assert answer_until(NOW, NOW + timedelta(hours=73)) == NOW + timedelta(hours=72)
    assert answer_until(NOW, LATER) == LATER
