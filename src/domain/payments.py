"""Payments and refunds of bookings and appointments.

A payment only moves forward. Gateways send updates late, twice and in any order. `TRANSITIONS` decides which updates
still change a payment; any other update is outdated and is ignored without an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.ids import PayableRef
from domain.money import Money, smallest_unit

PaymentId = NewType("PaymentId", UUID)


class PaymentStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"
    NOT_REQUIRED = "not_required"


OFFLINE = "offline"
"""The name of the gateway of payments on site."""

UNPAID = frozenset({PaymentStatus.PENDING, PaymentStatus.FAILED})

TRANSITIONS: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.PENDING: frozenset({PaymentStatus.COMPLETED, PaymentStatus.FAILED}),
    # Razorpay authorises late: a payment that failed can still arrive (`failed -> authorized` in its documents).
    PaymentStatus.FAILED: frozenset({PaymentStatus.COMPLETED}),
    PaymentStatus.COMPLETED: frozenset({PaymentStatus.REFUNDED}),
    PaymentStatus.REFUNDED: frozenset(),
    PaymentStatus.NOT_REQUIRED: frozenset(),
}


class PaymentNotFound(NotFound):
    code = "payment_not_found"
    message = "Payment not found"


class NothingToPay(Conflict):
    code = "nothing_to_pay"
    message = "There is nothing to pay for this booking"


class NothingToRefund(Conflict):
    code = "nothing_to_refund"
    message = "There is nothing to refund for this booking"


class RefundExceedsPayment(Conflict):
    code = "refund_exceeds_payment"
    message = "The refund is more than what is left of the payment"


class InvalidSignature(Conflict):
    code = "invalid_signature"
    message = "Invalid signature"


class PaymentMismatch(Conflict):
    code = "payment_differs"
    message = "The payment is not what was asked for"


class GatewayUnavailable(Unavailable):
    code = "gateway_unavailable"
    message = "The payment gateway cannot be reached. Please try again shortly"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment for a seat in an event or an appointment. `order_id` is the gateway's id of the request (a Checkout
    Session, an order), `gateway_id` its id of the received payment. `refunded` is the sum of requested refunds."""

    id: PaymentId
    payable: PayableRef
    gateway: str
    price: Money
    status: PaymentStatus
    order_id: str | None
    gateway_id: str | None
    refunded: Money

    def can_become(self, status: PaymentStatus) -> bool:
        return status in TRANSITIONS[self.status]

    def received(self, *, order_id: str | None = None, gateway_id: str | None = None) -> Payment:
        """Also stores the gateway's ids: the response with the order's id may have been lost."""
        return replace(
            self,
            status=PaymentStatus.COMPLETED,
            order_id=self.order_id or order_id,
            gateway_id=gateway_id or self.gateway_id,
        )

    def failed(self) -> Payment:
        return replace(self, status=PaymentStatus.FAILED)

    @property
    def refundable(self) -> Money:
        """The received amount without the requested refunds."""
        if self.status is not PaymentStatus.COMPLETED:
            return Money(self.price.amount * 0, self.price.currency)
        return Money(self.price.amount - self.refunded.amount, self.price.currency)

    def refund_of(self, amount: Decimal | None) -> Money:
        """Returns the amount to refund: the given one, or all that is left. Raises `NothingToRefund`,
        `RefundExceedsPayment`, and `Invalid` (field `amount`) for an amount that gateways cannot transfer."""
        left, currency = self.refundable, self.price.currency
        if left.is_zero:
            raise NothingToRefund
        if amount is None:
            return left
        try:
            wanted = Money(amount, currency)
        except Invalid as invalid:
            raise Invalid({"amount": invalid.details["price"]}) from None
        if wanted.is_zero:
            raise Invalid({"amount": "Must be greater than 0"})
        if wanted.amount > left.amount:
            raise RefundExceedsPayment(f"At most {left} can be refunded")
        if wanted != left and wanted != Money.computed(wanted.amount, currency):
            raise Invalid({"amount": f"Must be a multiple of {smallest_unit(currency)} {currency}"})
        return wanted

    def with_refund(self, amount: Money) -> Payment:
        """Adds a requested refund. A payment that is refunded in full has the status refunded."""
        refunded = Money(self.refunded.amount + amount.amount, self.price.currency)
        status = PaymentStatus.REFUNDED if refunded == self.price else self.status
        return replace(self, refunded=refunded, status=status)


class PaymentUpdate(StrEnum):
    """The state of a payment at a gateway, normalised."""

    RECEIVED = "received"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class GatewayUpdate:
    """A gateway's update on an order, or on our payment where it does not name the order. `payment_id` is our id, where
    the gateway returns it; `amount` is the received amount, if any."""

    order_id: str | None
    report: PaymentUpdate
    payment_id: PaymentId | None = None
    gateway_id: str | None = None
    amount: Money | None = None

    def mismatch_with(self, payment: Payment) -> str | None:
        """Returns why the update does not match the request: another order, payment, amount or currency; else None."""
        if payment.order_id is not None and self.order_id not in (None, payment.order_id):
            return f"order {self.order_id} is not {payment.order_id}"
        if self.payment_id is not None and self.payment_id != payment.id:
            return f"payment {self.payment_id} is not {payment.id}"
        if self.report is PaymentUpdate.RECEIVED and self.amount != payment.price:
            return f"received {self.amount}, asked for {payment.price}"
        if (
            self.report is PaymentUpdate.RECEIVED
            and payment.gateway_id
            and self.gateway_id not in (None, payment.gateway_id)
        ):
            return f"received {self.gateway_id} after {payment.gateway_id}: it was paid twice"
        return None


@dataclass(frozen=True, slots=True)
class RefundUpdate:
    """A gateway's update on a refund. `refund_id` is our id, where the gateway returns it. `payment` is the update on
    the payment in the same webhook, which may be the first one about it."""

    gateway_refund_id: str
    gateway_id: str
    amount: Money
    succeeded: bool
    refund_id: UUID | None = None
    payment: GatewayUpdate | None = None


def hold_end(now: datetime, hold_for: timedelta, *, starts_at: datetime) -> datetime:
    """Returns when the hold of an unpaid booking expires: at the latest at the start."""
    return min(now + hold_for, starts_at)


def status_at_booking(price: Money) -> PaymentStatus:
    return PaymentStatus.NOT_REQUIRED if price.is_zero else PaymentStatus.PENDING
