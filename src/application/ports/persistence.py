"""What the core remembers. One unit of work is one transaction; what is not committed never happened."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from application.ports.attachments import Attachments
from application.ports.calendars import Connections
from application.ports.coaching import Coaches, Coachings
from application.ports.idempotency import Made
from application.ports.invitations import Invitations
from application.ports.ledger import GatewayEvents, Payments, Refund, RefundRecords
from application.ports.payments import GatewayEvent
from application.ports.reminders import Reminders
from domain.access import Credential
from domain.bookings import Booking, BookingId, BookingStatus
from domain.calendars import ConnectionId
from domain.coaching import CoachingId
from domain.events import Event, EventId, EventPlan
from domain.identities import GoogleIdentity
from domain.invitations import InvitationId
from domain.messages import Fact
from domain.money import Money
from domain.participants import ParticipantMessage
from domain.payments import Payment, PaymentId, PaymentStatus
from domain.refunds import RefundPolicy
from domain.reviews import Review, ReviewId
from domain.times import Interval
from domain.users import LoginId, Role, User, UserId


@dataclass(frozen=True, slots=True)
class Credentials:
    user: User
    password_hash: str | None


class Users(Protocol):
    async def add(
        self,
        *,
        email: str,
        name: str,
        role: Role,
        password_hash: str,
        now: datetime,
        requested_role: Role | None = None,
    ) -> User:
        """Raises `EmailTaken`."""
        ...

    async def add_from_google(self, identity: GoogleIdentity, *, email: str, name: str, now: datetime) -> User:
        """An account without a password. Raises `EmailTaken`, `GoogleAccountTaken`."""
        ...

    async def add_without_password(self, *, email: str, name: str, now: datetime) -> User:
        """An account of role `user` whose address is proven. Raises `EmailTaken`."""
        ...

    async def get(self, user_id: UserId) -> User:
        """Raises `UserNotFound`."""
        ...

    async def get_locked(self, user_id: UserId) -> User:
        """As `get`, and nobody else changes the account until the unit of work ends: for whoever will `save` it, or
        relies on its not being deactivated meanwhile. Lock the account before its logins."""
        ...

    async def find_by_google_id(self, google_id: str) -> User | None:
        """Locked as by `get_locked`."""
        ...

    async def find_credentials(self, email: str) -> Credentials | None: ...

    async def save(self, user: User) -> None:
        """Raises `GoogleAccountTaken`."""
        ...

    async def set_password(self, user_id: UserId, password_hash: str | None) -> None:
        """None: nobody logs in by password any more."""
        ...


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A stored refresh token. The tokens of one login are a family: each is the successor of the one before."""

    login_id: LoginId
    user_id: UserId
    expires_at: datetime
    is_retired: bool
    login_is_over: bool


class Logins(Protocol):
    async def start(self, user_id: UserId, now: datetime) -> LoginId: ...

    async def end(self, login_id: LoginId, now: datetime, *, reason: str) -> None: ...

    async def add_refresh(self, login_id: LoginId, fingerprint: bytes, expires_at: datetime) -> None: ...

    async def find_refresh(self, fingerprint: bytes) -> RefreshToken | None:
        """Locked until the unit of work ends: of many who refresh with one token, one goes first."""
        ...

    async def retire_refresh(self, fingerprint: bytes, now: datetime) -> None: ...


class Access(Protocol):
    """All credentials of an account, whichever tables hold them."""

    async def revoke(self, user_id: UserId, credentials: Collection[Credential], now: datetime, *, reason: str) -> None:
        """Ends those of these kinds. The account is locked, and those who create one lock it, too."""
        ...


class LoginNetworks(Protocol):
    """Networks from which accounts have logged in, each as a fingerprint."""

    async def remember(self, user_id: UserId, network: bytes, now: datetime, *, since: datetime, at_most: int) -> None:
        """Forgets the account's others that are older than `since` or more than `at_most` in all, the oldest first."""
        ...


