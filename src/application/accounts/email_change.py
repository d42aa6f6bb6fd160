"""Change of the e-mail address of an account."""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

from application.accounts.access import end_access, require_access
from application.accounts.account_tokens import TRIES_PER_NETWORK, RequestTokens, redeem_token
from application.accounts.owner import ConfirmOwner
from application.accounts.sessions import Actor
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.account_tokens import SURVIVE_ACCESS_END, TokenKind, TokenNotValid
from domain.accounts import EmailTaken, InvalidCredentials, RecentSignInRequired, check_mailable
from domain.credentials import AccessEnd, Credential
from domain.errors import Errors, Invalid, TooManyRequests
from domain.networks import network_of

CHANGES_PER_ACCOUNT = Limit("email-change-account", times=5, per=timedelta(hours=1))
CHANGES_PER_ADDRESS = Limit("email-change-address", times=5, per=timedelta(hours=1))
"""By new address, whether or not it has an account."""


@use_case
class RequestEmailChange:
    """Requests another e-mail address for the calling account.

    - The password is required. For an account without one, which signs in with Google alone, the present session must
      have begun in the last five minutes.
    - The new address gets a mail with a link that makes the change, valid for 24 hours. Another request replaces it.
    - The present address gets a mail with a link that undoes the change, valid for 72 hours, also after the change.
    - The answer is the same if another account has the address: the mail to it says so, and has no link.
    - Five requests an hour for an account, and for a new address.
    """

    raises: ClassVar[Errors] = (InvalidCredentials, RecentSignInRequired, TooManyRequests)

    open_work: OpenUnitOfWork
    confirm_owner: ConfirmOwner
    tokens: RequestTokens
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock
    smtputf8: bool = False

    async def __call__(self, actor: Actor, *, email: str, password: str | None, address: str) -> None:
        check_mailable(email, smtputf8=self.smtputf8)
        if email == actor.user.email:
            raise Invalid({"email": "Is the address of the account"})
        await self.confirm_owner(actor, password=password, address=address)
        await self.limiter.take(CHANGES_PER_ACCOUNT, str(actor.user.id))
        await self.limiter.take(CHANGES_PER_ADDRESS, email)
        request = uuid4()
        async with self.open_work() as work:
            await require_access(work, actor.user)
            user, now = await work.users.get(actor.user.id), self.clock.now()
            await work.account_tokens.revoke(user.id, {TokenKind.CHANGE_EMAIL}, now)
            await self.tokens.store(work, request, TokenKind.UNDO_EMAIL_CHANGE, user, email=user.email, now=now)
            await self.tokens.store(work, request, TokenKind.CHANGE_EMAIL, user, email=email, now=now)
            await work.messages.enqueue_email_change(user, new_email=email, request=request)
            await work.commit()
        self.wake_ups.notify()


@use_case
class ChangeEmail:
    """Changes the e-mail address of an account by the token of the mail to the new address.

    - The new address is verified, and all other pending links of the account end, but for those that undo a change.
    - Later mails and calendar entries have the new address. The one before gets a mail, and is reserved for the account
      as long as it can be given back.
    - A token is valid for 24 hours and used once. Tokens that are not valid are limited per network.
    """

    raises: ClassVar[Errors] = (TooManyRequests, TokenNotValid, EmailTaken)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, token: str, *, address: str) -> None:
        now, network = self.clock.now(), network_of(address)
        await self.limiter.take(TRIES_PER_NETWORK, network)
        async with self.open_work() as work:
            before, used = await redeem_token(work, TokenKind.CHANGE_EMAIL, token, now)
            user = await work.users.change_email(before, used.email, now)
            await work.users.save(replace(user, is_verified=True))
            await work.account_tokens.revoke(user.id, set(TokenKind) - SURVIVE_ACCESS_END, now)
            # Their fingerprints are made with the address.
            await work.access.revoke(user.id, {Credential.KNOWN_NETWORKS}, now, reason="e-mail address changed")
            await work.messages.enqueue_email_changed(before)
            await work.commit()
        self.wake_ups.notify()
        await self.limiter.give_back(TRIES_PER_NETWORK, network)


@use_case
class UndoEmailChange:
    """Gives an account back the e-mail address that it had before a change, by the token of the mail to that address.

    - The token has proven the address: all access ends, among it the password, every session, connected calendars and a
      sign-in with Google that may have been linked by the new address.
    - A mail to the address has a link that sets a new password.
    - Links that would undo an earlier change stay valid, those of the same and of later changes end.
    - A change that is not made yet is given up in the same way.
    - A token is valid for 72 hours and used once. Tokens that are not valid are limited per network.
    """

    raises: ClassVar[Errors] = (TooManyRequests, TokenNotValid)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, token: str, *, address: str) -> None:
        now, network = self.clock.now(), network_of(address)
        await self.limiter.take(TRIES_PER_NETWORK, network)
        async with self.open_work() as work:
            user, used = await redeem_token(work, TokenKind.UNDO_EMAIL_CHANGE, token, now)
            if user.email != used.email:
                user = replace(await work.users.change_email(user, used.email, now), external_id=None)
            await end_access(work, replace(user, is_verified=True), AccessEnd.EMAIL_CHANGE_UNDONE, now)
            await work.account_tokens.revoke_younger(used, now)
            await work.messages.enqueue_password_reset(used.email)
            await work.commit()
        self.wake_ups.notify()
        await self.limiter.give_back(TRIES_PER_NETWORK, network)
