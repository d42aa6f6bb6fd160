"""A JSON value as names and types."""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


def types_of(value: Any) -> Any:
    """Objects by field, arrays by the type of their first item, `time` for text that is an instant."""
    match value:
        case dict():
            return {str(key): types_of(each) for key, each in value.items()}
        case [first, *_]:
            return [types_of(first)]
        case list():
            return []
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float() | Decimal():
            return "number"
        case datetime():
            return "time"
        case _:
            return "time" if _TIME.match(value) else "text"


def flat(fields: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """`event.id`, `attachments[].filename` and so on, with the type of each."""
    if isinstance(fields, dict):
        for name, each in fields.items():
            yield from flat(each, f"{at}.{name}" if at else name)
    elif isinstance(fields, list) and fields:
        yield from flat(fields[0], f"{at}[]")
    else:
        yield at, "empty" if fields == [] else fields
