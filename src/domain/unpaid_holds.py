"""Limits of unpaid bookings per account: each holds a seat or a coach's time."""

from dataclasses import dataclass

from domain.errors import Conflict


class TooManyUnpaidHolds(Conflict):
    code = "too_many_unpaid_holds"
    message = "You have too many unpaid bookings. Please pay or cancel one of them before you book another"


@dataclass(frozen=True, slots=True)
class HoldsWithCoach:
    """The unpaid appointments of one account with one coach. `bookings` counts a recurring booking once, however many
    sessions of it are unpaid; `series` counts the recurring ones among them."""

    bookings: int
    series: int


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """`per_account` bounds seats and appointments together, `per_coach` the appointments with one coach. A recurring
    booking counts once, and only one with the same coach may be unpaid at a time."""

    per_account: int = 5
    per_coach: int = 2

    def require_another(self, in_all: int, with_coach: HoldsWithCoach | None = None, *, series: bool = False) -> None:
        """Raises `TooManyUnpaidHolds`."""
        if in_all >= self.per_account:
            raise TooManyUnpaidHolds(_sentence(in_all, "", "another"))
        if with_coach is None:
            return
        if with_coach.bookings >= self.per_coach:
            raise TooManyUnpaidHolds(_sentence(with_coach.bookings, " with this coach", "another with them"))
        if series and with_coach.series > 0:
            raise TooManyUnpaidHolds(
                "You have an unpaid recurring booking with this coach. "
                "Please pay or cancel its sessions before you book another series with them"
            )


DEFAULT_LIMITS = HoldLimits()


def _sentence(number: int, whose: str, another: str) -> str:
    bookings = "booking" if number == 1 else "bookings"
    return f"You have {number} unpaid {bookings}{whose}. Please pay or cancel one of them before you book {another}"
