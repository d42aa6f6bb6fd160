"""The use cases of accounts over the adapters in memory."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from application.accounts.login import LoggedIn, LogIn, StartLogin
from application.accounts.password_guesses import KnownNetworks, PasswordGuesses
from application.accounts.registration import Register, RegisterAndLogIn, Registration
from application.accounts.sessions import Actor, Authenticate, LogOut, Refresh
from domain.accounts import FacilitatorRegistration, PasswordPolicy, Role, User, UserId
from tests.support.memory.accounts import MemoryActorQueries, MemoryGuessedAccounts, ProfileRow
from tests.support.memory.accounts_work import AccountUnitsOfWork
from tests.support.memory.api_keys import MemoryKeyUses
from tests.support.memory.claims import OutboxRow
from tests.support.memory.credentials import ReadablePasswords, ReadableTokens
from tests.support.memory.rate_limits import MemoryLimits
from tests.support.memory.store import CountedWakeUps, SettableClock, Store

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"
ADDRESS = "192.0.2.1"
"""The network address of the client."""
ELSEWHERE = "198.51.100.7"
ACCESS_LIFETIME = timedelta(minutes=15)
SESSION_LIFETIME = timedelta(days=90)


class AccountUseCases:
    def __init__(self) -> None:
        self.store = Store()
        self.clock = SettableClock()
        self.units = AccountUnitsOfWork(self.store, self.clock)
        self.hasher = ReadablePasswords()
        self.limiter = MemoryLimits(self.clock)
        self.wake_ups = CountedWakeUps()
        self.tokens = ReadableTokens(self.clock, access_for=ACCESS_LIFETIME, refresh_for=timedelta(days=30))
        self.known_networks = KnownNetworks(b"secret", self.clock)
        self.guesses = PasswordGuesses(MemoryGuessedAccounts(self.store), self.limiter, self.known_networks)
        self.start_login = StartLogin(self.tokens, self.known_networks, self.clock, SESSION_LIFETIME)
        self.log_in = LogIn(self.units, self.hasher, self.guesses, self.start_login)
        self.actors = MemoryActorQueries(self.store)
        self.key_uses = MemoryKeyUses(self.store)
        self.authenticate = Authenticate(self.tokens, self.actors, self.key_uses, self.clock)
        self.log_out = LogOut(self.units, self.clock)

    def register(
        self,
        *,
        policy: PasswordPolicy = PasswordPolicy.CONTRACT,
        smtputf8: bool = False,
        facilitators: FacilitatorRegistration = FacilitatorRegistration.OPEN,
    ) -> Register:
        return Register(
            self.units, self.hasher, self.limiter, self.wake_ups, self.clock, policy, smtputf8, facilitators
        )

    def register_and_log_in(self) -> RegisterAndLogIn:
        return RegisterAndLogIn(self.units, self.register(), self.start_login, self.log_in)

    def refresh(self, *, rotate: bool = True) -> Refresh:
        return Refresh(self.units, self.tokens, self.clock, SESSION_LIFETIME, rotate)

    async def has_registered(self, **changes: Any) -> User:
        return await self.register()(a_registration(**changes), address=ADDRESS)

    async def has_logged_in(self, *, email: str = EMAIL, password: str = PASSWORD, address: str = ADDRESS) -> LoggedIn:
        return await self.log_in(email=email, password=password, address=address)

    async def is_authenticated(self, logged_in: LoggedIn) -> Actor:
        """The actor of the access token. Raises `Unauthenticated`."""
        return await self.authenticate(logged_in.access_token)

    # What is stored

    def user(self, user_id: UserId) -> User:
        user: User = self.store.tables.of("users")[user_id]
        return user

    def users(self) -> list[User]:
        return list(self.store.tables.of("users").values())

    def password_hash(self, user_id: UserId) -> str | None:
        password_hash: str | None = self.store.tables.of("passwords").get(user_id)
        return password_hash

    def profiles(self) -> Mapping[UserId, ProfileRow]:
        return self.store.tables.of("facilitator_profiles")

    def networks_of(self, user: User) -> Mapping[bytes, datetime]:
        """The last login from each known network."""
        rows: dict[tuple[UserId, bytes], datetime] = self.store.tables.of("login_networks")
        return {network: at for (user_id, network), at in rows.items() if user_id == user.id}

    def messages(self) -> list[OutboxRow]:
        return list(self.store.tables.of("outbox").values())

    def end_reasons(self) -> list[str | None]:
        """Why each login has ended; None for one that has not."""
        return [login.end_reason for login in self.store.tables.of("logins").values()]

    def has_calendars(self, user: User) -> None:
        """The account has the secret address of a calendar feed, and a connected calendar."""
        self.store.tables.of("calendar_feeds")[user.id] = b"fingerprint"
        self.store.tables.of("calendar_connections")[user.id, "a calendar"] = "tokens"

    def calendars_of(self, user: User) -> set[str]:
        """Which of `calendar_feeds` and `calendar_connections` the account has."""
        tables = {name: self.store.tables.of(name) for name in ("calendar_feeds", "calendar_connections")}
        return {
            name
            for name, rows in tables.items()
            if any((key[0] if isinstance(key, tuple) else key) == user.id for key in rows)
        }


def a_registration(**changes: Any) -> Registration:
    usual: dict[str, Any] = {"email": EMAIL, "password": PASSWORD, "name": "Ada Lovelace", "role": Role.USER}
    return Registration(**usual | changes)
