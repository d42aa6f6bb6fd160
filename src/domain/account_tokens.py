"""Secrets in the links of mails about accounts, and the challenges of passkeys."""

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
    CHANGE_EMAIL = "change_email"
    """Makes its address that of the account."""
    UNDO_EMAIL_CHANGE = "undo_email_change"
    """Gives the account back its address from before a change."""
    ADD_PASSKEY = "add_passkey"
    """The challenge that a new passkey signs."""
    USE_PASSKEY = "use_passkey"
    """The challenge that a passkey signs at a login or for a change."""


SURVIVE_ACCESS_END = frozenset({TokenKind.UNDO_EMAIL_CHANGE})
"""Kinds that the end of access does not revoke: otherwise a new password by an intruder would prevent the undoing."""

TOKEN_LIFETIME: Mapping[TokenKind, timedelta] = {
    TokenKind.VERIFY_EMAIL: timedelta(hours=24),
    TokenKind.RESET_PASSWORD: timedelta(hours=1),
    TokenKind.CHANGE_EMAIL: timedelta(hours=24),
    TokenKind.UNDO_EMAIL_CHANGE: timedelta(hours=72),
    TokenKind.ADD_PASSKEY: timedelta(minutes=5),
    TokenKind.USE_PASSKEY: timedelta(minutes=5),
}
"""From the sending of the mail on."""

UNSENT_TOKEN_LIFETIME = timedelta(days=10)
"""Of a token that is stored before its mail is sent, which may take nine days (`DELIVERY_RETRY_SCHEDULE`)."""


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
