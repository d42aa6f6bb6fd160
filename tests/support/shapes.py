"""What a contract promises of a JSON body: names and JSON types. More fields may be there, fewer may not."""

import re
from datetime import datetime
from typing import Any, Final
from uuid import UUID


class Instant:
    """RFC 3339 in UTC, written with `Z`, to the second."""


class Uuid:
    """A UUID in its usual spelling."""


class Nullable:
    def __init__(self, shape: Any) -> None:
        self.shape = shape


NUMBER: Final = (int, float)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def misfits(shape: Any, value: Any, at: str = "body") -> list[str]:
    """Where `value` breaks `shape`: a dict of fields, a one-item list for every item, a type, a tuple of types,
    `Instant`, `Uuid`, `Nullable(shape)`, or a constant that must be equal."""
    match shape:
        case dict():
            if not isinstance(value, dict):
                return [f"{at} is {value!r}, not an object"]
            missing = [f"{at}.{name} is missing" for name in shape if name not in value]
            return missing + [
                wrong
                for name, inner in shape.items()
                if name in value
                for wrong in misfits(inner, value[name], f"{at}.{name}")
            ]
        case [item]:
            if not isinstance(value, list):
                return [f"{at} is {value!r}, not an array"]
            return [wrong for number, each in enumerate(value) for wrong in misfits(item, each, f"{at}[{number}]")]
        case Nullable():
            return [] if value is None else misfits(shape.shape, value, at)
        case _ if shape is Instant:
            return [] if _is_instant(value) else [f"{at} is {value!r}, not an instant with Z"]
        case _ if shape is Uuid:
            return [] if _is_uuid(value) else [f"{at} is {value!r}, not a UUID"]
        case type() | tuple():
            fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
            return [] if fits else [f"{at} is {value!r}, not {shape}"]
        case _:
            same = value == shape and type(value) is type(shape)
            return [] if same else [f"{at} is {value!r}, not {shape!r}"]


def _is_instant(value: Any) -> bool:
    return isinstance(value, str) and bool(_INSTANT.fullmatch(value)) and bool(datetime.fromisoformat(value))


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False
