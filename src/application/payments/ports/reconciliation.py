"""Queries for the comparison of stored payments with the gateways' records."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from application.ports import Page, PageRequest
from domain.disputes import DisputeStatus
from domain.money import Money
from domain.payments import Payment, PaymentId, PaymentStatus
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class BookedPayment:
    """`given_back` is the sum of processed refunds; `payment.refunded` is the sum of requested ones. What lost disputes
    took back is `payment.charged_back`."""

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
    """An update of a gateway that does not match the request, and that an operator has not settled yet."""

    id: int
    gateway: str
    order_id: str | None
    why: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class StuckRefund:
    """A refund that is requested and not processed; `failed` when the gateway has failed finally."""

    id: RefundId
    reference: str
    gateway: str
    amount: Money
    requested_at: datetime
    failed: bool


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A refund, a checkout to be closed or a webhook among the dead letters."""

    id: UUID
    message_type: str
    ordering_key: str
    last_error: str | None


class PaymentAudit(Protocol):
    """`since` excludes everything earlier."""

    async def payments(
        self, *, since: datetime | None, after: PaymentId | None, limit: int, at_gateways: bool
    ) -> Sequence[BookedPayment]:
        """Returns payments in the order of their ids, after `after`; `at_gateways`: only those with an order."""
        ...

    async def get(self, payment_id: PaymentId) -> BookedPayment: ...

    async def newest(
        self, *, status: PaymentStatus | None, page: PageRequest, dispute: DisputeStatus | None = None
    ) -> Page[BookedPayment]:
        """Returns the newest first. Raises `Invalid` for an unknown cursor."""
        ...

    async def mismatches(self, *, since: datetime | None) -> Sequence[RecordedMismatch]: ...

    async def stuck_refunds(self, *, since: datetime | None, older_than: timedelta) -> Sequence[StuckRefund]: ...

    async def dead_jobs(self, *, since: datetime | None) -> Sequence[DeadJob]: ...


class Mismatches(Protocol):
    async def settle(self, mismatch_id: int, note: str) -> bool:
        """Marks a mismatch as settled, with the operator's note. Returns False where there is no open one."""
        ...
