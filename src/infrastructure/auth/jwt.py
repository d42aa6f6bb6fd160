"""JSON Web Tokens, HS256. Access and refresh tokens have different audiences and types, so that neither is accepted as
the other (RFC 8725, 3.9 and 3.11)."""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import jwt

from application.accounts.ports.accounts import AccessClaims
from application.ports import Clock
from domain.accounts import LoginId, UserId
from domain.errors import Unauthenticated
from infrastructure.auth.token_times import TIMES, UNCHECKED, check_times

ISSUER = "convene"
ACCESS = "access"
REFRESH = "refresh"
CLOCK_SKEW = timedelta(seconds=5)
VERIFIED_TOKENS = 4096
"""Access tokens whose signature and claims are not verified again."""


class JsonWebTokens:
    def __init__(self, key: str, clock: Clock, *, access_for: timedelta, refresh_for: timedelta) -> None:
        # A JWK is prepared once. A key as bytes is searched for a PEM at every request, which takes a tenth of the
        # API's time for a booking.
        self._key = jwt.PyJWK({"kty": "oct", "k": base64.urlsafe_b64encode(key.encode()).decode(), "alg": "HS256"})
        self._clock = clock
        self._access_for = access_for
        self._refresh_for = refresh_for
        self._verified: dict[bytes, tuple[Mapping[str, Any], AccessClaims]] = {}
        """By the token's digest, oldest first. The times of a token are compared with the clock at each use."""

    def issue_access(self, claims: AccessClaims, now: datetime, *, until: datetime | None = None) -> str:
        return self._issue(
            ACCESS,
            now,
            _earliest(now + self._access_for, until),
            sub=str(claims.user_id),
            sid=str(claims.login_id),
            ver=claims.token_version,
        )

    def read_access(self, token: str) -> AccessClaims:
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is None:
            claims = self._read(ACCESS, token)
            known = {name: claims[name] for name in TIMES if name in claims}, _access_claims(claims)
            if len(self._verified) >= VERIFIED_TOKENS:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = known
        try:
            check_times(known[0], self._clock.now(), CLOCK_SKEW.total_seconds())
        except jwt.InvalidTokenError:
            del self._verified[digest]
            raise Unauthenticated from None
        return known[1]

    def issue_refresh(self, login_id: LoginId, now: datetime, *, until: datetime | None = None) -> tuple[str, datetime]:
        expires_at = _earliest(now + self._refresh_for, until)
        return self._issue(REFRESH, now, expires_at, sid=str(login_id), jti=uuid.uuid4().hex), expires_at

    def read_refresh(self, token: str) -> LoginId:
        try:
            return LoginId(uuid.UUID(self._read(REFRESH, token)["sid"]))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Unauthenticated from None

    def fingerprint(self, token: str) -> bytes:
        return hashlib.sha256(token.encode()).digest()

    def _issue(self, kind: str, now: datetime, expires_at: datetime, **claims: Any) -> str:
        return jwt.encode(
            {"iss": ISSUER, "aud": f"{ISSUER}-{kind}", "typ": kind, "iat": now, "exp": expires_at, **claims},
            self._key,
            algorithm="HS256",
        )

    def _read(self, kind: str, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=f"{ISSUER}-{kind}",
                issuer=ISSUER,
                options={"require": ["iss", "aud", "iat", "exp", "sid"], **UNCHECKED},
            )
            check_times(claims, self._clock.now(), CLOCK_SKEW.total_seconds())
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise Unauthenticated from None
        if claims.get("typ") != kind:
            raise Unauthenticated
        return claims


def _earliest(expires_at: datetime, until: datetime | None) -> datetime:
    return expires_at if until is None else min(expires_at, until)


def _access_claims(claims: Mapping[str, Any]) -> AccessClaims:
    """Raises `Unauthenticated`."""
    try:
        user_id, version = int(claims["sub"]), claims["ver"]
        # A subject is a text (RFC 7519, 4.1.2).
        if not (isinstance(claims["sub"], str) and isinstance(version, int) and 0 < user_id < 2**63):
            raise Unauthenticated
        return AccessClaims(UserId(user_id), LoginId(uuid.UUID(claims["sid"])), version)
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Unauthenticated from None
