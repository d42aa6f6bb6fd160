"""Tokens of mails about accounts: 256 random bits, stored as a hash, used once.

The worker makes a token when it sends the mail, so that no stored message contains one.
"""

import secrets
from datetime import datetime, timedelta

from application.oauth import fingerprint
from application.ports import Limit
from application.unit_of_work import UnitOfWork
from domain.account_tokens import TOKEN_LIFETIME, AccountToken, TokenKind, TokenNotValid
from domain.accounts import User

TRIES_PER_NETWORK = Limit("account-token-address", times=300, per=timedelta(hours=1))
"""Tokens that are not valid."""


async def issue_token(work: UnitOfWork, kind: TokenKind, user: User, *, email: str, now: datetime) -> str:
    """The secret of a new token about this address."""
    secret = secrets.token_urlsafe(32)
    token = AccountToken(fingerprint(secret), kind, user.id, email)
    await work.account_tokens.add(token, now, expires_at=now + TOKEN_LIFETIME[kind])
    return secret


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
