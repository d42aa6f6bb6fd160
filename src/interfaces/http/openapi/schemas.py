"""Normalises Litestar's JSON schemas for users of OpenAPI 3.1."""

from decimal import Decimal
from typing import Any

_NOISE = {"deprecated": False, "allowEmptyValue": False, "allowReserved": False, "required": [], "headers": {}}
"""Values in Litestar's schemas that carry no information."""

_REFERENCE = "#/components/schemas/"
_BIGINT = 2**63


def tidied(part: Any) -> Any:
    """A simplified copy of a part of the document: no `oneOf` with one member, `null` as a type, integer limits."""
    if isinstance(part, list):
        return [tidied(item) for item in part]
    if isinstance(part, Decimal):
        return float(part)
    if not isinstance(part, dict):
        return part
    kept = {key: tidied(value) for key, value in part.items() if key not in _NOISE or value != _NOISE[key]}
    kept = _flattened(kept)
    if kept.get("type") == "integer":
        if kept.get("maximum", 0) >= _BIGINT:
            kept["maximum"] = _BIGINT - 1
        if "minimum" in kept:
            kept["minimum"] = int(kept["minimum"])
        kept["format"] = "int64"
    return kept


def named(drawn: dict[str, Any]) -> dict[str, Any]:
    """The document with each schema under its title. Raises `LookupError` for a title that two schemas have."""
    names: dict[str, str] = {}
    for key, schema in drawn["components"]["schemas"].items():
        if schema["title"] in names.values():
            raise LookupError(f"Two schemas are called {schema['title']}: give one another name in schema_names.py")
        names[key] = schema["title"]
    renamed: dict[str, Any] = _with_references(
        drawn, {_REFERENCE + key: _REFERENCE + name for key, name in names.items()}
    )
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {name: schemas[key] for key, name in names.items()}
    return renamed


def with_named_enum(parameter: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Replaces the values of a named enum in a parameter by a reference to its schema."""
    values = parameter["schema"].get("enum")
    name = next((name for name, schema in schemas.items() if values and schema.get("enum") == values), None)
    return parameter if name is None else {**parameter, "schema": {"$ref": _REFERENCE + name}}


def _with_references(part: Any, renamed: dict[str, str]) -> Any:
    if isinstance(part, list):
        return [_with_references(item, renamed) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: renamed[value] if key == "$ref" and value in renamed else _with_references(value, renamed)
        for key, value in part.items()
    }


def _flattened(schema: dict[str, Any]) -> dict[str, Any]:
    match schema.get("oneOf"):
        case [dict(only)]:
            merged = only
        case [{"type": str(kind)} as nullable, {"type": "null"}]:
            merged = nullable | {"type": [kind, "null"]}
        case _:
            return schema
    return {key: value for key, value in schema.items() if key != "oneOf"} | merged
