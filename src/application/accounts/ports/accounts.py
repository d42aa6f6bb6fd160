"""Ports of accounts: repositories, passwords, tokens, external identities."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.ports import Page, PageRequest
from domain.account_tokens import AccountToken, TokenKind
from domain.accounts import LoginId, Role, User, UserId
from domain.api_keys import ApiKey, ApiKeyId, NewApiKey
from domain.audit import AuditAction
from domain.credentials import Credential, NetworksBefore
from domain.external_identity import ExternalIdentity
from domain.sessions import Client, Session


@dataclass(frozen=True, slots=True)
class Credentials:
    user: User
    password_hash: str | None


class Users(Protocol):
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
        """Raises `EmailTaken`."""
        ...

    async def add_external(self, identity: ExternalIdentity, *, email: str, name: str, now: datetime) -> User:
        """An account without a password. Raises `EmailTaken`, `ExternalAccountTaken`."""
        ...

    async def add_without_password(self, *, email: str, name: str, now: datetime) -> User:
        """An account of role `user` whose address is proven. Raises `EmailTaken`."""
        ...

    async def change_email(self, user: User, email: str, now: datetime) -> User:
        """The account with this address; it is locked by the caller. Raises `EmailTaken`."""
        ...

    async def has_reserved(self, email: str, now: datetime, *, but: UserId | None = None) -> bool:
        """Whether an account other than `but` had this address and can get it back by a valid token that undoes a
        change. `add…` and `change_email` raise `EmailTaken` for it."""
        ...

    async def get(self, user_id: UserId) -> User:
        """Raises `UserNotFound`."""
        ...

    async def get_locked(self, user_id: UserId) -> User:
        """As `get`, with a lock on the account until the unit of work ends. Required before `save`, and where the
        account must not be deactivated meanwhile. Lock the account before its logins."""
        ...

    async def lock_active(self, role: Role) -> Collection[UserId]:
        """All active accounts with this role, locked as by `get_locked`, which prevents concurrent changes of theirs.
        Required before the lock of an account that may be one of them."""
        ...

    async def find_by_identity(self, identity: ExternalIdentity) -> User | None:
        """The account that is linked to this identity, locked as by `get_locked`."""
        ...

    async def find_credentials(self, email: str) -> Credentials | None: ...

    async def save(self, user: User) -> None:
        """Raises `ExternalAccountTaken`."""
        ...

    async def set_password(
        self, user_id: UserId, password_hash: str | None, *, action: AuditAction | None = AuditAction.PASSWORD_CHANGED
    ) -> None:
        """None removes the password. `action` is that of the audit log; None for another hash of the same password."""
        ...


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Only accounts with these values; None for all. `search`: each of its words is the beginning of a word of the name
    or the address. `requested`: only accounts that wait for approval as a facilitator."""

    search: str | None = None
    role: Role | None = None
    active: bool | None = None
    verified: bool | None = None
    requested: bool = False


class AccountQueries(Protocol):
    async def list(self, filter_: AccountFilter, page: PageRequest) -> Page[User]:
        """Newest first. Raises `Invalid` for a search without a word and for a cursor of another list."""
        ...


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A stored refresh token. The tokens of one login are a family: each is the successor of the one before.
    `login_started_at`: when the first of them was issued."""

    login_id: LoginId
    user_id: UserId
    login_started_at: datetime
    expires_at: datetime
    is_retired: bool
    login_is_over: bool


UNKNOWN_CLIENT = Client()


class Logins(Protocol):
    async def start(self, user: User, now: datetime, client: Client = UNKNOWN_CLIENT) -> LoginId: ...

    async def record_use(self, login_id: LoginId, now: datetime, client: Client) -> None:
        """Tokens are issued for the login again."""
        ...

    async def get_start(self, login_id: LoginId) -> datetime:
        """When a stored login began."""
        ...

    async def end(self, login_id: LoginId, now: datetime, *, reason: str, of: UserId | None = None) -> bool:
        """Returns whether the login was in progress. `of`: only a login of this account."""
        ...

    async def add_refresh(self, login_id: LoginId, fingerprint: bytes, expires_at: datetime) -> None: ...

    async def find_refresh(self, fingerprint: bytes) -> RefreshToken | None:
        """Locked until the unit of work ends, so that concurrent refreshes with one token run one after the other."""
        ...

    async def revoke_refresh(self, fingerprint: bytes, now: datetime) -> None: ...


class Access(Protocol):
    """All credentials of an account, whichever tables hold them."""

    async def revoke(self, user_id: UserId, credentials: Collection[Credential], now: datetime, *, reason: str) -> None:
        """Revokes the credentials of these kinds. The account must be locked; creating a credential locks it as
        well."""
        ...


class AccountTokens(Protocol):
    """Tokens of mails about accounts. A token is valid until it expires or is used."""

    async def add(self, token: AccountToken, now: datetime, *, expires_at: datetime) -> None: ...

    async def find_owner(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> UserId | None:
        """The account of a valid token of this kind."""
        ...

    async def use(self, fingerprint: bytes, kind: TokenKind, now: datetime) -> AccountToken | None:
        """Returns a valid token once, also under concurrent calls; None for every other one."""
        ...

    async def revoke(self, user_id: UserId, kinds: Collection[TokenKind], now: datetime) -> None:
        """Makes the account's tokens of these kinds invalid."""
        ...

    async def revoke_younger(self, token: AccountToken, now: datetime) -> None:
        """Makes the account's tokens of this kind invalid that were not added before this one."""
        ...

    async def renew(
        self, fingerprint: bytes, kind: TokenKind, now: datetime, *, expires_at: datetime
    ) -> AccountToken | None:
        """A valid token, with another expiry; None for every other one."""
        ...


