import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.numbers import amount_of, has_unbounded_number

UNBOUNDED = [
    "1e401",
    "1E+99999999",
    "1e-16000",
    "-1.5e-0000401",
    "1" * 401,
    "0." + "0" * 401,
    "1e999999999999999999999",
]
BOUNDED = ["0", "-1.5", "1e3", "1e300", "5e-324", "1.7976931348623157e308", str(2**63), "1e0000000001", "1e400"]


@pytest.mark.parametrize("number", UNBOUNDED)
def test_unbounded_number_is_found_anywhere_in_a_body(number: str) -> None:
    assert has_unbounded_number(number.encode())
    assert has_unbounded_number(f'{{"a": [1, {{"b": {number}}}], "c": "x"}}'.encode())
    assert not has_unbounded_number(f'{{"a": "{number}", "\\"{number}": "\\\\"}}'.encode())


@pytest.mark.parametrize("number", BOUNDED)
def test_double_and_bigint_numbers_are_within_bounds(number: str) -> None:
    assert not has_unbounded_number(f'{{"a": {number}}}'.encode())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_valid_body_is_accepted(value: object) -> None:
    assert not has_unbounded_number(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


@pytest.mark.parametrize(
    "written", ["1E+99999999", "1E-99999999", "9" * 41, "1e21", "NaN", "-Infinity", "sNaN", "abc", "", None]
)
def test_invalid_amount_is_none(written: str | None) -> None:
    assert amount_of(written) is None


@pytest.mark.parametrize(
    ("written", "amount"), [(25, "25"), (25.5, "25.5"), ("30.00", "30.00"), ("1e3", "1000"), (0, "0")]
)
def test_amount_is_parsed_exactly(written: float | str, amount: str) -> None:
    assert amount_of(written) == Decimal(amount)


@given(
    st.text("0123456789.eE+-", max_size=60)
    | st.from_regex(r"-?[0-9]{1,50}(\.[0-9]{1,50})?([eE][+-]?[0-9]{1,12})?", fullmatch=True)
)
def test_every_amount_has_a_short_text(written: str) -> None:
    amount = amount_of(written)
    if amount is not None:
        assert len(f"{amount:,f}") < 100
