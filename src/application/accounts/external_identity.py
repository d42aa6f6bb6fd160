"""Sign-in with an external identity: by the authorization code flow in a browser, or by an ID token of a client."""

from datetime import timedelta
from typing import ClassVar

from application.accounts.access import end_access
from application.accounts.login import LoggedIn, StartLogin, tokens_of
from application.accounts.ports.accounts import IdentityProvider
from application.oauth import AttemptUnknown, OAuthAttempts, Started
from application.outbox.ports import WakeUps
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import EmailTaken, User, check_mailable
from domain.credentials import AccessEnd
from domain.errors import Errors, Invalid, TooManyRequests, Unavailable
from domain.external_identity import (
    AccountDeactivated,
    EmailNotShared,
    EmailNotVerified,
    ExternalAccountTaken,
    ExternalIdentity,
    IdentityNotProven,
    IdentityProviderUnavailable,
    OtherExternalAccount,
    SignInDenied,
    SignInNotConfigured,
    SignInRefused,
    display_name,
    linked,
    proves_ownership,
    signed_in_again,
)
from domain.networks import network_of
from domain.second_factors import LoginKind, SecondFactorRequired

STARTS_PER_ADDRESS = Limit("google-start-address", times=300, per=timedelta(hours=1))
TOKENS_PER_ADDRESS = Limit("google-token-address", times=300, per=timedelta(hours=1))
TRIES = 3
MAX_CODE = 4_096


_OF_IDENTITY: Errors = (
    IdentityNotProven,
    EmailNotShared,
    EmailNotVerified,
    OtherExternalAccount,
    AccountDeactivated,
    SecondFactorRequired,
    IdentityProviderUnavailable,
    SignInNotConfigured,
)


@use_case
class SignInWithIdentity:
    """Logs in the account of a verified external identity.

    - The account is found by the provider and the subject, which never change.
    - Else the account with the e-mail address is linked, if the provider has verified the address. If the address had
      not been proven here, all earlier access ends: password, logins, calendar feed, connected calendars.
    - Else a new account of role `user` is added, without a password, if mail can be sent to the address. An address
      that the provider has not verified gets a mail with a link that verifies it.
    - A deactivated account is refused.
    - An account with a second factor gets a ticket instead of tokens: every login is equally strong (ASVS 6.3.4).
    """

    open_work: OpenUnitOfWork
    start_login: StartLogin
    wake_ups: WakeUps
    clock: Clock
    smtputf8: bool = False

    async def __call__(
        self,
        identity: ExternalIdentity,
        *,
        name: str | None = None,
        address: str | None = None,
        login: LoginKind = LoginKind.GOOGLE,
    ) -> LoggedIn:
        """`name` is used for a new account if the identity has none. `address` is the client's network address."""
        for _ in range(TRIES):
            try:
                async with self.open_work() as work:
                    user = await self._account(work, identity, name)
                    started = await self.start_login.unless_factor_required(work, user, address=address, login=login)
                    await work.commit()
            except (EmailTaken, ExternalAccountTaken):
                continue  # a concurrent first sign-in of the same person has added the account
            if not user.is_verified:
                self.wake_ups.notify()
            return tokens_of(started)
        raise Unavailable

    async def _account(self, work: UnitOfWork, identity: ExternalIdentity, name: str | None) -> User:
        user = await work.users.find_by_identity(identity)
        if user is not None:
            return await self._accept_identity(work, user, signed_in_again(user, identity))
        if identity.email is None:
            raise EmailNotShared
        credentials = await work.users.find_credentials(identity.email)
        if credentials is not None:
            user = await work.users.get_locked(credentials.user.id)
            if user.external_id == identity.subject:  # linked by a concurrent first sign-in
                return await self._accept_identity(work, user, signed_in_again(user, identity))
            return await self._accept_identity(
                work, user, linked(user, identity), take_over=proves_ownership(user, identity)
            )
        check_mailable(identity.email, smtputf8=self.smtputf8)
        if await work.users.has_reserved(identity.email, self.clock.now()):
            raise OtherExternalAccount  # an account had the address, and can get it back
        shown = display_name(identity.name, name, identity.email.partition("@")[0])
        user = await work.users.add_external(identity, email=identity.email, name=shown, now=self.clock.now())
        if not user.is_verified:
            await work.messages.enqueue_email_verification(user.id)
        return user

    async def _accept_identity(self, work: UnitOfWork, user: User, changed: User, *, take_over: bool = False) -> User:
        if not user.is_active:
            raise AccountDeactivated
        if take_over:
            return await end_access(work, changed, AccessEnd.ADDRESS_PROVEN, self.clock.now())
        if changed != user:
            await work.users.save(changed)
        return changed


