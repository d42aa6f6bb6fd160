"""JSON schemas as OpenAPI 3.1 users expect them, from those that Litestar draws."""

from decimal import Decimal
from typing import Any

_NOISE = {"deprecated": False, "allowEmptyValue": False, "allowReserved": False, "required": [], "headers": {}}
"""What Litestar writes although it says nothing."""

_BIGINT = 2**63


def tidied(part: Any) -> Any:
    """A copy of a part of the document without noise and detours: `oneOf` of one, `null` as a type, sane integers."""
    if isinstance(part, list):
        return [tidied(item) for item in part]
    if isinstance(part, Decimal):
        return float(part)
    if not isinstance(part, dict):
        return part
    kept = {key: tidied(value) for key, value in part.items() if key not in _NOISE or value != _NOISE[key]}
    kept = _without_detour(kept)
    if kept.get("type") == "integer":
        if kept.get("maximum", 0) >= _BIGINT:
            kept["maximum"] = _BIGINT - 1
        if "minimum" in kept:
            kept["minimum"] = int(kept["minimum"])
        kept["format"] = "int64"
    return kept


def _without_detour(schema: dict[str, Any]) -> dict[str, Any]:
    match schema.get("oneOf"):
        case [dict(only)]:
            merged = only
        case [{"type": str(kind)} as nullable, {"type": "null"}]:
            merged = nullable | {"type": [kind, "null"]}
        case _:
            return schema
    return {key: value for key, value in schema.items() if key != "oneOf"} | merged
