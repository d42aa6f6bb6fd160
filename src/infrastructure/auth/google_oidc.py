"""Google as an OpenID provider: its ID tokens, verified in full (OpenID Connect Core 1.0, 3.1.3.7)."""

import asyncio
import contextlib
import hmac
from collections.abc import Iterator
from typing import Any

import jwt
import msgspec
import structlog

from application.ports import Clock
from domain.external_identity import ExternalIdentity, IdentityNotProven, IdentityProviderUnavailable, SignInRefused
from infrastructure.auth.oauth import (
    AuthorizationServer,
    CodeRefused,
    ProviderConnection,
    ProviderUnavailable,
    Remembered,
)
from infrastructure.auth.token_times import UNCHECKED, check_times
from servicekit.mailboxes import UnusableAddress, same_spelling

_log = structlog.get_logger()

SCOPE = "openid email profile"
ALGORITHMS = frozenset({"RS256", "ES256"})
LEEWAY_SECONDS = 30
KEYS_SECONDS = 3600
UNKNOWN_KEY_SECONDS = 60
"""Seconds. After an unknown signing key the keys are fetched again, at most once in this time."""
MOST_KEYS = 50
MAX_TOKEN = 16 * 1024
MAX_PICTURE_URL = 2_048
ALL_SECONDS = 12
"""Limit for all requests to Google of one sign-in: discovery, code, keys."""

PROVIDER = "google"


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class GoogleOidc:
    """The port `IdentityProvider` for Google. `close` ends its connections."""

    def __init__(self, server: AuthorizationServer, connection: ProviderConnection, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._connection = connection
        self._keys = Remembered(self._fetch_keys, seconds=KEYS_SECONDS)

    async def consent_url(self, *, state: str, nonce: str, verifier: str) -> str:
        with _unavailable():
            return await self._server.authorization_url(
                scope=SCOPE, state=state, verifier=verifier, nonce=nonce, prompt="select_account"
            )

    async def redeem(self, code: str, *, nonce: str, verifier: str) -> ExternalIdentity:
        with _unavailable():
            async with asyncio.timeout(ALL_SECONDS):
                try:
                    grant = await self._server.exchange(code, verifier=verifier)
                except CodeRefused:
                    raise SignInRefused from None
                claims = await self._claims(grant.id_token or "")
        if not _same(claims.get("nonce"), nonce):
            raise _not_proven("its nonce is not the one of this sign-in")
        return _identity(claims)

    async def verify(self, id_token: str) -> ExternalIdentity:
        with _unavailable():
            async with asyncio.timeout(ALL_SECONDS):
                return _identity(await self._claims(id_token))

    async def close(self) -> None:
        await self._connection.close()

    async def _claims(self, id_token: str) -> dict[str, Any]:
        if len(id_token) > MAX_TOKEN:
            raise _not_proven("it is too long")
        client_id = self._server.client_id
        try:
            header = jwt.get_unverified_header(id_token)
            key = await self._key(header.get("kid"))
            metadata = await self._server.metadata()
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=[key.algorithm_name],
                audience=client_id,
                issuer=_spellings(metadata.issuer),
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat"],
                    "enforce_minimum_key_length": True,
                    **UNCHECKED,
                },
            )
            check_times(claims, self._clock.now(), LEEWAY_SECONDS)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _not_proven(f"{type(error).__name__}: {error}") from None
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client_id:
            raise _not_proven("it has several audiences and was not issued to us")
        return claims

    async def _key(self, key_id: object) -> jwt.PyJWK:
        """Raises `IdentityNotProven` for a key that Google does not have."""
        keys = await self._keys.get()
        if key_id is None and len(keys) == 1:
            return keys[0]  # OpenID Connect Core 1.0, 10.1: with one key its id may be omitted
        if key_id is None:
            raise _not_proven("it does not name its key")
        known = _named(keys, key_id) or _named(await self._keys.renewed(at_most_every=UNKNOWN_KEY_SECONDS), key_id)
        if known is None:
            raise _not_proven("it is signed by a key that Google does not have")
        return known

    async def _fetch_keys(self) -> list[jwt.PyJWK]:
        url = (await self._server.metadata()).jwks_uri
        given = (await self._connection.get(url, _KeySet)).keys
        keys = []
        for each in given[:MOST_KEYS]:
            with contextlib.suppress(jwt.PyJWTError, ValueError, TypeError, OverflowError):
                key = jwt.PyJWK(each)
                if key.algorithm_name in ALGORITHMS and each.get("use", "sig") == "sig":
                    keys.append(key)
        if not keys:
            raise ProviderUnavailable(f"{url} names no key that can be used")
        return keys


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (ProviderUnavailable, TimeoutError) as error:
        _log.warning("google.away", error=str(error) or f"not done within {ALL_SECONDS} s")
        raise IdentityProviderUnavailable from error


def _named(keys: list[jwt.PyJWK], key_id: object) -> jwt.PyJWK | None:
    return next((key for key in keys if key.key_id == key_id), None)


def _not_proven(why: str) -> IdentityNotProven:
    _log.warning("google.id_token_refused", why=why[:200])
    return IdentityNotProven()


def _spellings(issuer: str) -> list[str]:
    """The spellings of the issuer: Google uses it with and without the scheme ("Validating an ID token")."""
    return [issuer, "accounts.google.com"] if issuer == "https://accounts.google.com" else [issuer]


def _identity(claims: dict[str, Any]) -> ExternalIdentity:
    subject = claims["sub"]
    if not (isinstance(subject, str) and 0 < len(subject) <= 255 and subject.isascii() and subject.isprintable()):
        raise _not_proven("its sub is none")
    email, verified = _email(claims.get("email"))
    return ExternalIdentity(
        provider=PROVIDER,
        subject=subject,
        email=email,
        email_verified=verified and claims.get("email_verified") is True,
        name=_text(claims.get("name")),
        picture=_picture_url(claims.get("picture")),
    )


def _email(claim: object) -> tuple[str | None, bool]:
    """The normalised address, and whether the claim can prove it: normalising letters beyond ASCII may turn the address
    into that of another mailbox."""
    if not isinstance(claim, str):
        return None, False
    try:
        return same_spelling(claim), claim.rpartition("@")[0].isascii()
    except UnusableAddress:
        return None, False


def _text(claim: object) -> str | None:
    return claim if isinstance(claim, str) else None


def _picture_url(claim: object) -> str | None:
    if not isinstance(claim, str) or not claim.startswith("https://") or len(claim) > MAX_PICTURE_URL:
        return None
    return claim if claim.isascii() and claim.isprintable() else None


def _same(claim: object, expected: str) -> bool:
    return isinstance(claim, str) and hmac.compare_digest(claim.encode(errors="replace"), expected.encode())
