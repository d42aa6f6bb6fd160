"""Bounds for numbers in received data: their cost must not depend on an exponent. Standard library only."""

import re
from decimal import Decimal, InvalidOperation

MAX_DIGITS = 400
MAX_EXPONENT = 400
"""Limit of the digits and the exponent of a JSON number. A double has an exponent of at most 324; PostgreSQL writes
`1e-16000` as 16,000 digits."""

_AMOUNT_LENGTH = 40
_AMOUNT_EXPONENT = 20

# A copy in which digits and points are `0` shows candidates fast; the pattern distinguishes numbers from digits inside
# strings.
_SHAPES = bytes.maketrans(b"123456789.E+", b"0000000000e-")
_CANDIDATES = (b"0" * MAX_DIGITS, b"e000", b"e-000")
_LARGE = b"0" * 19
"""The shape of an integer that may exceed 64 bits."""
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"?|-?([0-9][0-9.]*)(?:[eE]([+-]?[0-9]+))?', re.DOTALL)


def has_unbounded_number(json: bytes) -> bool:
    """Whether a JSON text has a number of more than 400 digits or with an exponent beyond ±400."""
    shape = json.translate(_SHAPES)
    if not any(candidate in shape for candidate in _CANDIDATES):
        return False
    return any(
        digits and (len(digits) > MAX_DIGITS or (exponent and _is_beyond(exponent)))
        for digits, exponent in _STRING_OR_NUMBER.findall(json)
    )


def may_have_large_integer(json: bytes) -> bool:
    """False if each integer in a JSON text fits into 64 bits. Costs little."""
    return _LARGE in json.translate(_SHAPES)


def amount_of(number: float | str | None) -> Decimal | None:
    """A received amount; None for an invalid one: not finite, more than 40 characters, or an exponent beyond ±20."""
    text = str(number) if number is not None else ""
    try:
        amount = Decimal(text) if len(text) <= _AMOUNT_LENGTH else None
    except InvalidOperation:
        return None
    if amount is None or not amount.is_finite():
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and abs(exponent) <= _AMOUNT_EXPONENT else None


def _is_beyond(exponent: bytes) -> bool:
    digits = exponent.lstrip(b"+-").lstrip(b"0")
    return len(digits) > 3 or int(digits or b"0") > MAX_EXPONENT
