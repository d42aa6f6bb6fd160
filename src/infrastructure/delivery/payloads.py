"""Typed payloads of messages about events and bookings.

Raises `msgspec.ValidationError` for a payload of another shape.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from domain.bookings import shows_join_link
from domain.money import exponent
from domain.outbox import Message
from servicekit.date_range import in_zone
from servicekit.links import usable_link
from servicekit.text import clean_line, without_invisible

_LONGEST_ID = 255
"""Characters of a gateway's payment id; those of Stripe have at most 255."""


def make_readable(record: msgspec.Struct, texts: Sequence[str], link: str | None = None) -> None:
    """Removes invisible characters from the named texts, and a link that is not a web address. Data that is older than
    these rules may have both."""
    for name in texts:
        if (text := getattr(record, name)) is not None:
            msgspec.structs.force_setattr(record, name, without_invisible(text))
    if link is not None:
        msgspec.structs.force_setattr(record, link, usable_link(getattr(record, link)))


class Person(msgspec.Struct, frozen=True):
    id: int
    name: str
    email: str
    timezone: str | None = None
    """IANA name of the time zone of times in mails; None means UTC."""

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class FacilitatorPayload(Person, frozen=True):
    """`mail_limited`: mail to the address is limited, so the CRM sends none. Older messages have neither."""

    is_verified: bool | None = None
    mail_limited: bool = False


class BookingPayload(msgspec.Struct, frozen=True):
    id: int
    reference: str
    status: str
    payment_status: str
    notes: str | None
    hold_until: datetime | None = None
    """Deadline of an unpaid seat."""
    uid: str | None = None
    """The UID of its calendar entry. Older messages have none."""
    cancelled_at: datetime | None = None
    price: Decimal | None = None
    currency: str | None = None
    """Price and currency at the time of booking. Older messages have neither."""
    dispute: str | None = None

    @property
    def awaits_payment(self) -> bool:
        """Whether the seat is held for a payment."""
        return self.hold_until is not None and self.payment_status in {"pending", "failed"}

    def __post_init__(self) -> None:
        make_readable(self, ["notes"])


class EventPayload(msgspec.Struct, frozen=True):
    id: int
    title: str
    description: str
    starts_at: datetime
    ends_at: datetime
    location: str | None
    virtual_link: str | None
    capacity: int
    booked: int
    price: Decimal
    currency: str
    status: str
    revision: int
    version: int

    def __post_init__(self) -> None:
        make_readable(self, ["title", "description", "location"], "virtual_link")

    @property
    def exact_price(self) -> Decimal:
        """The price with the number of decimals of its currency: the column has four for every currency."""
        return round(self.price, exponent(self.currency))


class DetailsPayload(msgspec.Struct, frozen=True):
    """The details of an event that participants see, before a change."""

    title: str
    starts_at: datetime
    ends_at: datetime
    location: str | None
    virtual_link: str | None

    def __post_init__(self) -> None:
        make_readable(self, ["title", "location"], "virtual_link")


class MoneyPayload(msgspec.Struct, frozen=True):
    """A requested, received or refunded amount, with the number of decimals of its currency."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"


class PaymentPayload(msgspec.Struct, frozen=True):
    """`id` is the gateway's id of the payment, `url` the checkout of an unpaid one."""

    gateway: str
    id: str | None
    received_at: datetime | None
    url: str | None

    def __post_init__(self) -> None:
        if self.id is not None:
            msgspec.structs.force_setattr(self, "id", clean_line(self.id, at_most=_LONGEST_ID))


class InvitationPayload(msgspec.Struct, frozen=True):
    """A seat that is held for a person, who may have no account."""

    id: UUID
    name: str
    email: str
    expires_at: datetime

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class WrittenPayload(msgspec.Struct, frozen=True):
    """A message of a facilitator to the participants."""

    subject: str
    text: str


class Agreed(NamedTuple):
    """A price with the number of decimals of its currency."""

    price: Decimal
    currency: str


class Payload(msgspec.Struct, frozen=True):
    """The state at the time of the change. A message about an event itself has no booking and no user."""

    booking: BookingPayload | None
    user: Person | None
    event: EventPayload
    facilitator: FacilitatorPayload
    reason: str | None
    money: MoneyPayload | None = None
    payment: PaymentPayload | None = None
    before: DetailsPayload | None = None
    as_of: datetime | None = None
    """The send time of a reminder."""
    written: WrittenPayload | None = None
    invitation: InvitationPayload | None = None
    payment_url: str | None = None
    """The payment link, if it is known at send time."""
    recipient: Literal["facilitator"] | None = None
    """Of a mail to the facilitator; by default it goes to the user."""

    @property
    def join_link(self) -> str | None:
        """The event's link; None in a message about a booking that is cancelled or unpaid."""
        booking = self.booking
        if booking is not None and not shows_join_link(booking.status, booking.payment_status):
            return None
        return self.event.virtual_link

    @property
    def agreed(self) -> Agreed:
        """The price agreed for the booking; the current price of the event may differ."""
        booking, event = self.booking, self.event
        if booking is None or booking.price is None or booking.currency is None:
            return Agreed(event.exact_price, event.currency)
        return Agreed(round(booking.price, exponent(booking.currency)), booking.currency)


def read_payload(message: Message) -> Payload:
    return msgspec.convert(message.payload, Payload)


def zulu(moment: datetime) -> str:
    """The instant in RFC 3339, in UTC with `Z`."""
    return in_zone(moment, UTC).isoformat().replace("+00:00", "Z")
