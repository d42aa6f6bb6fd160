"""Coaches: facilitators who offer appointments."""

from dataclasses import dataclass
from datetime import timedelta

from domain.accounts import User
from domain.availability import SHORTEST, Availability
from domain.errors import Conflict, Invalid, NotFound
from domain.money import Money, smallest_unit
from domain.refunds import RefundPolicy

_MINUTE = timedelta(minutes=1)


class CoachNotFound(NotFound):
    code = "coach_not_found"
    message = "Coach not found"


class CoachInactive(Conflict):
    code = "coach_inactive"
    message = "Coach is not active"


@dataclass(frozen=True, slots=True)
class Coach:
    """A facilitator who can be booked, on these terms. The price is per hour; zero is free."""

    user: User
    availability: Availability
    price_per_hour: Money
    refund_policy: RefundPolicy

    def price_of(self, length: timedelta) -> Money:
        """The price of a session, rounded half up to the smallest step that can be paid."""
        minutes = length // _MINUTE
        return Money.computed(self.price_per_hour.amount * minutes / 60, self.price_per_hour.currency)

    def require_payable_rate(self) -> None:
        """Raises `Invalid` for a rate above zero at which the shortest session rounds to zero, and would be free."""
        if self.price_per_hour.is_zero or not self.price_of(SHORTEST).is_zero:
            return
        # Half a step rounds up to a whole one.
        least = smallest_unit(self.price_per_hour.currency) / 2 * (timedelta(hours=1) // SHORTEST)
        free = f"A session of {SHORTEST // _MINUTE} minutes would be free"
        raise Invalid({"price_per_hour": f"{free}: give 0, or at least {least.normalize():f}"})

    def require_bookable(self) -> None:
        if not self.user.is_active:
            raise CoachInactive
