"""The times in a JSON Web Token, compared with a given time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

TIMES = ("exp", "iat", "nbf")


class NotValidNow(ValueError):
    """The token has expired, is not valid yet, or has a time that is no number."""


def check_times(claims: Mapping[str, Any], now: datetime, leeway: float) -> None:
    """Raises `NotValidNow`. `leeway`: seconds."""
    present = now.timestamp()
    if _seconds(claims, "exp", present) <= present - leeway:
        raise NotValidNow("expired")
    for claim in ("iat", "nbf"):
        if _seconds(claims, claim, present) > present + leeway:
            raise NotValidNow(f"not valid yet ({claim})")


def _seconds(claims: Mapping[str, Any], claim: str, otherwise: float) -> float:
    if claim not in claims:
        return otherwise + 1 if claim == "exp" else otherwise
    try:
        return int(claims[claim])
    except (ValueError, TypeError, OverflowError):
        raise NotValidNow(f"{claim} is not a number") from None
