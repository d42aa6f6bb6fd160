"""JSON whose small values stay on one line: a difference between two versions reads like a list of changes."""

import json
from collections.abc import Iterator
from typing import Any

_WIDTH = 140


def text_of(value: Any) -> str:
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    whole = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(indent) + len(whole) <= _WIDTH:
        yield whole
        return
    begin, end = ("{", "}") if isinstance(value, dict) else ("[", "]")
    yield begin
    inner = f"{indent} "
    entries: list[tuple[str, Any]] = (
        [(f"{json.dumps(key, ensure_ascii=False)}: ", each) for key, each in value.items()]
        if isinstance(value, dict)
        else [("", each) for each in value]
    )
    for number, (key, each) in enumerate(entries, 1):
        first, *others = _lines(each, inner)
        lines = [f"{inner}{key}{first}", *others]
        lines[-1] += "," if number < len(entries) else ""
        yield from lines
    yield f"{indent}{end}"
