"""Refund policies: the share of a payment that a cancellation refunds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NewType
from uuid import UUID

from domain.errors import Invalid
from domain.money import Money

RefundId = NewType("RefundId", UUID)

SEAT_GONE = "place_gone"
"""Refund reason: the money arrived when no seat was left."""
PAID_AFTER_START = "paid_after_start"
"""Refund reason: the money arrived after the start."""
PAID_TWICE = "paid_twice"
"""Refund reason: another payment had paid for the booking already."""

MAX_TIERS = 10
MAX_HOURS = 24 * 366


@dataclass(frozen=True, slots=True)
class RefundTier:
    """A cancellation up to `hours_before` hours before the start refunds `percent` of the payment."""

    hours_before: int
    percent: int

    def __post_init__(self) -> None:
        if not 0 <= self.hours_before <= MAX_HOURS:
            raise Invalid({"refund_policy": f"hours_before must be between 0 and {MAX_HOURS}"})
        if not 0 <= self.percent <= 100:
            raise Invalid({"refund_policy": "percent must be between 0 and 100"})


@dataclass(frozen=True, slots=True)
class RefundPolicy:
    """Tiers, earliest first, such as 100 % until 7 days before, 50 % until 24 h before, then nothing. A later tier must
    not refund more than an earlier one. Without tiers nothing is refunded."""

    tiers: tuple[RefundTier, ...] = (RefundTier(0, 100),)

    def __post_init__(self) -> None:
        tiers = tuple(sorted(self.tiers, key=lambda tier: tier.hours_before, reverse=True))
        if len(tiers) > MAX_TIERS:
            raise Invalid({"refund_policy": f"Must have at most {MAX_TIERS} tiers"})
        if len({tier.hours_before for tier in tiers}) < len(tiers):
            raise Invalid({"refund_policy": "Two tiers end at the same time"})
        if any(later.percent > earlier.percent for earlier, later in pairwise(tiers)):
            raise Invalid({"refund_policy": "A later cancellation must not give back more than an earlier one"})
        object.__setattr__(self, "tiers", tiers)

    @classmethod
    def of(cls, tiers: Iterable[Sequence[int]]) -> "RefundPolicy":
        return cls(tuple(RefundTier(hours, percent) for hours, percent in tiers))

    def percent(self, *, now: datetime, starts_at: datetime) -> int:
        """Returns the share for a cancellation at `now`. A tier applies up to and including its last instant."""
        left = starts_at - now
        shares = [tier.percent for tier in self.tiers if left >= timedelta(hours=tier.hours_before)]
        return max(shares, default=0)

    def at_most(self, percent: int) -> "RefundPolicy":
        """The same tiers, limited to that share."""
        return RefundPolicy(tuple(RefundTier(tier.hours_before, min(tier.percent, percent)) for tier in self.tiers))

    def refund_of(self, paid: Money, *, now: datetime, starts_at: datetime) -> Money:
        """The refund of a paid amount, rounded half up to the smallest step that can be refunded, and never more than
        was paid."""
        percent = self.percent(now=now, starts_at=starts_at)
        if percent == 100:
            return paid
        share = Money.computed(paid.amount * percent / 100, paid.currency)
        return share if share.amount < paid.amount else paid
