"""Accounts: registering, logging in, staying logged in, leaving."""

from dataclasses import dataclass, replace
from datetime import timedelta

from application.access import end_access
from application.password_guesses import KnownNetworks, PasswordGuesses
from application.ports.idempotency import made_before
from application.ports.persistence import Credentials, OpenUnitOfWork, UnitOfWork
from application.ports.readers import ActorReader
from application.ports.security import AccessClaims, Limit, PasswordHasher, RateLimiter, Tokens
from application.ports.system import Clock
from domain.access import AccessEnd
from domain.availability import zone_of
from domain.errors import Unauthenticated
from domain.networks import network_of
from domain.texts import line, optional_line, prose
from domain.users import (
    MAX_BIO,
    MAX_NAME,
    FacilitatorRegistration,
    InvalidCredentials,
    LoginId,
    PasswordPolicy,
    Role,
    User,
    UserId,
    acceptable_password,
    check_mailable,
    normalised_password,
)

REGISTRATIONS_PER_ACCOUNT = Limit("register-account", times=10, per=timedelta(hours=1))
REGISTRATIONS_PER_ADDRESS = Limit("register-address", times=200, per=timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What a client needs to act as this user. `refresh_token` is None for contracts that know none."""

    user: User
    access_token: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, and through which login."""

    user: User
    login_id: LoginId


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody says who wants an account. `bio` and `specialization` are for facilitators."""

    email: str
    password: str
    name: str
    role: Role
    bio: str | None = None
    specialization: str | None = None
    requested_role: Role | None = None
    """What they asked for and an operator has to approve."""

    def tidied(self, policy: PasswordPolicy) -> "Registration":
        """Raises `Invalid` naming the field."""
        name = line("name", self.name, at_most=MAX_NAME)
        return replace(
            self,
            name=name,
            password=acceptable_password(self.password, policy, context=(name, self.email)),
            bio=prose("bio", self.bio, at_most=MAX_BIO) if self.bio is not None else None,
            specialization=optional_line("specialization", self.specialization, at_most=MAX_NAME),
        )


@dataclass(frozen=True, slots=True)
class Register:
    """Registers a new user account.

    - The e-mail is unique in its one spelling (NFC, lower case, IDNA 2008); a second account with it is refused.
    - Letters beyond ASCII before the @ are refused unless the mail server takes them (`smtputf8`).
    - The role is `user` or `facilitator`; nobody becomes an admin this way.
    - Where the operator approves facilitators, a new one registers as `user` with `requested_role`. Where registration
      as a facilitator is closed, it is refused.
    - The password has 8 to 128 characters after NFKC; stricter where the operator asks for it.
    - A facilitator gets a profile, with what they say about themselves.
    - Registrations are limited per e-mail and per network address.
    """

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    limiter: RateLimiter
    clock: Clock
    policy: PasswordPolicy
    smtputf8: bool = False
    facilitators: FacilitatorRegistration = FacilitatorRegistration.OPEN

    async def __call__(self, registration: Registration, *, address: str) -> User:
        if (made := made_before()) is not None:
            async with self.open_work() as work:
                return await work.users.get(UserId(made))
        registration, password_hash = await self.check(registration, address)
        async with self.open_work() as work:
            user = await self.add(work, registration, password_hash)
            await work.commit(made=user.id)
        return user

    async def check(self, registration: Registration, address: str) -> tuple[Registration, str]:
        """The registration as it will be kept, and the password's hash."""
        check_mailable(registration.email, smtputf8=self.smtputf8)
        registration = registration.tidied(self.policy)
        role, requested_role = self.facilitators.admit(registration.role)
        registration = replace(registration, role=role, requested_role=requested_role)
        await self.limiter.take(REGISTRATIONS_PER_ADDRESS, network_of(address))
        await self.limiter.take(REGISTRATIONS_PER_ACCOUNT, registration.email)
        return registration, await self.hasher.hash(registration.password)

    async def add(self, work: UnitOfWork, registration: Registration, password_hash: str) -> User:
        user = await work.users.add(
            email=registration.email,
            name=registration.name,
            role=registration.role,
            requested_role=registration.requested_role,
            password_hash=password_hash,
            now=self.clock.now(),
        )
        if Role.FACILITATOR in {registration.role, registration.requested_role}:
            await work.profiles.add(user.id, bio=registration.bio, specialization=registration.specialization)
        return user


@dataclass(frozen=True, slots=True)
class StartLogin:
    """Gives out the first pair of tokens of a new login, inside the caller's unit of work."""

    tokens: Tokens
    known_networks: KnownNetworks
    clock: Clock

    async def __call__(self, work: UnitOfWork, user: User, *, address: str | None) -> LoggedIn:
        """`address` is the client's; None where it is not known."""
        now = self.clock.now()
        if address is not None:
            await self.known_networks.remember(work, user, address)
        login_id = await work.logins.start(user.id, now)
        refresh_token, expires_at = self.tokens.issue_refresh(login_id, now)
        await work.logins.add_refresh(login_id, self.tokens.fingerprint(refresh_token), expires_at)
        access_token = self.tokens.issue_access(AccessClaims(user.id, login_id, user.token_version), now)
        return LoggedIn(user, access_token, refresh_token)


@dataclass(frozen=True, slots=True)
class LogIn:
    """Checks e-mail and password and starts a login.

    - A wrong password, an unknown e-mail and a deactivated account get the same answer after the same time.
    - Failed attempts are limited per account and per network, with a limit of its own for a network that has logged in
      before; a successful one does not count.
    """

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    guesses: PasswordGuesses
    start_login: StartLogin

    async def __call__(self, *, email: str, password: str, address: str) -> LoggedIn:
        guess = await self.guesses.begin(email, address)
        password, credentials = normalised_password(password), guess.credentials
        if not await self.hasher.verify(password, credentials.password_hash if credentials else None):
            raise InvalidCredentials
        if credentials is None or not credentials.user.is_active:
            raise InvalidCredentials
        async with self.open_work() as work:
            user = await work.users.get_locked(credentials.user.id)
            present = await work.users.find_credentials(email)
            if present is None or present.password_hash != credentials.password_hash or not user.is_active:
                raise InvalidCredentials  # the password was changed, or the account deactivated, while we hashed
            await self._rehash_when_outdated(work, credentials, password)
            logged_in = await self.start_login(work, user, address=address)
            await work.commit()
        await self.guesses.was_right(guess)
        return logged_in

    async def _rehash_when_outdated(self, work: UnitOfWork, credentials: Credentials, password: str) -> None:
        if credentials.password_hash and self.hasher.needs_rehash(credentials.password_hash):
            await work.users.set_password(credentials.user.id, await self.hasher.hash(password))


@dataclass(frozen=True, slots=True)
class RegisterAndLogIn:
    """Registers a new user account as `Register` does and logs it in, in one transaction. Asked again with the same
    idempotency key it logs in to that account."""

    open_work: OpenUnitOfWork
    register: Register
    start_login: StartLogin
    log_in: LogIn

    async def __call__(self, registration: Registration, *, address: str) -> LoggedIn:
        if made_before() is not None:
            return await self.log_in(email=registration.email, password=registration.password, address=address)
        registration, password_hash = await self.register.check(registration, address)
        async with self.open_work() as work:
            user = await self.register.add(work, registration, password_hash)
            logged_in = await self.start_login(work, user, address=address)
            await work.commit(made=user.id)
        return logged_in


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Who is behind an access token: the account is active, the login has not ended, and nothing has outdated the
    token since (log-out everywhere, a new password, another role). Asked at every request, so all of that takes
    effect at the next one."""

    tokens: Tokens
    actors: ActorReader

    async def __call__(self, access_token: str) -> Actor:
        claims = self.tokens.read_access(access_token)
        user = await self.actors.find(claims.user_id, claims.login_id)
        if user is None or not user.is_active or user.token_version != claims.token_version:
            raise Unauthenticated
        return Actor(user, claims.login_id)


@dataclass(frozen=True, slots=True)
class Refresh:
    """Gives a new access token for a refresh token.

    - With rotation (the default) the refresh token is replaced too and the old one retired.
    - A retired token that comes back was copied: its whole login ends, and with it every token of it (RFC 9700, 4.14).
    """

    open_work: OpenUnitOfWork
    tokens: Tokens
    clock: Clock
    rotate: bool = True

    async def __call__(self, refresh_token: str) -> LoggedIn:
        self.tokens.read_refresh(refresh_token)
        fingerprint = self.tokens.fingerprint(refresh_token)
        now = self.clock.now()
        async with self.open_work() as work:
            stored = await work.logins.find_refresh(fingerprint)
            if stored is None or stored.login_is_over or stored.expires_at <= now:
                raise Unauthenticated
            if stored.is_retired and self.rotate:
                await work.logins.end(stored.login_id, now, reason="refresh token used twice")
                await work.commit()
                raise Unauthenticated
            user = await work.users.get(stored.user_id)
            if not user.is_active:
                raise Unauthenticated
            if self.rotate:
                await work.logins.retire_refresh(fingerprint, now)
                refresh_token, expires_at = self.tokens.issue_refresh(stored.login_id, now)
                await work.logins.add_refresh(stored.login_id, self.tokens.fingerprint(refresh_token), expires_at)
            access_token = self.tokens.issue_access(AccessClaims(user.id, stored.login_id, user.token_version), now)
            await work.commit()
        return LoggedIn(user, access_token, refresh_token)


@dataclass(frozen=True, slots=True)
class LogOut:
    """Ends this login; its access and refresh tokens stop working at once. `everywhere` ends all logins of the user and
    revokes the secret address of their calendar."""

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


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Sets another password after checking the present one; every login ends, this one included, and the secret address
    of the calendar. Wrong passwords count as when logging in."""

    open_work: OpenUnitOfWork
    hasher: PasswordHasher
    guesses: PasswordGuesses
    clock: Clock
    policy: PasswordPolicy

    async def __call__(self, actor: Actor, *, current: str, new: str, address: str) -> None:
        user = actor.user
        new = acceptable_password(new, self.policy, context=(user.name, user.email))
        guess = await self.guesses.begin(user.email, address)
        present = guess.credentials.password_hash if guess.credentials else None
        if not await self.hasher.verify(normalised_password(current), present):
            raise InvalidCredentials
        await self.guesses.was_right(guess)
        password_hash = await self.hasher.hash(new)
        async with self.open_work() as work:
            locked = await work.users.get_locked(user.id)
            credentials = await work.users.find_credentials(user.email)
            if credentials is None or credentials.password_hash != present:
                raise InvalidCredentials  # it was changed, or taken away, while we hashed
            await work.users.set_password(user.id, password_hash)
            await end_access(work, locked, AccessEnd.PASSWORD_CHANGED, self.clock.now())
            await work.commit()


@dataclass(frozen=True, slots=True)
class UpdateProfile:
    """Changes the name, the phone number and the zone in which mails tell of times; what is not given stays, an empty
    phone number or zone is taken away."""

    open_work: OpenUnitOfWork

    async def __call__(self, actor: Actor, *, name: str | None, phone: str | None, timezone: str | None = None) -> User:
        async with self.open_work() as work:
            user = await work.users.get_locked(actor.user.id)
            if name is not None and name != user.name:
                user = replace(user, name=line("name", name, at_most=MAX_NAME))
            if phone is not None and phone != user.phone:
                user = replace(user, phone=optional_line("phone", phone, at_most=40))
            if timezone is not None:
                user = replace(user, timezone=zone_of(timezone).key if timezone else None)
            await work.users.save(user)
            await work.commit()
        return user
