"""Every status of a dispute that the gateways document, as the state of the payment's dispute."""

from decimal import Decimal

import pytest

from domain.disputes import DisputeStatus
from domain.money import Money
from infrastructure.gateways.razorpay import updates as razorpay
from infrastructure.gateways.stripe import updates as stripe

OPEN, WON, LOST = DisputeStatus


# https://docs.stripe.com/api/disputes/object#dispute_object-status
@pytest.mark.parametrize(
    ("status", "expected", "is_inquiry"),
    [
        ("warning_needs_response", OPEN, True),
        ("warning_under_review", OPEN, True),
        ("warning_closed", WON, True),
        ("needs_response", OPEN, False),
        ("under_review", OPEN, False),
        ("won", WON, False),
        ("prevented", WON, False),
        ("lost", LOST, False),
    ],
)
def test_statuses_of_stripe(status: str, expected: DisputeStatus, is_inquiry: bool) -> None:
    dispute = stripe.dispute_of(stripe.DisputeEntity("du_1", status, 3000, "inr", reason="fraudulent"))
    assert dispute is not None
    assert (dispute.status, dispute.is_inquiry) == (expected, is_inquiry)
    assert (dispute.amount, dispute.reason) == (Money(Decimal(30), "INR"), "fraudulent")


# https://razorpay.com/docs/api/disputes/entity/
@pytest.mark.parametrize(
    ("status", "phase", "expected", "is_inquiry"),
    [
        ("open", "retrieval", OPEN, True),
        ("open", "fraud", OPEN, True),
        ("open", "chargeback", OPEN, False),
        ("under_review", "pre_arbitration", OPEN, False),
        ("closed", "retrieval", WON, True),
        ("won", "arbitration", WON, False),
        ("lost", "chargeback", LOST, False),
    ],
)
def test_statuses_of_razorpay(status: str, phase: str, expected: DisputeStatus, is_inquiry: bool) -> None:
    entity = razorpay.DisputeEntity("disp_1", "pay_1", status, 3000, "INR", phase=phase)
    dispute = razorpay.dispute_of(entity)
    assert dispute is not None
    assert (dispute.status, dispute.is_inquiry, dispute.amount) == (expected, is_inquiry, Money(Decimal(30), "INR"))


def test_lost_dispute_at_razorpay_is_about_what_was_deducted() -> None:
    for status, amount in (("lost", 25), ("open", 30)):
        dispute = razorpay.dispute_of(
            razorpay.DisputeEntity("disp_1", "pay_1", status, 3000, "INR", amount_deducted=2500)
        )
        assert dispute is not None
        assert dispute.amount == Money(Decimal(amount), "INR")


def test_unknown_status_is_no_dispute() -> None:
    assert stripe.dispute_of(stripe.DisputeEntity("du_1", "new", 3000, "inr")) is None
    assert razorpay.dispute_of(razorpay.DisputeEntity("disp_1", "pay_1", "new", 3000, "INR")) is None
