"""Invitations: a facilitator holds seats for people by hand, and each person confirms by a link in a mail."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import UserId
from domain.errors import Conflict, NotFound
from domain.events import Event, EventId, EventStatus
from domain.ids import BookingId

InvitationId = NewType("InvitationId", UUID)

HELD_FOR = timedelta(hours=72)


class InvitationStatus(StrEnum):
    """`pending` until the person has `confirmed` or `declined`, the invitation has `expired`, or it was `withdrawn` by
    the facilitator or with the cancellation of the event."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class InvitationNotFound(NotFound):
    code = "invitation_not_found"
    message = "Invitation not found"


class InvitationOver(Conflict):
    code = "invitation_over"
    message = "The invitation was answered, or is no longer valid"


class AlreadyInvited(Conflict):
    code = "already_invited"
    message = "A seat is held for this address already"


class HasBooking(Conflict):
    code = "participant_has_booking"
    message = "There is a booking of this event with this address"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A seat of an event that is held for an address from the time the facilitator adds it. It does not reveal whether
    an account with that address exists; `booking_id` is set when the person has confirmed."""

    id: InvitationId
    event_id: EventId
    name: str
    email: str
    invited_by: UserId
    created_at: datetime
    expires_at: datetime
    status: InvitationStatus = InvitationStatus.PENDING
    answered_at: datetime | None = None
    booking_id: BookingId | None = None

    def require_open(self, event: Event, now: datetime) -> None:
        """Raises `InvitationOver` if it can no longer be confirmed."""
        ended = self.expires_at <= now or event.has_started(now)
        if ended or event.status is EventStatus.CANCELLED or not event.facilitator_active:
            raise InvitationOver
        self.require_pending()

    def require_pending(self) -> None:
        if self.status is not InvitationStatus.PENDING:
            raise InvitationOver

    def confirmed(self, now: datetime, booking_id: BookingId) -> "Invitation":
        return replace(self._ended(InvitationStatus.CONFIRMED, now), booking_id=booking_id)

    def declined(self, now: datetime) -> "Invitation":
        return self._ended(InvitationStatus.DECLINED, now)

    def expired(self, now: datetime) -> "Invitation":
        return self._ended(InvitationStatus.EXPIRED, now)

    def withdrawn(self, now: datetime) -> "Invitation":
        return self._ended(InvitationStatus.WITHDRAWN, now)

    def _ended(self, status: InvitationStatus, now: datetime) -> "Invitation":
        self.require_pending()
        return replace(self, status=status, answered_at=now)


def answer_until(now: datetime, starts_at: datetime) -> datetime:
    """The end of an invitation: 72 hours from now, or the start of the event if that is earlier."""
    return min(now + HELD_FOR, starts_at)
