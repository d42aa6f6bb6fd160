"""The books as an operator compares them with the gateways'."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from application.ports import Page, PageRequest
from domain.money import Money
from domain.payments import Payment, PaymentId, PaymentStatus
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class BookedPayment:
    """`given_back` is what the gateway has confirmed as given back; `payment.refunded` is what was promised."""

    payment: Payment
    reference: str
    created_at: datetime
    given_back: Money

    @property
    def received(self) -> Money:
        arrived = self.payment.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}
        return Money(self.payment.price.amount * arrived, self.payment.price.currency)


@dataclass(frozen=True, slots=True)
class RecordedMismatch:
    """Something a gateway said that was not what was asked for, and that nobody has dealt with yet."""

    id: int
    gateway: str
    order_id: str | None
    why: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class StuckRefund:
    """Promised and not given back; `failed` when the gateway has said that it never will."""

    id: RefundId
    reference: str
    gateway: str
    amount: Money
    requested_at: datetime
    failed: bool


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A refund, a closing of a checkout or a webhook that was given up."""

    id: UUID
    fact: str
    lane: str
    last_error: str | None


class PaymentAudit(Protocol):
    """`since` leaves out what happened before."""

    async def payments(
        self, *, since: datetime | None, after: PaymentId | None, limit: int, at_gateways: bool
    ) -> Sequence[BookedPayment]:
        """In the order of their ids, after that one; `at_gateways`: only those that a gateway has an order for."""
        ...

    async def get(self, payment_id: PaymentId) -> BookedPayment: ...

    async def newest(self, *, status: PaymentStatus | None, page: PageRequest) -> Page[BookedPayment]:
        """The newest first. Raises `Invalid` for a cursor it did not make."""
        ...

    async def differences(self, *, since: datetime | None) -> Sequence[RecordedMismatch]: ...

    async def settle_difference(self, difference_id: int, note: str) -> bool:
        """An operator has dealt with it, as noted, and it is kept settled. False where there is none to deal with."""
        ...

    async def stuck_refunds(self, *, since: datetime | None, older_than: timedelta) -> Sequence[StuckRefund]: ...

    async def dead_jobs(self, *, since: datetime | None) -> Sequence[DeadJob]: ...
