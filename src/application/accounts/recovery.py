"""Recovery of an account whose password is lost."""

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from application.accounts.access import end_access
from application.accounts.account_tokens import TRIES_PER_NETWORK, redeem_token
from application.accounts.ports.accounts import PasswordHasher
from application.oauth import fingerprint
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.account_tokens import TokenKind, TokenNotValid
from domain.accounts import PasswordPolicy, User, acceptable_password
from domain.credentials import AccessEnd
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of

RESETS_PER_ACCOUNT = Limit("password-reset-account", times=5, per=timedelta(hours=1))
"""By address, whether or not it has an account."""
RESETS_PER_NETWORK = Limit("password-reset-address", times=100, per=timedelta(hours=1))


@use_case
class RequestPasswordReset:
    """Requests a mail with a link that sets a new password, valid for an hour.

    - The answer, the work and the limits are the same for addresses with and without an account: the worker looks the
      account up when it sends the mail.
    - Five requests an hour for an address, 100 for a network.
    """

    raises: ClassVar[Errors] = (TooManyRequests,)

    open_work: OpenUnitOfWork
    limiter: RateLimiter
    wake_ups: WakeUps

    async def __call__(self, *, email: str, address: str) -> None:
        await self.limiter.take(RESETS_PER_NETWORK, network_of(address))
        await self.limiter.take(RESETS_PER_ACCOUNT, email)
        async with self.open_work() as work:
            await work.messages.enqueue_password_reset(email)
            await work.commit()
        self.wake_ups.notify()


@use_case
class ResetPassword:
    """Sets a new password by the token of a mail.

    - All logins and API keys, the secret address of the calendar feed and all other pending links of the account end.
      The owner gets a mail.
    - The token has proven the address. If it was not proven before, all earlier access ends: calendars that were
      connected, known networks, and a sign-in with Google whose address Google had not verified.
    - A password that is not acceptable does not use the token.
    """

    raises: ClassVar[Errors] = (TooManyRequests, TokenNotValid)

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    limiter: RateLimiter
    wake_ups: WakeUps
    clock: Clock
    policy: PasswordPolicy

    async def __call__(self, token: str, *, password: str, address: str) -> None:
        network = network_of(address)
        await self.limiter.take(TRIES_PER_NETWORK, network)
        owner = await self._owner(token)
        password = acceptable_password(password, self.policy, context=(owner.name, owner.email))
        password_hash = await self.hasher.hash(password)
        now = self.clock.now()
        async with self.open_work() as work:
            user, used = await redeem_token(work, TokenKind.RESET_PASSWORD, token, now)
            if used.email != user.email:
                raise TokenNotValid
            if user.is_verified:
                await end_access(work, user, AccessEnd.PASSWORD_RESET, now)
            else:
                proven = replace(user, is_verified=True, external_id=None)
                await end_access(work, proven, AccessEnd.ADDRESS_PROVEN_BY_RESET, now)
            await work.users.set_password(user.id, password_hash)
            await work.messages.enqueue_password_changed(user.id)
            await work.commit()
        self.wake_ups.notify()
        await self.limiter.give_back(TRIES_PER_NETWORK, network)

    async def _owner(self, token: str) -> User:
        """Before the hash is computed: guesses cost little, and the policy needs the account."""
        async with self.open_work() as work:
            hashed = fingerprint(token)
            user_id = await work.account_tokens.find_owner(hashed, TokenKind.RESET_PASSWORD, self.clock.now())
            if user_id is None:
                raise TokenNotValid
            return await work.users.get(user_id)


@use_case
class SetPassword:
    """Sets the password of an account, as an operator. All logins and API keys, the secret address of the calendar feed
    and all pending links of the account end. The owner gets a mail."""

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    wake_ups: WakeUps
    clock: Clock
    policy: PasswordPolicy

    async def __call__(self, *, email: str, password: str) -> User | None:
        """Returns None if there is no such account."""
        async with self.open_work() as work:
            credentials = await work.users.find_credentials(email)
        if credentials is None:
            return None
        user = credentials.user
        password_hash = await self.hasher.hash(
            acceptable_password(password, self.policy, context=(user.name, user.email))
        )
        async with self.open_work() as work:
            user = await end_access(
                work, await work.users.get_locked(user.id), AccessEnd.PASSWORD_RESET, self.clock.now()
            )
            await work.users.set_password(user.id, password_hash)
            await work.messages.enqueue_password_changed(user.id)
            await work.commit()
        self.wake_ups.notify()
        return user
