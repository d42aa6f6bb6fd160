"""Secrets in the links of mails about accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from domain.accounts import UserId
from domain.errors import Conflict


class TokenKind(StrEnum):
    VERIFY_EMAIL = "verify_email"
    """Proves the address of an account."""
    RESET_PASSWORD = "reset_password"  # noqa: S105 (a name)
    """Sets a new password."""


TOKEN_LIFETIME: Mapping[TokenKind, timedelta] = {
    TokenKind.VERIFY_EMAIL: timedelta(hours=24),
    TokenKind.RESET_PASSWORD: timedelta(hours=1),
}


class TokenNotValid(Conflict):
    """One error for a token that is unknown, of another kind, used, expired, or of an account that has changed: it
    reveals nothing about tokens and accounts."""

    code = "token_not_valid"
    message = "This link is not valid. It may have expired or been used. Please request a new one"


class AlreadyVerified(Conflict):
    code = "already_verified"
    message = "The e-mail address is verified"


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A stored token. `fingerprint` is the hash of the secret. `email` is the address that the token is about."""

    fingerprint: bytes
    kind: TokenKind
    user_id: UserId
    email: str
