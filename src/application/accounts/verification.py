"""Verification of the e-mail address of an account."""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from application.accounts.account_tokens import TRIES_PER_NETWORK, redeem_token
from application.accounts.sessions import Actor
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.account_tokens import AlreadyVerified, TokenKind, TokenNotValid
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of

VERIFICATIONS_PER_ACCOUNT = Limit("verification-account", times=5, per=timedelta(hours=1))


@use_case
class VerifyEmail:
    """Verifies the e-mail address of an account by the token of a mail to it. A token is valid for 24 hours and used
    once; the other ones of the account end with it. Tokens that are not valid are limited per network."""

    raises: ClassVar[Errors] = (TooManyRequests, TokenNotValid)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    clock: Clock

    async def __call__(self, token: str, *, address: str) -> None:
        now, network = self.clock.now(), network_of(address)
        await self.limiter.take(TRIES_PER_NETWORK, network)
        async with self.open_work() as work:
            user, used = await redeem_token(work, TokenKind.VERIFY_EMAIL, token, now)
            if used.email != user.email:
                raise TokenNotValid
            await work.users.save(replace(user, is_verified=True))
            await work.account_tokens.revoke(user.id, {TokenKind.VERIFY_EMAIL}, now)
            await work.commit()
        await self.limiter.give_back(TRIES_PER_NETWORK, network)


@use_case
class ResendVerification:
    """Sends another mail with a link that verifies the address of the calling account, at most five times an hour."""

    raises: ClassVar[Errors] = (AlreadyVerified, TooManyRequests)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps

    async def __call__(self, actor: Actor) -> None:
        if actor.user.is_verified:
            raise AlreadyVerified
        await self.limiter.take(VERIFICATIONS_PER_ACCOUNT, str(actor.user.id))
        async with self.open_work() as work:
            await work.messages.enqueue_email_verification(actor.user.id)
            await work.commit()
        self.wake_ups.notify()
