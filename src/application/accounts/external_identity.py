"""Google login: from a browser sent to Google, or an ID token that a client got there, to a login here."""

from dataclasses import dataclass
from datetime import timedelta

from application.accounts.access import end_access
from application.accounts.login import LoggedIn, StartLogin
from application.accounts.ports import GoogleAccounts
from application.oauth import OAuthAttempts, Started
from application.ports import Clock, Limit, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from domain.accounts import EmailTaken, User, check_mailable
from domain.credentials import AccessEnd
from domain.errors import Invalid, Unavailable
from domain.external_identity import (
    AccountDeactivated,
    EmailNotShared,
    GoogleAccountTaken,
    GoogleIdentity,
    GoogleNotConfigured,
    GoogleUnavailable,
    SignInDenied,
    SignInRefused,
    display_name,
    linked,
    proves_owner,
    returning,
)
from domain.networks import network_of

STARTS_PER_ADDRESS = Limit("google-start-address", times=300, per=timedelta(hours=1))
TOKENS_PER_ADDRESS = Limit("google-token-address", times=300, per=timedelta(hours=1))
TRIES = 3
MAX_CODE = 4_096


@dataclass(frozen=True, slots=True)
class SignInWithGoogle:
    """Logs in whoever a verified identity is about.

    - The account is found by Google's `sub`, which never changes.
    - Else the account of the e-mail address is linked, if Google has verified the address. Where the address had not
      been proven here, all access that was had before ends: password, logins, calendar feed, connected calendars.
    - Else a new account of role `user`, without a password, if mail can be sent to the address.
    - A deactivated account stays closed.
    """

    open_work: OpenUnitOfWork
    start_login: StartLogin
    clock: Clock
    smtputf8: bool = False

    async def __call__(
        self, identity: GoogleIdentity, *, name: str | None = None, address: str | None = None
    ) -> LoggedIn:
        """`name` is for a new account, where Google does not tell one. `address` is the client's."""
        for _ in range(TRIES):
            try:
                async with self.open_work() as work:
                    user = await self._account(work, identity, name)
                    logged_in = await self.start_login(work, user, address=address)
                    await work.commit()
                    return logged_in
            except (EmailTaken, GoogleAccountTaken):
                continue  # another first sign-in of the same person was faster: its account is there now
        raise Unavailable

    async def _account(self, work: UnitOfWork, identity: GoogleIdentity, name: str | None) -> User:
        user = await work.users.find_by_google_id(identity.subject)
        if user is not None:
            return await self._let_in(work, user, returning(user, identity))
        if identity.email is None:
            raise EmailNotShared
        credentials = await work.users.find_credentials(identity.email)
        if credentials is not None:
            user = await work.users.get_locked(credentials.user.id)
            if user.google_id == identity.subject:  # another first sign-in was faster, just now
                return await self._let_in(work, user, returning(user, identity))
            return await self._let_in(work, user, linked(user, identity), take_over=proves_owner(user, identity))
        check_mailable(identity.email, smtputf8=self.smtputf8)
        shown = display_name(identity.name, name, identity.email.partition("@")[0])
        return await work.users.add_from_google(identity, email=identity.email, name=shown, now=self.clock.now())

    async def _let_in(self, work: UnitOfWork, user: User, changed: User, *, take_over: bool = False) -> User:
        if not user.is_active:
            raise AccountDeactivated
        if take_over:
            return await end_access(work, changed, AccessEnd.ADDRESS_PROVEN, self.clock.now())
        if changed != user:
            await work.users.save(changed)
        return changed


@dataclass(frozen=True, slots=True)
class StartGoogleSignIn:
    """Begins an attempt; answers where to send the browser and what it must bring back."""

    google: GoogleAccounts | None
    attempts: OAuthAttempts
    limiter: RateLimiter

    async def __call__(self, *, address: str) -> tuple[str, Started]:
        if self.google is None:
            raise GoogleNotConfigured
        await self.limiter.take(STARTS_PER_ADDRESS, network_of(address))
        started = self.attempts.new()
        url = await self.google.consent_url(state=started.state, nonce=started.nonce, verifier=started.verifier)
        await self.attempts.keep(started)
        return url, started


@dataclass(frozen=True, slots=True)
class FinishGoogleSignIn:
    """Takes what Google sent the browser back with. The attempt is used up, whatever comes of it."""

    google: GoogleAccounts | None
    attempts: OAuthAttempts
    sign_in: SignInWithGoogle

    async def __call__(
        self, *, state: str | None, browser: str | None, code: str | None, error: str | None, address: str
    ) -> LoggedIn:
        if self.google is None:
            raise GoogleNotConfigured
        if error == "access_denied" and not state:
            raise SignInDenied  # without a state there is no attempt to use up, and nothing is given away
        attempt = await self.attempts.take(state=state, browser=browser)
        if error == "access_denied":
            raise SignInDenied
        if error in {"server_error", "temporarily_unavailable"}:
            raise GoogleUnavailable
        if error or not code or len(code) > MAX_CODE:
            raise SignInRefused
        identity = await self.google.redeem(code, nonce=attempt.nonce, verifier=attempt.verifier)
        return await self.sign_in(identity, address=address)


@dataclass(frozen=True, slots=True)
class SignInWithGoogleToken:
    """For clients that sign in with Google on their own: the ID token they got proves what they claim."""

    google: GoogleAccounts | None
    sign_in: SignInWithGoogle
    limiter: RateLimiter

    async def __call__(self, *, id_token: str, google_id: str, email: str, name: str, address: str) -> LoggedIn:
        if self.google is None:
            raise GoogleNotConfigured
        await self.limiter.take(TOKENS_PER_ADDRESS, network_of(address))
        identity = await self.google.verify(id_token)
        if identity.subject != google_id:
            raise Invalid({"google_id": "Is not the one of the id_token"})
        if identity.email != email:
            raise Invalid({"email": "Is not the one of the id_token"})
        logged_in = await self.sign_in(identity, name=name, address=address)
        await self.limiter.give_back(TOKENS_PER_ADDRESS, network_of(address))
        return logged_in
