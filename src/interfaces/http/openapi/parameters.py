"""The parameters of an operation, as their types describe them, and the header of every POST."""

from typing import Any

from interfaces.http.idempotency import HEADER
from interfaces.http.openapi.operations import Operation

_ONCE = "For 72 hours the same key with the same request gets the same answer; see *Idempotency*."
_MADE_ONCE = "The same key with the same request is carried out once; tokens are not stored. See *Idempotency*."
_NOT_ONCE = "No effect here: answers with tokens are not stored. See *Idempotency*."


def idempotency_key(*, answers_once: bool, issues_tokens: bool) -> dict[str, Any]:
    """The header of every POST."""
    same = _MADE_ONCE if issues_tokens else _ONCE
    return {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": same if answers_once else _NOT_ONCE,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    }


def described(operation: Operation, parameter: dict[str, Any], example: Any) -> dict[str, Any]:
    """An OpenAPI parameter with its meaning. Raises `LookupError` for one whose type has no converter."""
    converter, default = operation.parameters[parameter["name"]]
    if converter is None:
        raise LookupError(f"{operation.id}: the type of {parameter['name']} has no Converter to describe it")
    schema = dict(converter.schema) | ({"default": default} if isinstance(default, int | str) else {})
    shown = {} if example is None else {"example": example}
    return {**parameter, "description": converter.description, "schema": schema, **shown}
