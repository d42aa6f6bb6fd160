"""Disputes (chargebacks): a payer asks the bank to take a payment back, and the gateway reports how that goes.

A dispute only moves forward: open, then won or lost. `TRANSITIONS` decides which reports still change one. Money that
a lost dispute took back counts as returned, like a refund.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import Conflict
from domain.money import Money


class DisputeStatus(StrEnum):
    OPEN = "open"
    WON = "won"
    """The money stays with the seller."""
    LOST = "lost"
    """The money went back to the payer."""


TRANSITIONS: dict[DisputeStatus, frozenset[DisputeStatus]] = {
    DisputeStatus.OPEN: frozenset({DisputeStatus.WON, DisputeStatus.LOST}),
    DisputeStatus.WON: frozenset(),
    DisputeStatus.LOST: frozenset(),
}


class PaymentDisputed(Conflict):
    code = "payment_disputed"
    message = "The payment is disputed. It can be refunded after the gateway has decided the dispute for you"


class PaymentChargedBack(Conflict):
    code = "payment_charged_back"
    message = "The money was returned to the payer by a dispute. There is nothing left to refund"


@dataclass(frozen=True, slots=True)
class Dispute:
    """`id` is the gateway's. `is_inquiry`: the bank asks a question, and no money is withdrawn; the payment can still
    be refunded. `amount` can be a part of the payment. `reason` is the gateway's word."""

    id: str
    amount: Money
    status: DisputeStatus
    is_inquiry: bool = False
    reason: str | None = None

    def after(self, report: Dispute) -> Dispute | None:
        """Returns the dispute after a report; None for a report that is outdated or repeated."""
        becomes_chargeback = self.is_inquiry and not report.is_inquiry
        is_open = self.status is DisputeStatus.OPEN is report.status
        if report.status in TRANSITIONS[self.status] or (is_open and becomes_chargeback):
            return report
        return None

    def contradicts(self, report: Dispute) -> bool:
        """Whether a decided dispute is reported with the other result."""
        return DisputeStatus.OPEN not in {self.status, report.status} and self.status is not report.status


def status_of(disputes: Iterable[Dispute]) -> DisputeStatus | None:
    """The status of a payment with these disputes: open as long as one is open, lost if one was lost."""
    statuses = {dispute.status for dispute in disputes}
    ranked = (DisputeStatus.OPEN, DisputeStatus.LOST, DisputeStatus.WON)
    return next((status for status in ranked if status in statuses), None)