class Events(Protocol):
    async def add(self, facilitator_id: UserId, plan: EventPlan, now: datetime) -> Event: ...

    async def get(self, event_id: EventId) -> Event:
        """Locked until the unit of work ends. Raises `EventNotFound`."""
        ...

    async def get_even_hidden(self, event_id: EventId) -> Event:
        """As `get`, but a deleted event is found too: its bookings live on."""
        ...

    async def save(self, event: Event) -> None: ...

    async def count_change(self, event_id: EventId) -> None:
        """Grows the version of an event whose bookings' calendar entries change, without any other change of it."""
        ...

    async def hide(self, event_id: EventId, now: datetime) -> None: ...

    async def set_facilitator_active(self, facilitator_id: UserId, *, active: bool) -> None:
        """In each of their events; waits for bookings that are being made. The account is locked."""
        ...


class Bookings(Protocol):
    async def find_event_id(self, booking_id: BookingId) -> EventId | None:
        """Which event a booking is for. Who changes both locks the event first, so that no two wait for each other."""
        ...

    async def get(self, booking_id: BookingId) -> Booking:
        """Locked until the unit of work ends. Raises `BookingNotFound`."""
        ...

    async def save(self, booking: Booking) -> None: ...

    async def free_place(self, event_id: EventId) -> None: ...

    async def take_place(self, event_id: EventId) -> None:
        """One more live booking; the event is locked and the rule was asked."""
        ...

    async def add_invited(self, event_id: EventId, user_id: UserId, now: datetime) -> BookingId:
        """A booking, free of charge, whose seat is taken already. The event is locked, and the person has no live
        booking of it."""
        ...

    async def complete_ended(self, now: datetime, *, limit: int) -> Sequence[EventId]:
        """Completes the confirmed bookings of events that have ended, of no more than so many events, and answers
        which. An event whose places are still held for a payment waits until those are given up; what others are
        just completing is left out."""
        ...

    async def end_holds(self, facilitator_id: UserId, now: datetime) -> None:
        """The holds of unpaid seats in this facilitator's events end now; `ExpireHolds` gives the seats up."""
        ...

    async def cancel_all(self, event_id: EventId, now: datetime, *, by: UserId) -> int:
        """Cancels every live booking of the event; answers how many."""
        ...

    async def keep_policy(self, event_id: EventId, policy: RefundPolicy) -> None:
        """Before the event gets another refund policy: stores its present one with the bookings that have none of their
        own yet, those made before bookings stored it."""
        ...

    async def shorten_holds(self, event_id: EventId, starts_at: datetime) -> None:
        """No unpaid booking of the event holds its seat beyond the start."""
        ...


class Profiles(Protocol):
    """What facilitators say about themselves."""

    async def add(self, user_id: UserId, *, bio: str | None, specialization: str | None) -> None:
        """Does nothing for somebody who has one."""
        ...


class Reviews(Protocol):
    async def has_place(self, event_id: EventId, user_id: UserId) -> bool: ...

    async def add(self, review: Review, *, facilitator_id: UserId) -> ReviewId:
        """Raises `AlreadyReviewed`."""
        ...


