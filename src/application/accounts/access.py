"""Ends the access to an account, and prevents new credentials for an access that has ended."""

from dataclasses import replace
from datetime import datetime

from application.unit_of_work import UnitOfWork
from domain.accounts import User
from domain.credentials import REVOKED, AccessEnd
from domain.errors import Unauthenticated


async def end_access(work: UnitOfWork, user: User, why: AccessEnd, now: datetime) -> User:
    """Saves the account with the next token version and revokes what `why` ends. The account is locked by the caller;
    `user` may have further changes."""
    outdated = replace(user, token_version=user.token_version + 1)
    await work.users.save(outdated)
    await work.access.revoke(user.id, REVOKED[why], now, reason=why)
    return outdated


async def require_access(work: UnitOfWork, user: User) -> None:
    """Locks the account. For use cases that create a credential for a user who was authenticated before.

    Raises `Unauthenticated` when that access has ended meanwhile.
    """
    current = await work.users.get_locked(user.id)
    if not current.is_active or current.token_version != user.token_version:
        raise Unauthenticated