@use_case
class StartExternalSignIn:
    """Starts an attempt. Returns the address of the consent screen and the secrets that the browser must return."""

    raises: ClassVar[Errors] = (SignInNotConfigured, IdentityProviderUnavailable, TooManyRequests)

    provider: IdentityProvider | None
    attempts: OAuthAttempts
    limiter: RateLimiter

    async def __call__(self, *, address: str) -> tuple[str, Started]:
        if self.provider is None:
            raise SignInNotConfigured
        await self.limiter.take(STARTS_PER_ADDRESS, network_of(address))
        started = self.attempts.new()
        url = await self.provider.consent_url(state=started.state, nonce=started.nonce, verifier=started.verifier)
        await self.attempts.keep(started)
        return url, started


@use_case
class FinishExternalSignIn:
    """Completes an attempt with the parameters of the provider's redirect. Each attempt can be completed once, with or
    without success."""

    raises: ClassVar[Errors] = (SignInDenied, AttemptUnknown, SignInRefused, *_OF_IDENTITY)

    provider: IdentityProvider | None
    attempts: OAuthAttempts
    sign_in: SignInWithIdentity

    async def __call__(
        self, *, state: str | None, browser: str | None, code: str | None, error: str | None, address: str
    ) -> LoggedIn:
        if self.provider is None:
            raise SignInNotConfigured
        if error == "access_denied" and not state:
            raise SignInDenied  # without a state there is no attempt to complete
        attempt = await self.attempts.take(state=state, browser=browser)
        if error == "access_denied":
            raise SignInDenied
        if error in {"server_error", "temporarily_unavailable"}:
            raise IdentityProviderUnavailable
        if error or not code or len(code) > MAX_CODE:
            raise SignInRefused
        identity = await self.provider.redeem(code, nonce=attempt.nonce, verifier=attempt.verifier)
        return await self.sign_in(identity, address=address)


@use_case
class SignInWithIdToken:
    """Signs in by an ID token that the client received from the provider. The token proves the other arguments."""

    raises: ClassVar[Errors] = (TooManyRequests, *_OF_IDENTITY)

    provider: IdentityProvider | None
    sign_in: SignInWithIdentity
    limiter: RateLimiter

    async def __call__(self, *, id_token: str, subject: str, email: str, name: str, address: str) -> LoggedIn:
        if self.provider is None:
            raise SignInNotConfigured
        await self.limiter.take(TOKENS_PER_ADDRESS, network_of(address))
        identity = await self.provider.verify(id_token)
        if identity.subject != subject:
            raise Invalid({"google_id": "Is not the one of the id_token"})
        if identity.email != email:
            raise Invalid({"email": "Is not the one of the id_token"})
        try:
            logged_in = await self.sign_in(identity, name=name, address=address, login=LoginKind.SESSIONS_API)
        except SecondFactorRequired:  # the token was right
            await self.limiter.give_back(TOKENS_PER_ADDRESS, network_of(address))
            raise
        await self.limiter.give_back(TOKENS_PER_ADDRESS, network_of(address))
        return logged_in
