"""Accounts in memory: `users` by id, `passwords` by id of the user, logins, refresh tokens, networks, profiles."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from application.accounts.ports.accounts import UNKNOWN_CLIENT, Credentials, RefreshToken
from application.idempotency import owner_of
from application.oauth import Attempt
from application.ports import Page, PageRequest
from domain.accounts import EmailTaken, LoginId, Role, User, UserId, UserNotFound
from domain.api_keys import ApiKey
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import (
    account,
    record_account,
    record_login,
    record_new_account,
    record_new_email,
    record_revocation,
    record_revoked_keys,
    session_of,
)
from domain.credentials import Credential, NetworksBefore
from domain.external_identity import ExternalAccountTaken, ExternalIdentity
from domain.sessions import Client, Session
from infrastructure.postgres.pages import LAST_UUID, cursor_of, uuid_after
from tests.support.memory.account_tokens import is_reserved, revoke_tokens
from tests.support.memory.api_keys import find_by_fingerprint, revoke_keys
from tests.support.memory.outbox import MemoryMessages
from tests.support.memory.second_factors import revoke_factors
from tests.support.memory.store import Store, Tables, Transaction


class MemoryUsers:
    """E-mail addresses and external identities are unique. A failed change is not made, but does not end the
    transaction, as it does on PostgreSQL. `limited_accounts` has the accounts that were added without a proven
    address."""

    def __init__(self, transaction: Transaction, messages: MemoryMessages, audit: AuditTrail) -> None:
        self._transaction = transaction
        self._messages = messages
        self._audit = audit

    async def add(
        self,
        *,
        email: str,
        name: str,
        role: Role,
        password_hash: str,
        now: datetime,
        requested_role: Role | None = None,
    ) -> User:
        user = await self._add(email=email, name=name, role=role, created_at=now, requested_role=requested_role)
        await self.set_password(user.id, password_hash, action=None)
        return user

    async def add_external(self, identity: ExternalIdentity, *, email: str, name: str, now: datetime) -> User:
        return await self._add(
            email=email,
            name=name,
            created_at=now,
            is_verified=identity.email_verified,
            external_id=identity.subject,
            profile_picture=identity.picture,
        )

    async def add_without_password(self, *, email: str, name: str, now: datetime) -> User:
        return await self._add(email=email, name=name, created_at=now, is_verified=True)

    async def change_email(self, user: User, email: str, now: datetime) -> User:
        if any(other.email == email and other.id != user.id for other in self._users.values()):
            raise EmailTaken
        if await self.has_reserved(email, now, but=user.id):
            raise EmailTaken
        changed = self._users[user.id] = replace(self._users[user.id], email=email)
        record_new_email(self._audit, user, email)
        return changed

    async def has_reserved(self, email: str, now: datetime, *, but: UserId | None = None) -> bool:
        return is_reserved(self._transaction.tables, email, now, but=but)

    async def get(self, user_id: UserId) -> User:
        user: User | None = self._users.get(user_id)
        if user is None:
            raise UserNotFound
        return user

    async def get_locked(self, user_id: UserId) -> User:
        return await self.get(user_id)

    async def lock_active(self, role: Role) -> Collection[UserId]:
        return [user.id for user in self._users.values() if user.role is role and user.is_active]

    async def find_by_identity(self, identity: ExternalIdentity) -> User | None:
        return next((user for user in self._users.values() if user.external_id == identity.subject), None)

    async def find_credentials(self, email: str) -> Credentials | None:
        return credentials_of(self._transaction.tables, email)

    async def save(self, user: User) -> None:
        """The id, the e-mail and the time of creation never change."""
        if user.id not in self._users:
            return
        self._require_unlinked(user.external_id, but=user.id)
        present: User = self._users[user.id]
        self._users[user.id] = replace(user, uuid=present.uuid, email=present.email, created_at=present.created_at)
        if user.is_verified and not present.is_verified:
            await self._messages.release_held(present.email)
        record_account(self._audit, present, user)

    async def set_password(
        self, user_id: UserId, password_hash: str | None, *, action: AuditAction | None = AuditAction.PASSWORD_CHANGED
    ) -> None:
        if action is not None:
            self._audit.record(action, account(user_id))
        self._transaction.tables.of("passwords")[user_id] = password_hash

    async def _add(
        self,
        *,
        email: str,
        name: str,
        created_at: datetime,
        role: Role = Role.USER,
        requested_role: Role | None = None,
        is_verified: bool = False,
        external_id: str | None = None,
        profile_picture: str | None = None,
    ) -> User:
        if any(user.email == email for user in self._users.values()):
            raise EmailTaken
        if is_reserved(self._transaction.tables, email, created_at, but=None):
            raise EmailTaken
        self._require_unlinked(external_id)
        user = User(
            id=UserId(self._transaction.store.next_id("users")),
            uuid=uuid4(),
            email=email,
            name=name,
            role=role,
            phone=None,
            is_active=True,
            is_verified=is_verified,
            token_version=1,
            created_at=created_at,
            external_id=external_id,
            profile_picture=profile_picture,
            requested_role=requested_role,
        )
        self._users[user.id] = user
        if is_verified:
            await self._messages.release_held(email)
        else:
            self._transaction.tables.of("limited_accounts")[user.id] = True
        record_new_account(self._audit, user)
        return user

    def _require_unlinked(self, external_id: str | None, *, but: UserId | None = None) -> None:
        if external_id is not None and any(
            user.external_id == external_id and user.id != but for user in self._users.values()
        ):
            raise ExternalAccountTaken

    @property
    def _users(self) -> dict[UserId, User]:
        return self._transaction.tables.of("users")


@dataclass(frozen=True, slots=True)
class LoginRow:
    user_id: UserId
    started_at: datetime
    last_used_at: datetime
    client: Client
    ended_at: datetime | None = None
    end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshTokenRow:
    login_id: LoginId
    expires_at: datetime
    retired_at: datetime | None = None


class MemoryLogins:
    def __init__(self, transaction: Transaction, audit: AuditTrail) -> None:
        self._transaction = transaction
        self._audit = audit
        self._logins: dict[LoginId, LoginRow] = transaction.tables.of("logins")
        self._refresh_tokens: dict[bytes, RefreshTokenRow] = transaction.tables.of("refresh_tokens")

    async def start(self, user: User, now: datetime, client: Client = UNKNOWN_CLIENT) -> LoginId:
        login_id = LoginId(UUID(int=int(now.timestamp() * 1000) << 80 | self._transaction.store.next_id("logins")))
        self._logins[login_id] = LoginRow(user.id, now, now, client)
        record_login(self._audit, user, login_id)
        return login_id

    async def record_use(self, login_id: LoginId, now: datetime, client: Client) -> None:
        self._logins[login_id] = replace(self._logins[login_id], last_used_at=now, client=client)

    async def get_start(self, login_id: LoginId) -> datetime:
        return self._logins[login_id].started_at

    async def end(self, login_id: LoginId, now: datetime, *, reason: str, of: UserId | None = None) -> bool:
        login = self._logins.get(login_id)
        if login is None or login.ended_at is not None or of not in {None, login.user_id}:
            return False
        self._logins[login_id] = replace(login, ended_at=now, end_reason=reason)
        self._audit.record(AuditAction.SESSION_ENDED, session_of(login_id), after={"reason": reason})
        return True

    async def add_refresh(self, login_id: LoginId, fingerprint: bytes, expires_at: datetime) -> None:
        assert login_id in self._logins, "a foreign key"
        assert fingerprint not in self._refresh_tokens, "a primary key"
        self._refresh_tokens[fingerprint] = RefreshTokenRow(login_id, expires_at)

    async def find_refresh(self, fingerprint: bytes) -> RefreshToken | None:
        token = self._refresh_tokens.get(fingerprint)
        if token is None:
            return None
        login = self._logins[token.login_id]
        return RefreshToken(
            login_id=token.login_id,
            user_id=login.user_id,
            login_started_at=login.started_at,
            expires_at=token.expires_at,
            is_retired=token.retired_at is not None,
            login_is_over=login.ended_at is not None,
        )

    async def revoke_refresh(self, fingerprint: bytes, now: datetime) -> None:
        token = self._refresh_tokens.get(fingerprint)
        if token is not None:
            self._refresh_tokens[fingerprint] = replace(token, retired_at=now)


class MemoryAccess:
    """Calendar feeds and connections are rows with the account's id as key, or as first part of it; idempotency keys
    are rows with the owner and the key as key."""

    def __init__(self, transaction: Transaction, audit: AuditTrail) -> None:
        self._tables = transaction.tables
        self._audit = audit

    async def revoke(self, user_id: UserId, credentials: Collection[Credential], now: datetime, *, reason: str) -> None:
        record_revocation(self._audit, user_id, credentials, reason)
        if Credential.LOGINS in credentials:
            logins: dict[LoginId, LoginRow] = self._tables.of("logins")
            for login_id, login in logins.items():
                if login.user_id == user_id and login.ended_at is None:
                    logins[login_id] = replace(login, ended_at=now, end_reason=reason)
        if Credential.ACCOUNT_TOKENS in credentials:
            revoke_tokens(self._tables, user_id, now)
        if Credential.API_KEYS in credentials:
            record_revoked_keys(self._audit, user_id, revoke_keys(self._tables, user_id, now, reason), reason)
        if Credential.SECOND_FACTORS in credentials:
            revoke_factors(self._tables, user_id)
        for credential, table, owner in (
            (Credential.PASSWORD, "passwords", user_id),
            (Credential.CALENDAR_FEED, "calendar_feeds", user_id),
            (Credential.CONNECTED_CALENDARS, "calendar_connections", user_id),
            (Credential.KNOWN_NETWORKS, "login_networks", user_id),
            (Credential.IDEMPOTENCY_ANSWERS, "idempotency_keys", owner_of(user_id)),
        ):
            if credential in credentials:
                rows = self._tables.of(table)
                for key in [key for key in rows if (key[0] if isinstance(key, tuple) else key) == owner]:
                    del rows[key]


class MemoryLoginNetworks:
    def __init__(self, transaction: Transaction) -> None:
        self._last_logins: dict[tuple[UserId, bytes], datetime] = transaction.tables.of("login_networks")

    async def remember(
        self, user_id: UserId, network: bytes, now: datetime, *, since: datetime, at_most: int
    ) -> NetworksBefore:
        known = {key[1]: at for key, at in self._last_logins.items() if key[0] == user_id and at > since}
        in_last_day = sum(at > now - timedelta(days=1) for at in known.values())
        others = [key for key in self._last_logins if key[0] == user_id and key[1] != network]
        newest = sorted(others, key=self._last_logins.__getitem__, reverse=True)
        for place, key in enumerate(newest):
            if place >= at_most - 1 or self._last_logins[key] <= since:
                del self._last_logins[key]
        self._last_logins[user_id, network] = now
        return NetworksBefore(is_known=network in known, number=len(known), in_last_day=in_last_day)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    bio: str | None
    specialization: str | None
    rating_sum: int = 0
    rating_count: int = 0


class MemoryProfiles:
    def __init__(self, transaction: Transaction) -> None:
        self._profiles: dict[UserId, ProfileRow] = transaction.tables.of("facilitator_profiles")

    async def add(self, user_id: UserId, *, bio: str | None, specialization: str | None) -> None:
        self._profiles.setdefault(user_id, ProfileRow(bio, specialization))


class MemoryActorQueries:
    """`asked_by_key`: the number of look-ups of keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked_by_key = 0

    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        login: LoginRow | None = self._store.tables.of("logins").get(login_id)
        if login is None or login.user_id != user_id or login.ended_at is not None:
            return None
        user: User = self._store.tables.of("users")[user_id]
        return user

    async def find_by_key(self, fingerprint: bytes) -> tuple[User, ApiKey] | None:
        self.asked_by_key += 1
        return find_by_fingerprint(self._store.tables, fingerprint)


