"""Comparison of all stored payments with the gateways' records, for an operator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.payments.ports.gateways import GatewayRecord, GatewayRefused, Gateways
from application.payments.ports.reconciliation import (
    BookedPayment,
    DeadJob,
    PaymentAudit,
    RecordedMismatch,
    StuckRefund,
)
from application.use_cases import use_case
from domain.money import Money
from domain.payments import GatewayUnavailable, PaymentStatus, PaymentUpdate

PAGE = 200
AT_ONCE = 5
"""Gateways limit the rate of requests: Stripe's test mode to 25 a second."""
STUCK_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Mismatch:
    booked: BookedPayment
    why: str


@dataclass(slots=True)
class Audit:
    """`away` maps each unavailable gateway to its error, `missed` to its number of payments that were not compared."""

    compared: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    kept: Sequence[RecordedMismatch] = ()
    stuck: Sequence[StuckRefund] = ()
    dead: Sequence[DeadJob] = ()

    @property
    def findings(self) -> int:
        return len(self.mismatches) + len(self.away) + len(self.kept) + len(self.stuck) + len(self.dead)


@use_case
class AuditPayments:
    """Compares every payment that has an order at a gateway with the gateway's record.

    - The received amounts must be equal, to the minor unit and in the same currency.
    - The amount refunded at the gateway must be between the processed and the requested refunds stored here.
    - Disputes must have the same status and amount. What a lost dispute took back counts as returned.
    - A payment or a webhook in transit is no mismatch: each suspect is compared a second time.
    - An unavailable gateway is requested once, not for each of its payments; the payments of the others are compared.
    - The result also lists stored mismatches, refunds that failed or are pending for long, and dead letters.
    """

    audit: PaymentAudit
    gateways: Gateways
    second_look_after: timedelta

    async def __call__(self, *, since: datetime | None = None) -> Audit:
        found = Audit()
        async for page in self._pages(since):
            for start in range(0, len(page), AT_ONCE):
                suspects = await self._compare(page[start : start + AT_ONCE], found)
                if suspects:
                    await asyncio.sleep(self.second_look_after.total_seconds())
                    again = [await self.audit.get(booked.payment.id) for booked in suspects]
                    found.compared -= len(again)
                    await self._compare(again, found, keep=True)
        found.kept = await self.audit.mismatches(since=since)
        found.stuck = await self.audit.stuck_refunds(since=since, older_than=STUCK_AFTER)
        found.dead = await self.audit.dead_jobs(since=since)
        return found

    async def _pages(self, since: datetime | None) -> AsyncIterator[Sequence[BookedPayment]]:
        after = None
        while page := await self.audit.payments(since=since, after=after, limit=PAGE, at_gateways=True):
            yield page
            after = page[-1].payment.id

    async def _compare(
        self, page: Sequence[BookedPayment], found: Audit, *, keep: bool = False
    ) -> Sequence[BookedPayment]:
        """Returns the payments with a mismatch; adds them to `found`, with the reason, if `keep` is set."""
        suspects = []
        entries = await asyncio.gather(*(self._look_up(each, found) for each in page))
        for booked, said in zip(page, entries, strict=True):
            if isinstance(said, GatewayUnavailable):
                found.away.setdefault(booked.payment.gateway, said.message)
                found.missed[booked.payment.gateway] += 1
                continue
            found.compared += 1
            why = said.message if isinstance(said, GatewayRefused) else mismatch_reason(booked, said)
            if why is None:
                continue
            suspects.append(booked)
            if keep:
                found.mismatches.append(Mismatch(booked, why))
        return suspects

    async def _look_up(
        self, booked: BookedPayment, found: Audit
    ) -> GatewayRecord | GatewayUnavailable | GatewayRefused:
        gateway = booked.payment.gateway
        if gateway in found.away:
            return GatewayUnavailable(found.away[gateway])
        try:
            return await self.gateways.named(gateway).look_up(booked.payment)
        except (GatewayUnavailable, GatewayRefused) as error:
            return error


def mismatch_reason(booked: BookedPayment, entry: GatewayRecord) -> str | None:
    """Returns the reason in words; None where both records agree."""
    if not _same(booked.received, entry.received):
        return f"received {booked.received} here, {entry.received} at the gateway"
    least, most, there = booked.given_back, booked.payment.refunded, entry.refunded
    is_comparable = there.is_zero or there.currency == most.currency
    if not (is_comparable and least.amount <= there.amount <= most.amount):
        return f"given back {least} here, {there} at the gateway"
    payment, disputed = booked.payment, booked.payment.with_disputes(entry.disputes)
    if disputed.charged_back != payment.charged_back:
        here, at_gateway = (Money(each.charged_back, payment.price.currency) for each in (payment, disputed))
        return f"charged back {here} here, {at_gateway} at the gateway"
    if disputed.dispute is not payment.dispute:
        return f"dispute {payment.dispute or 'unknown'} here, {disputed.dispute or 'unknown'} at the gateway"
    if payment.status is PaymentStatus.PENDING and entry.report.report is PaymentUpdate.FAILED:
        return "waited for here, failed at the gateway"
    return None


def _same(one: Money, other: Money) -> bool:
    return one == other or (one.is_zero and other.is_zero)
