"""Conversion of JSON values to types, with one accepted form for each value, and messages for invalid values.

msgspec accepts `1.0` and `1e3` as integers, and a UUID without hyphens. Two forms of one value are different requests
for an idempotency key and different values in comparisons, and other clients of the same data reject them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_NUMBER = re.compile(r"[-+.0-9eE]*")
_NAMES = {
    inspect.IntType: "int",
    inspect.BoolType: "bool",
    inspect.DateTimeType: "datetime",
    inspect.UUIDType: "uuid",
    inspect.FloatType: "float",
    inspect.DecimalType: "decimal",
    inspect.NoneType: "null",
}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?: (>=|<=|>|<) (\S+)| of length (>=|<=) (\d+))?(?:, got `[^`]+`)?")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
    "datetime": "an RFC 3339 date and time",
    "uuid": "a UUID with its hyphens",
}
_LIMITS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_SENTENCES = {
    "Invalid UUID": "Must be a UUID with its hyphens",
    "Invalid RFC3339 encoded datetime": "Must be an RFC 3339 date and time",
    "Invalid decimal string": "Must be a number",
}


def convert(value: Any, kind: type[T], *, integers_as_text: bool = False) -> T:
    """Converts decoded JSON (dicts, lists and scalars) to `kind`. Raises `msgspec.ValidationError`.

    An integer has only digits, without point and exponent; a UUID has hyphens. With `integers_as_text` an integer may
    be a string of digits, as browsers send forms.
    """
    converted = msgspec.convert(value, kind, strict=not integers_as_text)
    _require_one_form(value, _form(kind), "$")  # type: ignore[arg-type]
    return converted


def plain_reason(reason: str) -> str:
    """A message of msgspec without the names of Python types."""
    if reason in _SENTENCES:
        return _SENTENCES[reason]
    found = _EXPECTED.match(reason)
    if not found:
        return reason if "<class " not in reason else "Is of a kind that is not accepted here"
    kinds = [_KINDS.get(name, "of another kind") for name in found[1].split(" | ")]
    words = f"Must be {' or '.join(dict.fromkeys(kinds))}"
    if found[2]:
        return f"{words}, {_LIMITS[found[2]]} {found[3]}"
    return f"{words} of {_LIMITS[found[4]]} {found[5]} characters" if found[4] else words


@lru_cache(maxsize=256)
def _form(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _require_one_form(value: Any, form: inspect.Type, path: str) -> None:
    forms = _alternatives(form)
    if isinstance(value, str | int | float):
        reason = _second_form(value, forms)
        if reason:
            raise msgspec.ValidationError(f"{reason} - at `{path}`")
    else:
        for part, part_form, where in _parts(value, forms):
            _require_one_form(part, part_form, path + where)


def _second_form(value: str | float, forms: Sequence[inspect.Type]) -> str | None:
    """The reason why this scalar is not in the accepted form of one of these types."""
    if isinstance(value, str):
        if _has(forms, inspect.StrType) or (_has(forms, inspect.IntType) and _DIGITS.fullmatch(value)):
            return None
        if _has(forms, inspect.UUIDType):
            return None if _UUID.fullmatch(value) else "Invalid UUID"
        if _has(forms, inspect.DateTimeType) and _NUMBER.fullmatch(value):
            return "Invalid RFC3339 encoded datetime"
        taken = inspect.DateTimeType | inspect.FloatType | inspect.DecimalType | inspect.EnumType | inspect.LiteralType
        return None if _has(forms, taken) and value.lower() != "null" else _expected(forms)
    if isinstance(value, bool) or _has(forms, inspect.FloatType | inspect.DecimalType):
        return None
    return None if isinstance(value, int) and _has(forms, inspect.IntType) else _expected(forms)


def _expected(forms: Iterable[inspect.Type]) -> str | None:
    """msgspec's message for these types; None if there are other types than scalars, such as any value."""
    names = [_NAMES.get(type(form)) for form in forms]
    return f"Expected `{' | '.join(name for name in names if name)}`" if all(names) else None


def _parts(value: Any, forms: Iterable[inspect.Type]) -> Iterator[tuple[Any, inspect.Type, str]]:
    for form in forms:
        match value, form:
            case dict(), inspect.StructType():
                for field in form.fields:
                    if field.encode_name in value:
                        yield value[field.encode_name], field.type, f".{field.encode_name}"
            case dict(), inspect.DictType():
                for name, item in value.items():
                    yield item, form.value_type, f".{name}"
            case list(), inspect.ListType() | inspect.VarTupleType():
                for index, item in enumerate(value):
                    yield item, form.item_type, f"[{index}]"


def _has(forms: Iterable[inspect.Type], kind: type | UnionType) -> bool:
    return any(isinstance(form, kind) for form in forms)


def _alternatives(form: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(form, inspect.Metadata):
        return _alternatives(form.type)
    if isinstance(form, inspect.UnionType):
        return tuple(each for part in form.types for each in _alternatives(part))
    return (form,)
