"""Conversion of JSON values to types, with one accepted form for each value, and messages for invalid values.

msgspec accepts `1.0` and `1e3` as integers, and a UUID without hyphens. Two forms of one value are different requests
for an idempotency key and different values in comparisons, and other clients of the same data reject them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
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


class _Form:
    """A type, prepared for its values. `certain`: types of JSON values that have one form here."""

    def __init__(self, form: inspect.Type) -> None:
        self.alternatives = _alternatives(form)
        self.certain: frozenset[type] = frozenset(kind for kind, has_one_form in _CERTAIN.items() if has_one_form(self))
        self.has_int = self.has(inspect.IntType)
        self.has_uuid = self.has(inspect.UUIDType)
        self.has_datetime = self.has(inspect.DateTimeType)
        self.has_text_form = self.has(inspect.DateTimeType | _NUMBERS | inspect.EnumType | inspect.LiteralType)

    def has(self, kind: type | UnionType) -> bool:
        return any(isinstance(each, kind) for each in self.alternatives)

    @cached_property
    def fields(self) -> Sequence[tuple[str, "_Form"]]:
        """The fields of an object with a value that can have two forms."""
        structs = (each for each in self.alternatives if isinstance(each, inspect.StructType))
        fields = [(field.encode_name, _Form(field.type)) for struct in structs for field in struct.fields]
        return [(name, form) for name, form in fields if len(form.certain) < len(_CERTAIN)]

    @cached_property
    def values(self) -> "_Form | None":
        """Of the values of an object with any names."""
        return next((_Form(each.value_type) for each in self.alternatives if isinstance(each, inspect.DictType)), None)

    @cached_property
    def items(self) -> "_Form | None":
        lists = inspect.ListType | inspect.VarTupleType
        return next((_Form(each.item_type) for each in self.alternatives if isinstance(each, lists)), None)


_NUMBERS = inspect.FloatType | inspect.DecimalType
_CERTAIN: Mapping[type, Callable[[_Form], bool]] = {
    str: lambda form: form.has(inspect.StrType),
    int: lambda form: form.has(inspect.IntType | _NUMBERS),
    float: lambda form: form.has(_NUMBERS),
    bool: lambda _: True,
    type(None): lambda _: True,
    dict: lambda form: not form.has(inspect.StructType | inspect.DictType),
    list: lambda form: not form.has(inspect.ListType | inspect.VarTupleType),
}


@lru_cache(maxsize=256)
def _form(kind: Any) -> _Form:
    return _Form(inspect.type_info(kind))


def _require_one_form(value: Any, form: _Form, path: str) -> None:
    if type(value) in form.certain:
        return
    if isinstance(value, str | int | float):
        reason = _second_form(value, form)
        if reason:
            raise msgspec.ValidationError(f"{reason} - at `{path}`")
    elif isinstance(value, dict):
        for name, field in form.fields:
            if type(part := value.get(name)) not in field.certain:
                _require_one_form(part, field, f"{path}.{name}")
        if form.values is not None:
            for name, part in value.items():
                _require_one_form(part, form.values, f"{path}.{name}")
    elif form.items is not None:
        for index, part in enumerate(value):
            _require_one_form(part, form.items, f"{path}[{index}]")


def _second_form(value: str | float, form: _Form) -> str | None:
    """The reason why this scalar is not in the accepted form of the type."""
    if isinstance(value, str):
        if form.has_int and _DIGITS.fullmatch(value):
            return None
        if form.has_uuid:
            return None if _UUID.fullmatch(value) else "Invalid UUID"
        if form.has_datetime and _NUMBER.fullmatch(value):
            return "Invalid RFC3339 encoded datetime"
        return None if form.has_text_form and value.lower() != "null" else _expected(form.alternatives)
    return _expected(form.alternatives)


def _expected(forms: Iterable[inspect.Type]) -> str | None:
    """msgspec's message for these types; None if there are other types than scalars, such as any value."""
    names = [_NAMES.get(type(form)) for form in forms]
    return f"Expected `{' | '.join(name for name in names if name)}`" if all(names) else None


def _alternatives(form: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(form, inspect.Metadata):
        return _alternatives(form.type)
    if isinstance(form, inspect.UnionType):
        return tuple(each for part in form.types for each in _alternatives(part))
    return (form,)
