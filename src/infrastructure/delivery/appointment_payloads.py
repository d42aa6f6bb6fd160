"""Typed payloads of messages about appointments. Raises `msgspec.ValidationError` for a payload of another shape."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from domain.appointments import AppointmentStatus
from domain.money import exponent
from domain.outbox import Message
from infrastructure.delivery.payloads import MoneyPayload, PaymentPayload, make_readable


class Participant(msgspec.Struct, frozen=True):
    """`timezone`: IANA name of the time zone of times in mails."""

    id: int
    uuid: UUID
    name: str
    email: str
    timezone: str

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class SessionPayload(msgspec.Struct, frozen=True):
    id: UUID
    status: AppointmentStatus
    payment_status: str
    starts_at: datetime
    ends_at: datetime
    price: Decimal
    currency: str
    notes: str | None
    meeting_link: str | None
    sequence: int
    hold_until: datetime | None
    uid: str | None = None
    """The UID of its calendar entry. Older messages have none."""
    dispute: str | None = None

    def __post_init__(self) -> None:
        make_readable(self, ["notes"], "meeting_link")

    @property
    def exact_price(self) -> Decimal:
        """The price with the number of decimals of its currency: the column has four for every currency."""
        return round(self.price, exponent(self.currency))

    @property
    def minutes(self) -> int:
        return (self.ends_at - self.starts_at) // timedelta(minutes=1)

    @property
    def awaits_payment(self) -> bool:
        """Whether the time is held for a payment."""
        return self.hold_until is not None and self.payment_status in {"pending", "failed"}


class TimesPayload(msgspec.Struct, frozen=True):
    starts_at: datetime
    ends_at: datetime


class AppointmentPayload(msgspec.Struct, frozen=True):
    """The state at the time of the change. `before`: the earlier times of a rescheduled appointment. `recipient`: the
    client or the coach, if each gets a separate message."""

    appointment: SessionPayload = msgspec.field(name="coaching")
    client: Participant
    coach: Participant
    recipient: Literal["client", "coach"] | None
    before: TimesPayload | None
    reason: str | None
    money: MoneyPayload | None
    payment: PaymentPayload | None
    as_of: datetime | None = None
    """The send time of a reminder."""
    payment_url: str | None = None
    """The payment link, if it is known at send time."""
    series: Sequence[SessionPayload] = ()
    """All sessions of a new series, by time; `appointment` is the first."""
    payment_urls: Mapping[UUID, str] = {}
    """The payment links of those of the series that have one."""


def is_about_appointment(message: Message) -> bool:
    return "coaching" in message.payload


def read_appointment(message: Message) -> AppointmentPayload:
    return msgspec.convert(message.payload, AppointmentPayload)
