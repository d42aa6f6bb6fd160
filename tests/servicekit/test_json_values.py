"""One form for each value, and reasons without the names of types in Python."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.json_values import convert, plain_reason


class Inner(msgspec.Struct):
    count: int = 0


class Body(msgspec.Struct):
    number: int | None = None
    price: Decimal | None = None
    amount: int | float | str | None = None
    identity: Annotated[UUID, msgspec.Meta(extra_json_schema={"format": "uuid"})] | None = None
    either: int | UUID | None = None
    inner: Inner | None = None
    inners: list[Inner] = []
    named: dict[str, int] = {}
    bounded: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    short: Annotated[str, msgspec.Meta(max_length=3)] = ""
    flag: bool = False
    at: datetime | None = None


BARE = uuid4().hex
SECOND_FORMS = [
    *({"number": value} for value in (1.0, 1e3, -0.0, "1", "1e3", True)),
    *({"either": value} for value in (1.0, "1", BARE)),
    {"identity": BARE},
    {"inner": {"count": 2.0}},
    {"inners": [{"count": 1}, {"count": 1.0}]},
    {"named": {"x": 1.0}},
    *({"flag": value} for value in (1, "true", 1.0)),
]


@pytest.mark.parametrize("body", SECOND_FORMS)
def test_other_json_type_is_rejected_with_the_field_name(body: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        convert(body, Body)
    assert f"`$.{next(iter(body))}" in str(refused.value)


LAX_TOO = [
    *({"number": value} for value in (1.0, 1e3, "1.0", "1e3", "01", "+1", " 1", "null", "NULL", True, "x")),
    *({"either": value} for value in (1.0, "1.0", "01", BARE)),
    *({"flag": value} for value in (1, 0, "true", "1", 1.0)),
    *({"at": value} for value in (1, 1.5, "1", "1e9", "-5")),
    *({"price": value} for value in ("null", True)),
    {"identity": BARE},
    {"inners": [{"count": 1}, {"count": "1.0"}]},
    {"named": {"x": 1.0}},
]


@pytest.mark.parametrize("body", LAX_TOO)
def test_integers_as_text_still_rejects_other_json_types(body: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        convert(body, Body, integers_as_text=True)
    assert f"`$.{next(iter(body))}" in str(refused.value)
    assert "`" not in plain_reason(str(refused.value).partition(" - at ")[0])


def test_integers_as_text_accepts_digits_in_quotes() -> None:
    body = convert({"number": "15", "either": "-7", "inners": [{"count": "0"}]}, Body, integers_as_text=True)
    assert (body.number, body.either, body.inners[0].count) == (15, -7, 0)
    body = convert(
        {"amount": "1", "price": "1.50", "at": "2026-01-01T00:00:00Z", "short": "1"}, Body, integers_as_text=True
    )
    assert (body.amount, body.price, body.short) == ("1", Decimal("1.50"), "1")


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.uuids())
def test_canonical_form_is_accepted(number: int, price: float, identity: UUID) -> None:
    raw = msgspec.json.decode(
        msgspec.json.encode({"number": number, "price": price, "amount": price, "identity": identity, "either": number})
    )
    body = convert(raw, Body)
    assert (body.number, body.amount, body.identity, body.either) == (number, price, identity, number)
    assert float(body.price or 0) == price
    assert convert({"either": str(identity).upper()}, Body).either == identity


def reason_of(body: Any) -> str:
    with pytest.raises(msgspec.ValidationError) as refused:
        convert(body, Body)
    return plain_reason(str(refused.value).partition(" - at ")[0])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        *(({"number": value}, "Must be a whole number or null") for value in ("x", 1.5)),
        ({"inner": {"count": 1.0}}, "Must be a whole number"),
        ({"bounded": 0}, "Must be a whole number, at least 1"),
        ({"bounded": 10}, "Must be a whole number, at most 9"),
        ({"short": "long"}, "Must be text of at most 3 characters"),
        ({"short": None}, "Must be text"),
        ({"flag": 1}, "Must be true or false"),
        ({"inner": []}, "Must be an object or null"),
        ({"inners": {}}, "Must be a list"),
        ({"price": []}, "Must be a number or null"),
        ({"amount": []}, "Must be a whole number or a number or text or null"),
        ({"identity": BARE}, "Must be a UUID with its hyphens"),
        ({"identity": "x"}, "Must be a UUID with its hyphens"),
        ([], "Must be an object"),
    ],
)
def test_validation_errors_in_plain_words(body: Any, words: str) -> None:
    assert reason_of(body) == words


def test_error_that_names_a_python_class_is_replaced() -> None:
    assert plain_reason("Unsupported type: <class 'tuple'>") == "Is of a kind that is not accepted here"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(Body.__struct_fields__), VALUES, st.booleans())
def test_no_error_names_a_python_type(field: str, value: Any, lax: bool) -> None:
    try:
        convert({field: value}, Body, integers_as_text=lax)
    except msgspec.ValidationError as error:
        words = plain_reason(str(error).partition(" - at ")[0])
        assert not any(sign in words for sign in ("`", "<class", "int", "str", "decimal", "dict")), words
