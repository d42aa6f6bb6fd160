"""The times in a JSON Web Token, compared with a given time. PyJWT compares them with the machine's clock."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jwt
from jwt.types import Options

TIMES = ("exp", "iat", "nbf")
UNCHECKED: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
"""Options of PyJWT that leave these times to `check_times`."""


def check_times(claims: Mapping[str, Any], now: datetime, leeway: float) -> None:
    """Raises jwt.InvalidTokenError as PyJWT would at `now`. `leeway`: seconds."""
    present = now.timestamp()
    if _seconds(claims, "exp", present) <= present - leeway:
        raise jwt.ExpiredSignatureError("Signature has expired")
    for claim in ("iat", "nbf"):
        if _seconds(claims, claim, present) > present + leeway:
            raise jwt.ImmatureSignatureError(f"The token is not yet valid ({claim})")


def _seconds(claims: Mapping[str, Any], claim: str, otherwise: float) -> float:
    if claim not in claims:
        return otherwise + 1 if claim == "exp" else otherwise
    try:
        return int(claims[claim])
    except (ValueError, TypeError, OverflowError):
        raise jwt.DecodeError(f"{claim} is not a number") from None
