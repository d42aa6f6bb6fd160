"""API keys of an account. They are made and revoked after a login only: a key cannot make another credential."""

import secrets
from datetime import timedelta
from typing import ClassVar

from application.accounts.access import require_access
from application.accounts.sessions import Actor
from application.oauth import fingerprint
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.api_keys import (
    SECRET_BYTES,
    ApiKey,
    ApiKeyId,
    ApiKeyNotFound,
    ApiKeyRequest,
    TooManyApiKeys,
    new_api_key,
    secret_of,
    shown_prefix,
)
from domain.errors import Errors, TooManyRequests

KEYS_PER_ACCOUNT = Limit("api-key-account", times=60, per=timedelta(hours=1))
"""New keys, also those that were revoked since."""


@use_case
class CreateApiKey:
    """Creates an API key, whose secret is shown in this answer only.

    - A key may do what its scopes name, and never more than the account: scopes `admin:…` need the role of an admin.
      Writing does not include reading.
    - No key can make or revoke keys, or change the password, the address or the sessions of the account.
    - An account has a maximum number of keys that have not expired (`API_KEYS_PER_ACCOUNT`), and 60 new ones an hour.
    """

    raises: ClassVar[Errors] = (TooManyRequests, TooManyApiKeys)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    clock: Clock
    at_most: int

    async def __call__(self, actor: Actor, request: ApiKeyRequest) -> tuple[ApiKey, str]:
        """The key and its secret. Raises `Unauthenticated` if the login has ended meanwhile."""
        now = self.clock.now()
        new = new_api_key(actor.user, now, request)
        await self.limiter.take(KEYS_PER_ACCOUNT, str(actor.user.id))
        secret = secret_of(secrets.token_bytes(SECRET_BYTES))
        async with self.open_work() as work:
            await require_access(work, actor.user)
            if await work.api_keys.count(actor.user.id, now) >= self.at_most:
                raise TooManyApiKeys
            key = await work.api_keys.add(
                actor.user.id, new, now, prefix=shown_prefix(secret), fingerprint=fingerprint(secret)
            )
            await work.commit()
        return key, secret


@use_case
class RevokeApiKey:
    """Revokes an API key of the calling account. The next request with it is rejected, and live connections end."""

    raises: ClassVar[Errors] = (ApiKeyNotFound,)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, actor: Actor, key_id: ApiKeyId) -> None:
        async with self.open_work() as work:
            await work.api_keys.revoke(actor.user.id, key_id, self.clock.now(), reason="revoked")
            await work.commit()
