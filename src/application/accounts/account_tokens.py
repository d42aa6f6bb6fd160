"""Tokens of mails about accounts and challenges of passkeys: 256 random bits, stored as a hash, used once.

The worker makes a token when it sends the mail, so that no stored message contains one. Those of a request that another
one may replace before its mail is sent are stored with the request; the worker derives them again.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from application.oauth import fingerprint
from application.ports import Limit
from application.unit_of_work import UnitOfWork
from application.use_cases import use_case
from domain.account_tokens import (
    TOKEN_LIFETIME,
    UNSENT_TOKEN_LIFETIME,
    AccountToken,
    TokenKind,
    TokenNotValid,
)
from domain.accounts import User

TRIES_PER_NETWORK = Limit("account-token-address", times=300, per=timedelta(hours=1))
"""Tokens that are not valid."""


async def issue_token(work: UnitOfWork, kind: TokenKind, user: User, *, email: str, now: datetime) -> str:
    """The secret of a new token about this address."""
    secret = secrets.token_urlsafe(32)
    token = AccountToken(fingerprint(secret), kind, user.id, email)
    await work.account_tokens.add(token, now, expires_at=now + TOKEN_LIFETIME[kind])
    return secret


@use_case
class RequestTokens:
    """Tokens that are derived from the random id of a request. Without the `key` nothing that is stored yields one."""

    key: bytes

    async def store(
        self, work: UnitOfWork, request: UUID, kind: TokenKind, user: User, *, email: str, now: datetime
    ) -> None:
        """Stores the token of this kind about this address, before it is sent."""
        token = AccountToken(fingerprint(self._secret(request, kind)), kind, user.id, email)
        await work.account_tokens.add(token, now, expires_at=now + UNSENT_TOKEN_LIFETIME)

    async def send(
        self, work: UnitOfWork, request: UUID, kind: TokenKind, now: datetime
    ) -> tuple[str, AccountToken] | None:
        """The secret for a mail; its lifetime begins. None if the token was used or revoked."""
        secret = self._secret(request, kind)
        expires_at = now + TOKEN_LIFETIME[kind]
        token = await work.account_tokens.renew(fingerprint(secret), kind, now, expires_at=expires_at)
        return None if token is None else (secret, token)

    def _secret(self, request: UUID, kind: TokenKind) -> str:
        mac = hmac.digest(self.key, f"{kind}\n{request}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")


async def redeem_token(work: UnitOfWork, kind: TokenKind, secret: str, now: datetime) -> tuple[User, AccountToken]:
    """Uses the token and locks its account. Raises `TokenNotValid`, also for a deactivated account."""
    hashed = fingerprint(secret)
    user_id = await work.account_tokens.find_owner(hashed, kind, now)
    if user_id is None:
        raise TokenNotValid
    user = await work.users.get_locked(user_id)  # before its tokens, as everywhere
    token = await work.account_tokens.use(hashed, kind, now)
    if token is None or not user.is_active:
        raise TokenNotValid
    return user, token
