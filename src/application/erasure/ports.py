"""Ports of the erasure of accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.accounts import UserId
from domain.erasure import Erasure, Identifiers
from domain.events import EventId
from domain.ids import AppointmentId, BookingId
from domain.invitations import InvitationId


class Erasures(Protocol):
    """Requested erasures, within a unit of work. The account must be locked."""

    async def add(self, user_id: UserId, now: datetime, *, due_at: datetime) -> Erasure:
        """There must be none."""
        ...

    async def find(self, user_id: UserId) -> Erasure | None: ...

    async def withdraw(self, user_id: UserId) -> None: ...

    async def begin(self, user_id: UserId, now: datetime) -> None:
        """Records the first attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Ahead:
    """What of a person is ahead: own bookings, appointments as client or coach, events as facilitator, invitations that
    wait for an answer."""

    bookings: Sequence[BookingId] = ()
    appointments: Sequence[AppointmentId] = ()
    events: Sequence[EventId] = ()
    invitations: Sequence[InvitationId] = ()

    def __bool__(self) -> bool:
        return bool(self.bookings or self.appointments or self.events or self.invitations)


class ErasureStore(Protocol):
    """All that is stored about a person, whichever tables hold it. Every method raises `Unavailable`."""

    async def list_due(self, now: datetime, *, limit: int) -> Sequence[UserId]:
        """Accounts whose erasure is due and not done, the oldest first."""
        ...

    async def find_ahead(self, user_id: UserId, now: datetime, *, limit: int) -> Ahead:
        """At most `limit` of each kind."""
        ...

    async def has_pending_messages(self, user_id: UserId) -> bool:
        """Whether a message to or about the person, or a refund to them, is still to be delivered. Mails about changes
        that wait for further ones do not count."""
        ...

    async def find_identifiers(self, user_id: UserId) -> Identifiers:
        """Present and former ones. Addresses of other accounts are left out."""
        ...

    async def erase(self, user_id: UserId, identifiers: Identifiers) -> bool:
        """Replaces or deletes all personal data in one transaction and enqueues the message that tells the CRM. Returns
        False if the account is erased already, or its erasure was withdrawn."""
        ...


class StoredMails(Protocol):
    """Mails that are kept as files, where there is no mail server."""

    async def delete_about(self, identifiers: Identifiers) -> int:
        """Deletes those to or about the person. Returns their number."""
        ...


class CalendarRemoval(Protocol):
    async def __call__(self, user_id: UserId, *, force: bool) -> bool:
        """Removes the entries in the calendars of an account and disconnects them. Returns False if a provider is
        unavailable and has to be called again; `force` disconnects it all the same."""
        ...
