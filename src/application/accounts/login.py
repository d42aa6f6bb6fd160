"""Login by password."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, NoReturn

from application.accounts.password_guesses import KnownNetworks, PasswordGuesses
from application.accounts.ports.accounts import AccessClaims, Credentials, PasswordHasher, Tokens
from application.audit.ports import present_origin
from application.oauth import fingerprint
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.accounts import (
    InvalidCredentials,
    User,
    normalised_password,
)
from domain.audit_effects import record_failed_login
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of
from domain.second_factors import TICKET_LIFETIME, LoginKind, LoginTicket, SecondFactorRequired
from domain.sessions import Client, client_with


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The account and the tokens of a new login."""

    user: User
    access_token: str
    refresh_token: str


@use_case
class StartLogin:
    """Issues the first pair of tokens of a new login, inside the caller's unit of work."""

    tokens: Tokens
    known_networks: KnownNetworks
    clock: Clock
    session_lifetime: timedelta
    new_network_mail: bool = True
    """Whether the owner gets a mail about a login from a network that is new to the account. It is written with the
    login; the worker is not woken for it."""

    async def unless_factor_required(
        self, work: UnitOfWork, user: User, *, address: str | None, login: LoginKind
    ) -> LoggedIn | SecondFactorRequired:
        """After the first factor. For an account with a second one a ticket, to be committed before it is raised. The
        account is locked."""
        factors = await work.second_factors.of(user.id)
        if not factors:
            return await self(work, user, address=address)
        secret, now = secrets.token_urlsafe(32), self.clock.now()
        ticket = LoginTicket(user.id, user.token_version, login)
        await work.login_tickets.add(fingerprint(secret), ticket, now, expires_at=now + TICKET_LIFETIME)
        return SecondFactorRequired(secret, [factor.kind for factor in factors])

    async def __call__(self, work: UnitOfWork, user: User, *, address: str | None) -> LoggedIn:
        """`address` is the client's network address; None if unknown."""
        now = self.clock.now()
        if address is not None:
            before = await self.known_networks.remember(work, user, address)
            if self.new_network_mail and before.is_unusual(now - user.created_at):
                await work.messages.enqueue_login_from_new_network(user, network_of(address))
        until = now + self.session_lifetime
        login_id = await work.logins.start(user, now, present_client())
        refresh_token, expires_at = self.tokens.issue_refresh(login_id, now, until=until)
        await work.logins.add_refresh(login_id, self.tokens.fingerprint(refresh_token), expires_at)
        claims = AccessClaims(user.id, login_id, user.token_version)
        return LoggedIn(user, self.tokens.issue_access(claims, now, until=until), refresh_token)


def present_client() -> Client:
    """The client of the present request."""
    origin = present_origin()
    return client_with(origin.network, origin.user_agent)


def tokens_of(started: LoggedIn | SecondFactorRequired) -> LoggedIn:
    """Raises `SecondFactorRequired`."""
    if isinstance(started, SecondFactorRequired):
        raise started
    return started


@use_case
class LogIn:
    """Checks e-mail and password and starts a login.

    - A wrong password, an unknown e-mail and a deactivated account get the same answer after the same time.
    - Failed attempts are limited per account and per network; a network that has logged in before has a separate limit.
      Successful attempts do not count.
    - An account with a second factor gets a ticket instead of tokens.
    """

    raises: ClassVar[Errors] = (InvalidCredentials, SecondFactorRequired, TooManyRequests)

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    guesses: PasswordGuesses
    start_login: StartLogin

    async def __call__(
        self, *, email: str, password: str, address: str, login: LoginKind = LoginKind.BOOKING_API
    ) -> LoggedIn:
        guess = await self.guesses.begin(email, address)
        password, credentials = normalised_password(password), guess.credentials
        if not await self.hasher.verify(password, credentials.password_hash if credentials else None):
            await self._refuse(email, credentials)
        if credentials is None or not credentials.user.is_active:
            await self._refuse(email, credentials)
        async with self.open_work() as work:
            user = await work.users.get_locked(credentials.user.id)
            present = await work.users.find_credentials(email)
            if present is None or present.password_hash != credentials.password_hash or not user.is_active:
                # Changed or deactivated while the hash was computed.
                record_failed_login(work.audit, email, user.id)
                await work.commit()
                raise InvalidCredentials
            await self._rehash_when_outdated(work, credentials, password)
            started = await self.start_login.unless_factor_required(work, user, address=address, login=login)
            await work.commit()
        await self.guesses.guess_succeeded(guess)
        return tokens_of(started)

    async def _refuse(self, email: str, credentials: Credentials | None) -> NoReturn:
        async with self.open_work() as work:
            record_failed_login(work.audit, email, credentials.user.id if credentials else None)
            await work.commit()
        raise InvalidCredentials

    async def _rehash_when_outdated(self, work: UnitOfWork, credentials: Credentials, password: str) -> None:
        if credentials.password_hash and self.hasher.needs_rehash(credentials.password_hash):
            await work.users.set_password(credentials.user.id, await self.hasher.hash(password), action=None)
