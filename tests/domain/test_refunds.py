"""How much of the money a cancellation gives back."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.money import Money
from domain.refunds import MAX_HOURS, MAX_TIERS, RefundPolicy
from tests.domain.builders import NOW

INSTANT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
USUAL = RefundPolicy.of([(168, 100), (24, 50)])


def refund(policy: RefundPolicy, paid: str, currency: str, left: timedelta) -> str:
    return str(policy.refund_of(Money(Decimal(paid), currency), now=NOW, starts_at=NOW + left).amount)


@pytest.mark.parametrize(
    ("left", "percent"),
    [
        (1000 * HOUR, 100),
        (168 * HOUR, 100),
        (168 * HOUR - INSTANT, 50),
        (24 * HOUR, 50),
        (24 * HOUR - INSTANT, 0),
        (0 * HOUR, 0),
        (-HOUR, 0),
    ],
)
def test_tier_applies_until_its_last_instant(left: timedelta, percent: int) -> None:
    assert USUAL.percent(now=NOW, starts_at=NOW + left) == percent


def test_default_policy_refunds_everything_until_the_start() -> None:
    assert RefundPolicy().percent(now=NOW, starts_at=NOW) == 100
    assert RefundPolicy().percent(now=NOW, starts_at=NOW - INSTANT) == 0


def test_policy_without_tiers_refunds_nothing() -> None:
    assert RefundPolicy(()).percent(now=NOW, starts_at=NOW + 1000 * HOUR) == 0


@pytest.mark.parametrize(
    ("percent", "paid", "currency", "back"),
    [
        (50, "0.01", "INR", "0.01"),
        (50, "0.03", "INR", "0.02"),
        (49, "0.01", "INR", "0.00"),
        (50, "25.05", "INR", "12.53"),
        (33, "99.99", "INR", "33.00"),
        (50, "501", "JPY", "251"),
        (50, "1", "JPY", "1"),
        (50, "1.235", "KWD", "0.620"),
        (50, "0.001", "KWD", "0.000"),
        (90, "0.009", "KWD", "0.009"),
        (100, "1.234", "KWD", "1.234"),
    ],
)
def test_half_a_minor_unit_is_rounded_up(percent: int, paid: str, currency: str, back: str) -> None:
    assert refund(RefundPolicy.of([(0, percent)]), paid, currency, HOUR) == back


@pytest.mark.parametrize(
    "tiers",
    [
        [(-1, 50)],
        [(MAX_HOURS + 1, 50)],
        [(0, -1)],
        [(0, 101)],
        [(24, 50), (24, 40)],
        [(24, 50), (2, 60)],
        [(hours, 50) for hours in range(MAX_TIERS + 1)],
    ],
)
def test_invalid_policy_is_rejected(tiers: list[tuple[int, int]]) -> None:
    with pytest.raises(Invalid) as refused:
        RefundPolicy.of(tiers)
    assert refused.value.details.keys() == {"refund_policy"}


def test_tiers_are_sorted_and_limits_are_inclusive() -> None:
    assert RefundPolicy.of([(0, 0), (MAX_HOURS, 100), (24, 100)]) == RefundPolicy.of(
        [(MAX_HOURS, 100), (24, 100), (0, 0)]
    )
    assert len(RefundPolicy.of([(hours, 50) for hours in range(MAX_TIERS)]).tiers) == MAX_TIERS


@st.composite
def policies(draw: st.DrawFn) -> RefundPolicy:
    hours = sorted(draw(st.sets(st.integers(0, MAX_HOURS), max_size=MAX_TIERS)), reverse=True)
    shares = sorted(draw(st.lists(st.integers(0, 100), min_size=len(hours), max_size=len(hours))), reverse=True)
    return RefundPolicy.of(zip(hours, shares, strict=True))


@given(
    policies(),
    st.integers(1, 10**9),
    st.sampled_from(["JPY", "INR", "KWD"]),
    st.timedeltas(timedelta(0), timedelta(days=400)),
    st.timedeltas(timedelta(0), timedelta(days=30)),
)
def test_refund_never_exceeds_the_price_and_never_grows_with_time(
    policy: RefundPolicy, units: int, currency: str, left: timedelta, later: timedelta
) -> None:
    paid = Money.from_minor_units(units, currency)
    early = policy.refund_of(paid, now=NOW, starts_at=NOW + left)
    late = policy.refund_of(paid, now=NOW + later, starts_at=NOW + left)

    assert 0 <= late.amount <= early.amount <= paid.amount
    exact = Decimal(units) * policy.percent(now=NOW, starts_at=NOW + left) / 100
    half_a_step = Decimal("0.5") * (10 if currency == "KWD" else 1)
    assert -half_a_step < early.minor_units - exact <= half_a_step


def test_at_most_caps_every_tier() -> None:
    assert USUAL.at_most(100) == USUAL
    assert USUAL.at_most(60) == RefundPolicy.of([(168, 60), (24, 50)])
    assert USUAL.at_most(0).percent(now=NOW, starts_at=NOW + 1000 * HOUR) == 0
