"""Seats that are held for people whom a facilitator added by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.ports.pages import Page, PageRequest
from domain.events import EventId
from domain.invitations import Invitation, InvitationId
from domain.users import UserId


class Invitations(Protocol):
    """Within a unit of work. The event is locked before its invitations."""

    async def add(
        self, event_id: EventId, *, name: str, email: str, by: UserId, now: datetime, expires_at: datetime
    ) -> Invitation: ...

    async def find_event_id(self, invitation_id: InvitationId) -> EventId:
        """Raises `InvitationNotFound`."""
        ...

    async def get(self, invitation_id: InvitationId) -> Invitation:
        """Locked until the unit of work ends. Raises `InvitationNotFound`."""
        ...

    async def has_pending(self, event_id: EventId, email: str) -> bool: ...

    async def has_booking(self, event_id: EventId, email: str) -> bool:
        """Whether there is a live booking of the event by an account with that address."""
        ...

    async def save(self, invitation: Invitation) -> None: ...

    async def withdraw_all(self, event_id: EventId, now: datetime) -> None:
        """All pending invitations to the event, which was cancelled."""
        ...

    async def find_expired(self, now: datetime, *, limit: int) -> Sequence[InvitationId]:
        """Pending invitations whose time to answer is over, or whose event has started."""
        ...


@dataclass(frozen=True, slots=True)
class ShownInvitation:
    """An invitation with what the invited person needs to decide."""

    invitation: Invitation
    is_open: bool
    title: str
    starts_at: datetime
    ends_at: datetime
    location: str | None
    facilitator_name: str


class InvitationReader(Protocol):
    async def show(self, invitation_id: InvitationId, now: datetime) -> ShownInvitation:
        """Raises `InvitationNotFound`."""
        ...

    async def list_of_event(self, event_id: EventId, page: PageRequest) -> Page[Invitation]:
        """The newest first."""
        ...


class InvitationTokens(Protocol):
    """The secret in the link of an invitation. It is derived and stored nowhere."""

    def token(self, invitation_id: InvitationId) -> str: ...

    def read(self, token: str) -> InvitationId:
        """Raises `InvitationNotFound` for a token that was not derived here."""
        ...
