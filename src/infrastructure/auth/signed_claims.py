"""Claims in a JSON Web Token that is signed with HS256 (RFC 7515, 7518, 7519).

Without PyJWT, which reads every algorithm: with `cryptography`, that it imports, it takes 10 MB of a process.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{43}")
_ALGORITHM = "HS256"


class InvalidToken(ValueError):
    """The text is no token, or not one of this key."""


class SignedClaims:
    """`key`: at least 32 bytes (RFC 7518, 3.2)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._head = _encoded(msgspec.json.encode({"alg": _ALGORITHM, "typ": "JWT"}))

    def token(self, claims: Mapping[str, Any]) -> str:
        return self._signed(f"{self._head}.{_encoded(msgspec.json.encode(claims))}")

    def claims(self, token: str) -> dict[str, Any]:
        """Those of a token with the signature of this key. Raises `InvalidToken`."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise InvalidToken("not three parts in base64url")
        # The head is not trusted to name the algorithm: there is one.
        if not hmac.compare_digest(self._signed(token.rpartition(".")[0]), token):
            raise InvalidToken("not signed by this key")
        head, claims = _object(found[1]), _object(found[2])
        # Extensions that have to be understood (RFC 7515, 4.1.11) are not.
        if head.get("alg") != _ALGORITHM or "crit" in head:
            raise InvalidToken("not of this algorithm")
        return claims

    def _signed(self, signed: str) -> str:
        return f"{signed}.{_encoded(hmac.digest(self._key, signed.encode(), hashlib.sha256))}"


def _encoded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _object(part: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise InvalidToken("not an object in JSON") from error
