"""Password hashes, tokens and identity providers in memory."""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from application.accounts.ports.accounts import AccessClaims
from application.ports import Clock
from domain.accounts import LoginId, UserId
from domain.errors import Unauthenticated
from domain.external_identity import ExternalIdentity, IdentityNotProven, IdentityProviderUnavailable, SignInRefused


class ReadablePasswords:
    """Hashes that a test can read. `method` is their first word; a hash of another method is outdated."""

    def __init__(self, method: str = "new") -> None:
        self.method = method
        self.verified: list[str | None] = []
        """The hashes that were compared."""

    async def hash(self, password: str) -> str:
        return f"{self.method} {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified.append(password_hash)
        return password_hash is not None and password_hash.partition(" ")[2] == password

    def needs_rehash(self, password_hash: str) -> bool:
        return password_hash.partition(" ")[0] != self.method


class ReadableTokens:
    """Tokens that a test can read: their kind, a number that makes each unique, their expiry, their claims."""

    def __init__(self, clock: Clock, *, access_for: timedelta, refresh_for: timedelta) -> None:
        self._clock = clock
        self._access_for = access_for
        self._refresh_for = refresh_for
        self._numbers = count(1)

    def issue_access(self, claims: AccessClaims, now: datetime, *, until: datetime | None = None) -> str:
        values = claims.user_id, claims.login_id, claims.token_version
        return self._issue("access", min(now + self._access_for, until or datetime.max.replace(tzinfo=UTC)), *values)

    def read_access(self, token: str) -> AccessClaims:
        user_id, login_id, token_version = self._read("access", token)
        return AccessClaims(UserId(int(user_id)), LoginId(UUID(login_id)), int(token_version))

    def issue_refresh(self, login_id: LoginId, now: datetime, *, until: datetime | None = None) -> tuple[str, datetime]:
        expires_at = min(now + self._refresh_for, until or datetime.max.replace(tzinfo=UTC))
        return self._issue("refresh", expires_at, login_id), expires_at

    def read_refresh(self, token: str) -> LoginId:
        (login_id,) = self._read("refresh", token)
        return LoginId(UUID(login_id))

    def fingerprint(self, token: str) -> bytes:
        return hashlib.sha256(token.encode()).digest()

    def _issue(self, kind: str, expires_at: datetime, *claims: object) -> str:
        return " ".join(map(str, (kind, next(self._numbers), expires_at.isoformat(), *claims)))

    def _read(self, kind: str, token: str) -> list[str]:
        words = token.split(" ")
        if words[0] != kind or len(words) < 4 or datetime.fromisoformat(words[2]) <= self._clock.now():
            raise Unauthenticated
        return words[3:]


class MemoryIdentityProvider:
    """`identities`: by authorization code or ID token. `consents`: the nonce and the verifier that each consent screen
    received, by its state; a code is redeemed once, with those of one of them."""

    def __init__(self) -> None:
        self.identities: dict[str, ExternalIdentity] = {}
        self.consents: dict[str, tuple[str, str]] = {}
        self.is_available = True

    async def consent_url(self, *, state: str, nonce: str, verifier: str) -> str:
        self._require_available()
        self.consents[state] = nonce, verifier
        return f"https://provider.example/consent?state={state}"

    async def redeem(self, code: str, *, nonce: str, verifier: str) -> ExternalIdentity:
        self._require_available()
        identity = self.identities.pop(code, None)
        if identity is None or verifier not in {sent for _, sent in self.consents.values()}:
            raise SignInRefused
        if nonce not in {sent for sent, _ in self.consents.values()}:
            raise IdentityNotProven
        return identity

    async def verify(self, id_token: str) -> ExternalIdentity:
        self._require_available()
        if id_token not in self.identities:
            raise IdentityNotProven
        return self.identities[id_token]

    def _require_available(self) -> None:
        if not self.is_available:
            raise IdentityProviderUnavailable
