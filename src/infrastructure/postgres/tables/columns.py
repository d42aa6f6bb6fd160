"""Column definitions that several tables share."""

from sqlalchemy import BigInteger, DateTime, Identity, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.refunds import RefundPolicy

INSTANT = DateTime(timezone=True)
NOW = text("now()")
NEW_UUID = text("uuidv7()")


def identity() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=False), primary_key=True)


def stored_policy(policy: RefundPolicy) -> list[list[int]]:
    """The stored form in the columns `refund_policy`."""
    return [[tier.hours_before, tier.percent] for tier in policy.tiers]
