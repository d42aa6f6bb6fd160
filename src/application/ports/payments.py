"""What the core needs of a payment gateway."""

from dataclasses import dataclass
from typing import Protocol

from domain.bookings import BookingId
from domain.money import Money
from domain.payments import PaymentId


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """`payment_id` is the idempotency key: asking twice makes one checkout."""

    payment_id: PaymentId
    booking_id: BookingId
    price: Money
    title: str


class PaymentGateway(Protocol):
    @property
    def name(self) -> str: ...

    async def checkout(self, request: PaymentRequest) -> str | None:
        """The address where the person pays; None where money changes hands elsewhere."""
        ...