class Messages(Protocol):
    """Writes what is owed, with the state of this very transaction."""

    async def owe_for_booking(
        self, fact: Fact, booking_id: BookingId, *, reason: str | None = None, money: Money | None = None
    ) -> None: ...

    async def owe_for_bookings_of(
        self,
        fact: Fact,
        event_id: EventId,
        *,
        status: BookingStatus = BookingStatus.CONFIRMED,
        cancelled_at: datetime | None = None,
        reason: str | None = None,
        before: EventPlan | None = None,
    ) -> None:
        """For every booking of the event with that status, or for every one that was cancelled at that very moment.
        `before` is the event's plan before it changed, where the message is about that."""
        ...

    async def owe_for_participants(self, event_id: EventId, message: ParticipantMessage) -> int:
        """Enqueues a mail to each confirmed participant of the event; answers how many there are."""
        ...

    async def owe_facilitator_approved(self, user_id: UserId) -> None:
        """Enqueues the mail to the person who is a facilitator now."""
        ...

    async def owe_invitation(self, invitation_id: InvitationId) -> None:
        """Enqueues the mail that asks the person to confirm."""
        ...

    async def owe_for_event(self, fact: Fact, event_id: EventId) -> None: ...

    async def owe_for_coaching(
        self,
        fact: Fact,
        coaching_id: CoachingId,
        *,
        before: Interval | None = None,
        reason: str | None = None,
        money: Money | None = None,
    ) -> None:
        """`before`: when the session was to be, where it was moved."""
        ...

    async def owe_calendars_of(self, coaching_id: CoachingId) -> None:
        """Every calendar that the client or the coach has connected is owed the booking as it is now."""
        ...

    async def owe_calendars_for(self, user_id: UserId) -> None:
        """A person's connected calendars are owed every booking of theirs that is still ahead."""
        ...

    async def owe_calendar_revoked(self, connection_id: ConnectionId) -> None:
        """Its owner is owed a word that they have to connect it again."""
        ...

    async def owe_checkout_end(self, payment: Payment) -> None:
        """The gateway is owed that the checkout be closed."""
        ...

    async def owe_checkout_ends_of(self, event_id: EventId) -> None:
        """The same for every live, unpaid booking of the event."""
        ...

    async def owe_refunds(self, refunds: Sequence[Refund]) -> None: ...

    async def owe_gateway_event(self, gateway: str, event: GatewayEvent) -> None:
        """The worker is owed that a webhook be applied."""
        ...


class UnitOfWork(Protocol):
    """Rolls back unless `commit` was reached."""

    users: Users
    logins: Logins
    access: Access
    login_networks: LoginNetworks
    events: Events
    bookings: Bookings
    invitations: Invitations
    profiles: Profiles
    reviews: Reviews
    payments: Payments
    refunds: RefundRecords
    gateway_events: GatewayEvents
    coaches: Coaches
    coachings: Coachings
    attachments: Attachments
    reminders: Reminders
    calendars: Connections
    messages: Messages

    async def commit(self, made: Made | None = None) -> None:
        """`made` names what was made, for whoever asks again with the same idempotency key after this process died:
        see `made_before`. Raises `IdempotencyKeyInUse` when another process carries the request out instead."""
        ...


class OpenUnitOfWork(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]: ...


@dataclass(frozen=True, slots=True)
class PlacedBooking:
    """A booking as it was just made, with what its maker wants to see of it."""

    id: BookingId
    reference: str
    payment_status: PaymentStatus
    payment_id: PaymentId | None
    notes: str | None
    created_at: datetime
    user_id: UserId
    user_name: str
    user_email: str
    event_id: EventId
    event_title: str
    facilitator_id: UserId
    price: Decimal
    currency: str
    hold_until: datetime | None


class Places(Protocol):
    """The scarce thing itself. `take` is one atomic step, whatever else happens at the same time."""

    async def take(
        self,
        *,
        event_id: EventId,
        user_id: UserId,
        notes: str | None,
        now: datetime,
        hold_for: timedelta | None,
        request_id: str | None,
        unpaid_at_most: int | None = None,
    ) -> PlacedBooking | None:
        """The booking, its payment and what it owes the world, all or nothing; None when there was no place to take, or
        when the person has `unpaid_at_most` unpaid holds already and this would be another.
        `hold_for`: how long an unpaid place is held at most; None where people pay on the spot.

        Raises `AlreadyBooked` when the person's own booking of the same event won the race.
        """
        ...

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        """The event as it is now, and whether this person has a live booking of it; for saying why not."""
        ...

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        """The seats and appointments that are held for this person until they pay; a recurring booking counts once."""
        ...

    async def keep_checkout(self, payment_id: PaymentId, order_id: str, url: str) -> None: ...

    async def keep_return_url(self, booking_ids: Sequence[BookingId | CoachingId], return_url: str) -> None:
        """Where the buyer goes after the checkout of each of these bookings."""
        ...
