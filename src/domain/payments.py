"""Payments and refunds of bookings and appointments.

A payment only moves forward. Gateways send updates late, twice and in any order. `TRANSITIONS` decides which updates
still change a payment; any other update is outdated and is ignored without an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.disputes import Dispute, DisputeStatus, PaymentChargedBack, PaymentDisputed, status_of
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
    Session, an order), `gateway_id` its id of the received payment. `refunded` is the sum of requested refunds.

    `dispute` is the status of its disputes, None without one. `charged_back` is the sum of what lost disputes took
    back, in the currency of the price. While `refunds_wait`, requested refunds are not sent to the gateway: the bank
    may return the same money."""

    id: PaymentId
    payable: PayableRef
    gateway: str
    price: Money
    status: PaymentStatus
    order_id: str | None
    gateway_id: str | None
    refunded: Money
    dispute: DisputeStatus | None = None
    charged_back: Decimal = Decimal(0)
    refunds_wait: bool = False

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
        """The received amount without the requested refunds and what disputes took back."""
        left = self.price.amount - self.returned if self.status is PaymentStatus.COMPLETED else self.price.amount * 0
        return Money(left, self.price.currency)

    @property
    def returned(self) -> Decimal:
        """Requested refunds and what lost disputes took back. It exceeds the price if a payment that was refunded is
        charged back too."""
        return self.refunded.amount + self.charged_back

    def refund_of(self, amount: Decimal | None) -> Money:
        """Returns the amount to refund: the given one, or all that is left. Raises `PaymentDisputed`,
        `PaymentChargedBack`, `NothingToRefund`, `RefundExceedsPayment`, and `Invalid` (field `amount`) for an amount
        that gateways cannot transfer."""
        left, currency = self.refundable, self.price.currency
        if self.refunds_wait:
            raise PaymentDisputed
        if left.is_zero:
            raise PaymentChargedBack if self.charged_back else NothingToRefund
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
        """Adds a requested refund. A payment that is returned in full has the status refunded."""
        refunded = Money(self.refunded.amount + amount.amount, self.price.currency)
        return replace(self, refunded=refunded)._with_status()

    def without_refund(self, amount: Money) -> Payment:
        """Takes back the request of a refund that a dispute has made unnecessary."""
        return replace(self, refunded=Money(self.refunded.amount - amount.amount, self.price.currency))

    def with_disputes(self, disputes: Sequence[Dispute]) -> Payment:
        """`disputes` are all of the payment. A dispute in another currency is about the whole payment."""
        lost = [
            dispute.amount if dispute.amount.currency == self.price.currency else self.price
            for dispute in disputes
            if dispute.status is DisputeStatus.LOST
        ]
        return replace(
            self,
            dispute=status_of(disputes),
            charged_back=min(sum((each.amount for each in lost), Decimal(0)), self.price.amount),
            refunds_wait=any(each.status is DisputeStatus.OPEN and not each.is_inquiry for each in disputes),
        )._with_status()

    def _with_status(self) -> Payment:
        is_returned = self.returned >= self.price.amount and self.can_become(PaymentStatus.REFUNDED)
        return replace(self, status=PaymentStatus.REFUNDED) if is_returned else self


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


@dataclass(frozen=True, slots=True)
class DisputeUpdate:
    """A gateway's update on a dispute about its payment `gateway_id`. `payment` is the update on the payment in the
    same webhook, which may be the first one about it."""

    dispute: Dispute
    gateway_id: str
    payment: GatewayUpdate | None = None


def hold_end(now: datetime, hold_for: timedelta, *, starts_at: datetime) -> datetime:
    """Returns when the hold of an unpaid booking expires: at the latest at the start."""
    return min(now + hold_for, starts_at)


def status_at_booking(price: Money) -> PaymentStatus:
    return PaymentStatus.NOT_REQUIRED if price.is_zero else PaymentStatus.PENDING