class LoginNetworks(Protocol):
    """Networks from which accounts have logged in, each as a fingerprint."""

    async def remember(
        self, user_id: UserId, network: bytes, now: datetime, *, since: datetime, at_most: int
    ) -> NetworksBefore:
        """Deletes the account's networks from before `since`, and the oldest beyond `at_most`. Returns which there were
        since then, before this call."""
        ...


class ApiKeys(Protocol):
    """Keys of accounts, by the hash of their secrets. A revoked key is no longer found."""

    async def add(
        self, user_id: UserId, new: NewApiKey, now: datetime, *, prefix: str, fingerprint: bytes
    ) -> ApiKey: ...

    async def count(self, user_id: UserId, now: datetime) -> int:
        """The number of keys that have not expired. The account must be locked."""
        ...

    async def revoke(self, user_id: UserId, key_id: ApiKeyId, now: datetime, *, reason: str) -> None:
        """Raises `ApiKeyNotFound`, also for a key of another account."""
        ...


class ApiKeyQueries(Protocol):
    async def list_of(self, user_id: UserId, page: PageRequest) -> Page[ApiKey]:
        """Newest first, expired ones too. Raises `Invalid` for a cursor of another list."""
        ...


class KeyUses(Protocol):
    """Stores when keys were last used, in the background."""

    def note(self, key_id: ApiKeyId, minute: datetime) -> None:
        """Returns immediately. What is not stored yet is lost when the process is killed."""
        ...


class Profiles(Protocol):
    """Profiles of facilitators."""

    async def add(self, user_id: UserId, *, bio: str | None, specialization: str | None) -> None:
        """Does nothing if there is one."""
        ...


class PasswordHasher(Protocol):
    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Takes equally long without a hash and for a wrong password, so that the time does not reveal accounts."""
        ...

    def needs_rehash(self, password_hash: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class AccessClaims:
    user_id: UserId
    login_id: LoginId
    token_version: int


class Tokens(Protocol):
    """Raises `Unauthenticated` for tokens that it did not issue for this purpose, and for expired ones.

    A token expires `until` this time at the latest, if it is given."""

    def issue_access(self, claims: AccessClaims, now: datetime, *, until: datetime | None = None) -> str: ...

    def read_access(self, token: str) -> AccessClaims: ...

    def issue_refresh(self, login_id: LoginId, now: datetime, *, until: datetime | None = None) -> tuple[str, datetime]:
        """The token and its expiry."""
        ...

    def read_refresh(self, token: str) -> LoginId: ...

    def fingerprint(self, token: str) -> bytes:
        """The stored hash of a token: 32 bytes."""
        ...


class IdentityProvider(Protocol):
    """An OpenID provider. Every call is bounded in time.

    Raises `IdentityProviderUnavailable` without a valid answer."""

    async def consent_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """The address of the consent screen. Only the S256 challenge of `verifier` is sent (RFC 7636)."""
        ...

    async def redeem(self, code: str, *, nonce: str, verifier: str) -> ExternalIdentity:
        """Exchanges the authorization code. Raises `SignInRefused`, `IdentityNotProven`."""
        ...

    async def verify(self, id_token: str) -> ExternalIdentity:
        """Verifies an ID token that a client has received. Raises `IdentityNotProven`."""
        ...


class ActorQueries(Protocol):
    async def find(self, user_id: UserId, login_id: LoginId) -> User | None:
        """The account, unless the login has ended."""
        ...

    async def find_by_key(self, fingerprint: bytes) -> tuple[User, ApiKey] | None:
        """The account and the key with this hash, also an expired one, unless it was revoked."""
        ...


class SessionQueries(Protocol):
    async def list_of(
        self, user_id: UserId, page: PageRequest, *, now: datetime, started_after: datetime, used_after: datetime
    ) -> Page[Session]:
        """Sessions that have not ended, the newest first: started after that time, and with a refresh token that is
        valid or used after that time. Raises `Invalid` for a cursor of another list."""
        ...


class GuessedAccounts(Protocol):
    async def find(self, email: str, network: bytes, *, since: datetime) -> tuple[Credentials | None, bool]:
        """The account with this e-mail, and whether this network has logged in to it since then. One query in either
        case, so that the time does not reveal accounts."""
        ...


class Archive(Protocol):
    """Receives an export."""

    async def add_records(self, section: str, records: Sequence[str]) -> None:
        """Records of a section, each as a JSON object. A long section comes in several parts, without others between
        them; one without records in one empty part."""
        ...

    async def add_file(self, name: str, content: bytes) -> None:
        """A file that the account has uploaded. `name` occurs once."""
        ...


class PersonalData(Protocol):
    async def export(self, user_id: UserId, archive: Archive) -> None:
        """Adds all that is stored about an account, as of one moment. Data of other people is left out, as are secrets
        and their hashes. Raises `Unavailable`, also when it takes too long."""
        ...