class MemorySessionQueries:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_of(
        self, user_id: UserId, page: PageRequest, *, now: datetime, started_after: datetime, used_after: datetime
    ) -> Page[Session]:
        before = uuid_after(page.after) or LAST_UUID
        tokens: Mapping[bytes, RefreshTokenRow] = self._store.tables.of("refresh_tokens")
        usable = {row.login_id for row in tokens.values() if row.retired_at is None and row.expires_at > now}
        logins: Mapping[LoginId, LoginRow] = self._store.tables.of("logins")
        found = [
            Session(login_id, login.started_at, login.last_used_at, login.client)
            for login_id, login in sorted(logins.items(), reverse=True)
            if login.user_id == user_id
            and login.ended_at is None
            and login_id < before
            and login.started_at > started_after
            and (login.last_used_at > used_after or login_id in usable)
        ]
        shown = found[: page.limit]
        return Page(shown, cursor_of(shown[-1].id) if len(found) > len(shown) else None)


class MemoryGuessedAccounts:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, email: str, network: bytes, *, since: datetime) -> tuple[Credentials | None, bool]:
        credentials = credentials_of(self._store.tables, email)
        if credentials is None:
            return None, False
        last_logins: Mapping[tuple[UserId, bytes], datetime] = self._store.tables.of("login_networks")
        last = last_logins.get((credentials.user.id, network))
        return credentials, last is not None and last > since


class MemoryAttempts:
    """OAuth attempts by the hash of their state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, attempt: Attempt, *, forget_before: datetime) -> None:
        for state in [state for state, kept in self._attempts.items() if kept.started_at < forget_before]:
            del self._attempts[state]
        self._attempts[attempt.state] = attempt

    async def take(self, state: bytes, browser: bytes, *, not_before: datetime) -> Attempt | None:
        attempt = self._attempts.get(state)
        if attempt is None or attempt.browser != browser or attempt.started_at < not_before:
            return None
        return self._attempts.pop(state)

    @property
    def _attempts(self) -> dict[bytes, Attempt]:
        return self._store.tables.of("oauth_attempts")


def credentials_of(tables: Tables, email: str) -> Credentials | None:
    users: Mapping[UserId, User] = tables.of("users")
    user = next((user for user in users.values() if user.email == email), None)
    return Credentials(user, tables.of("passwords").get(user.id)) if user else None
