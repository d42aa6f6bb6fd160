"""What a coach charges, and when a coach can be booked."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.accounts import Role
from domain.availability import Availability
from domain.coaches import Coach, CoachInactive
from domain.errors import Invalid
from domain.money import Money
from domain.refunds import RefundPolicy
from tests.domain.builders import a_user


def a_coach(rate: str = "80", currency: str = "INR", *, is_active: bool = True) -> Coach:
    user = replace(a_user(2, Role.FACILITATOR), is_active=is_active)
    return Coach(user, Availability(), Money(Decimal(rate), currency), RefundPolicy())


@pytest.mark.parametrize(
    ("rate", "currency", "minutes", "price"),
    [
        ("80", "INR", 60, "80"),
        ("80", "INR", 45, "60"),
        ("0", "INR", 60, "0"),
        ("0.10", "INR", 15, "0.03"),  # 0.025
        ("0.05", "INR", 15, "0.01"),  # 0.0125
        ("1000", "JPY", 50, "833"),
        ("1000", "JPY", 20, "333"),
    ],
)
def test_price_is_rounded_half_up_to_what_can_be_paid(rate: str, currency: str, minutes: int, price: str) -> None:
    assert a_coach(rate, currency).price_of(timedelta(minutes=minutes)) == Money(Decimal(price), currency)


@pytest.mark.parametrize(("rate", "currency"), [("0", "INR"), ("0.02", "INR"), ("2", "JPY"), ("80", "INR")])
def test_rate_is_zero_or_makes_the_shortest_session_cost_something(rate: str, currency: str) -> None:
    a_coach(rate, currency).require_payable_rate()


@pytest.mark.parametrize(("rate", "currency", "least"), [("0.01", "INR", "0.02"), ("1", "JPY", "2")])
def test_rate_at_which_the_shortest_session_is_free_is_rejected(rate: str, currency: str, least: str) -> None:
    with pytest.raises(Invalid) as rejected:
        a_coach(rate, currency).require_payable_rate()
    why = f"A session of 15 minutes would be free: give 0, or at least {least}"
    assert rejected.value.details == {"price_per_hour": why}


def test_deactivated_coach_cannot_be_booked() -> None:
    a_coach().require_bookable()
    with pytest.raises(CoachInactive):
        a_coach(is_active=False).require_bookable()
