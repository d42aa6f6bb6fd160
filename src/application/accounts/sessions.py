"""Sessions: authentication by access token or API key, refresh, logout, the list of an account."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from application.accounts.access import end_access
from application.accounts.login import LoggedIn, present_client
from application.accounts.ports.accounts import AccessClaims, ActorQueries, KeyUses, SessionQueries, Tokens
from application.accounts.ports.second_factors import FactorQueries
from application.oauth import fingerprint
from application.ports import Clock, Page, PageRequest
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.accounts import LoginId, Role, User
from domain.api_keys import ApiKey, ApiKeyNotAllowed, Scope, is_api_key, is_well_formed
from domain.audit import AuditActor, actor_of, key_actor
from domain.credentials import AccessEnd
from domain.errors import Errors, Unauthenticated
from domain.second_factors import SecondFactorRequiredForRole
from domain.sessions import Session, SessionNotFound


@dataclass(frozen=True, slots=True)
class Actor:
    """The authenticated account: `access` is its login, or the API key."""

    user: User
    access: LoginId | ApiKey

    @property
    def login_id(self) -> LoginId:
        """Raises `ApiKeyNotAllowed` for a key."""
        if isinstance(self.access, ApiKey):
            raise ApiKeyNotAllowed
        return self.access

    @property
    def for_audit(self) -> AuditActor:
        return key_actor(self.access.id) if isinstance(self.access, ApiKey) else actor_of(self.user)

    def require(self, *scopes: Scope) -> None:
        """A login may call every operation, a key those whose scopes it has. Without scopes keys may not. Raises
        `InsufficientScope`, `ApiKeyNotAllowed`."""
        if isinstance(self.access, ApiKey):
            self.access.require(*scopes)


@use_case
class RequiredFactors:
    """The roles that need a second factor. Without roles the check costs nothing."""

    roles: frozenset[Role]
    factors: FactorQueries

    async def __call__(self, user: User) -> None:
        """Raises `SecondFactorRequiredForRole`."""
        if user.role in self.roles and not await self.factors.has_factor(user.id):
            raise SecondFactorRequiredForRole


@use_case
class Authenticate:
    """Authenticates an access token or an API key. It runs for every request, so a revocation takes effect at the next
    one.

    - Token: the account is active, the login has not ended, and the token has not been revoked (by log-out everywhere,
      a new password or another role).
    - Key: the account is active; the key was not revoked and has not expired. A key whose checksum is wrong is rejected
      without a query. The minute of its last use is stored, at most once a minute.
    """

    tokens: Tokens
    actors: ActorQueries
    key_uses: KeyUses
    clock: Clock
    required_factors: RequiredFactors | None = None

    async def __call__(self, token: str, *, enrolling: bool = False) -> Actor:
        """`enrolling`: for what an account may do whose role needs a second factor, before it has one. Raises
        `Unauthenticated`, `SecondFactorRequiredForRole`."""
        actor = await (self._by_key(token) if is_api_key(token) else self._by_token(token))
        if self.required_factors is not None and not enrolling:
            await self.required_factors(actor.user)
        return actor

    async def _by_token(self, token: str) -> Actor:
        claims = self.tokens.read_access(token)
        user = await self.actors.find(claims.user_id, claims.login_id)
        if user is None or not user.is_active or user.token_version != claims.token_version:
            raise Unauthenticated
        return Actor(user, claims.login_id)

    async def _by_key(self, secret: str) -> Actor:
        if not is_well_formed(secret):
            raise Unauthenticated
        found = await self.actors.find_by_key(fingerprint(secret))
        now = self.clock.now()
        if found is None or not found[0].is_active or found[1].is_expired(now):
            raise Unauthenticated
        user, key = found
        minute = now.replace(second=0, microsecond=0)
        if key.last_used_at is None or key.last_used_at < minute:
            self.key_uses.note(key.id, minute)
        return Actor(user, key)


@use_case
class AuthenticateFollower(Authenticate):
    """Authenticates an open connection for live updates again. Its `ActorQueries` load many accounts in one query; a
    second factor was required when it was opened."""

    raises: ClassVar[Errors] = ()


@use_case
class Refresh:
    """Issues a new access token for a refresh token.

    - With rotation (the default) the refresh token is replaced too and the old one retired.
    - A retired token that is used again was copied: its login ends with all of its tokens (RFC 9700, 4.14).
    - No token is valid longer than `SESSION_MAX_DAYS` (90) after the login, however often it is replaced.
    """

    raises: ClassVar[Errors] = (Unauthenticated,)

    open_work: OpenUnitOfWork
    tokens: Tokens
    clock: Clock
    session_lifetime: timedelta
    rotate: bool = True

    async def __call__(self, refresh_token: str) -> LoggedIn:
        self.tokens.read_refresh(refresh_token)
        fingerprint = self.tokens.fingerprint(refresh_token)
        now = self.clock.now()
        async with self.open_work() as work:
            stored = await work.logins.find_refresh(fingerprint)
            if stored is None or stored.login_is_over or stored.expires_at <= now:
                raise Unauthenticated
            until = stored.login_started_at + self.session_lifetime
            if until <= now:
                raise Unauthenticated
            if stored.is_retired and self.rotate:
                await work.logins.end(stored.login_id, now, reason="refresh token used twice")
                await work.commit()
                raise Unauthenticated
            user = await work.users.get(stored.user_id)
            if not user.is_active:
                raise Unauthenticated
            if self.rotate:
                await work.logins.revoke_refresh(fingerprint, now)
                refresh_token, expires_at = self.tokens.issue_refresh(stored.login_id, now, until=until)
                await work.logins.add_refresh(stored.login_id, self.tokens.fingerprint(refresh_token), expires_at)
            await work.logins.record_use(stored.login_id, now, present_client())
            claims = AccessClaims(user.id, stored.login_id, user.token_version)
            access_token = self.tokens.issue_access(claims, now, until=until)
            await work.commit()
        return LoggedIn(user, access_token, refresh_token)


@use_case
class LogOut:
    """Ends this login and revokes its access and refresh tokens. `everywhere` ends all logins of the account and
    revokes the secret address of its calendar feed."""

    raises: ClassVar[Errors] = ()

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, actor: Actor, *, everywhere: bool = False) -> None:
        now = self.clock.now()
        async with self.open_work() as work:
            if everywhere:
                user = await work.users.get_locked(actor.user.id)
                await end_access(work, user, AccessEnd.LOGGED_OUT_EVERYWHERE, now)
            else:
                await work.logins.end(actor.login_id, now, reason="logged out")
            await work.commit()


@use_case
class ListSessions:
    """The sessions of the calling account that have not ended, the newest first.

    - A session is one login: by password, by Google, or at the end of a registration.
    - `last_used_at`, `network` and `user_agent` are those of the login or of its last refresh.
    - `network` is the IPv4 address, or the first 64 bits of the IPv6 address.
    """

    raises: ClassVar[Errors] = ()

    sessions: SessionQueries
    clock: Clock
    session_lifetime: timedelta
    access_lifetime: timedelta

    async def __call__(self, actor: Actor, page: PageRequest) -> Page[Session]:
        now = self.clock.now()
        return await self.sessions.list_of(
            actor.user.id,
            page,
            now=now,
            started_after=now - self.session_lifetime,
            used_after=now - self.access_lifetime,
        )


@use_case
class EndSession:
    """Ends a session of the calling account, which may be the present one: its access and refresh tokens are rejected
    from the next request on."""

    raises: ClassVar[Errors] = (SessionNotFound,)

    open_work: OpenUnitOfWork
    clock: Clock

    async def __call__(self, actor: Actor, session_id: LoginId) -> None:
        async with self.open_work() as work:
            reason = "ended in the list of sessions"
            if not await work.logins.end(session_id, self.clock.now(), reason=reason, of=actor.user.id):
                raise SessionNotFound
            await work.commit()
