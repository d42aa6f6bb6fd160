"""Money asked for and received for a booking."""

from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.money import Money

PaymentId = NewType("PaymentId", UUID)


class PaymentStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"
    NOT_REQUIRED = "not_required"


def status_at_booking(price: Money) -> PaymentStatus:
    return PaymentStatus.NOT_REQUIRED if price.is_zero else PaymentStatus.PENDING
