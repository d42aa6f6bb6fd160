from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.money import CURRENCIES, MAX_AMOUNT, Money, exponent

CURRENCY = st.sampled_from(sorted(CURRENCIES))


@given(CURRENCY, st.integers(0, 10**10))
def test_minor_units_and_amount_are_equivalent(currency: str, units: int) -> None:
    money = Money.from_minor_units(units, currency)
    assert money.minor_units == units
    assert Money(money.amount, currency) == money
    assert money.amount.as_tuple().exponent == -exponent(currency)


@given(CURRENCY, st.decimals())
def test_amount_is_kept_exactly_or_rejected(currency: str, amount: Decimal) -> None:
    try:
        money = Money(amount, currency)
    except Invalid as refused:
        assert refused.details.keys() == {"price"}
    else:
        assert money.amount == amount
        assert 0 <= money.amount <= MAX_AMOUNT
        assert not money.amount.is_signed()


@pytest.mark.parametrize(
    "amount",
    ["NaN", "sNaN", "Infinity", "-Infinity", "-0.01", "-1", "0.001", "1e-30", "10000000000.01", "1e30", "1e999999"],
)
def test_invalid_price_in_rupees_is_rejected(amount: str) -> None:
    with pytest.raises(Invalid) as refused:
        Money(Decimal(amount), "INR")
    assert refused.value.details.keys() == {"price"}


@pytest.mark.parametrize("currency", ["", "RUPEES", "XXX", "XTS", "₹", "INR ", "\u0131nr", "u\u017fd"])
def test_only_iso_4217_currencies_are_accepted(currency: str) -> None:
    with pytest.raises(Invalid) as refused:
        Money(Decimal(1), currency)
    assert refused.value.details == {"currency": "Must be an ISO 4217 code such as INR"}


@given(CURRENCY, st.lists(st.booleans(), min_size=3, max_size=3))
def test_currency_is_case_insensitive_and_stored_in_upper_case(currency: str, lower: list[bool]) -> None:
    entered = "".join(letter.lower() if small else letter for letter, small in zip(currency, lower, strict=True))
    assert Money(Decimal(1), entered) == Money(Decimal(1), currency)
    assert Money(Decimal(1), entered).currency == currency


@pytest.mark.parametrize(
    ("amount", "currency", "units", "text"),
    [
        ("19.99", "INR", 1999, "19.99 INR"),
        ("1234567.5", "EUR", 123456750, "1,234,567.50 EUR"),
        ("1000", "JPY", 1000, "1,000 JPY"),
        ("1.234", "KWD", 1234, "1.234 KWD"),
        ("1.2345", "CLF", 12345, "1.2345 CLF"),
        ("-0", "INR", 0, "0.00 INR"),
        ("1E+3", "INR", 100000, "1,000.00 INR"),
    ],
)
def test_each_currency_has_its_own_precision(amount: str, currency: str, units: int, text: str) -> None:
    money = Money(Decimal(amount), currency)
    assert (money.minor_units, str(money), money.is_zero) == (units, text, units == 0)


def test_fraction_of_a_yen_is_rejected() -> None:
    with pytest.raises(Invalid):
        Money(Decimal("0.5"), "JPY")


@given(st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,17})?", fullmatch=True))
def test_any_number_is_rejected_or_has_a_short_text(written: str) -> None:
    # 1E+99999999 has a hundred million digits once it is written out or scaled.
    try:
        money = Money(Decimal(written), "INR")
    except Invalid:
        return
    assert 0 <= money.amount <= MAX_AMOUNT
    assert len(str(money)) < 25
