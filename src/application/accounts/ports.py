"""Ports of accounts: repositories, passwords, tokens, external identities."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from application.ports import Page, PageRequest
from domain.account_tokens import AccountToken, TokenKind
from domain.accounts import LoginId, Role, User, UserId
from domain.api_keys import ApiKey, ApiKeyId, NewApiKey
from domain.audit import AuditAction
from domain.credentials import Credential, NetworksBefore
from domain.external_identity import ExternalIdentity
from domain.second_factors import Factor, FactorId, LoginTicket
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


@dataclass(frozen=True, slots=True)
class TotpFactor:
    """`secret` in base 32. `last_step`: the time step of the last code that was used."""

    id: FactorId
    secret: str
    last_step: int | None


@dataclass(frozen=True, slots=True)
class Passkey:
    """`public_key`: a COSE key. `sign_count`: of the last answer; 0 if the authenticator does not count."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


@dataclass(frozen=True, slots=True)
class StoredPasskey:
    id: FactorId
    passkey: Passkey


class SecondFactors(Protocol):
    """Second factors and recovery codes. Before a write the account is locked."""

    async def of(self, user_id: UserId) -> Sequence[Factor]:
        """The confirmed ones, oldest first."""
        ...

    async def add_totp(self, user_id: UserId, name: str, secret: str, now: datetime) -> FactorId:
        """Adds a factor that has to be confirmed, in place of an earlier one that was not. Raises
        `TotpNotConfigured`."""
        ...

    async def find_enrolment(self, user_id: UserId, factor_id: FactorId, *, since: datetime) -> str | None:
        """The secret of a factor of the account that was added after `since` and is not confirmed."""
        ...

    async def confirm_totp(self, user_id: UserId, factor_id: FactorId, step: int, now: datetime) -> Factor:
        """`step` is that of the code. There is such an enrolment."""
        ...

    async def find_totp(self, user_id: UserId) -> Sequence[TotpFactor]:
        """The confirmed ones, except those whose secret cannot be decrypted."""
        ...

    async def use_totp(self, factor_id: FactorId, step: int, now: datetime) -> bool:
        """Records the use of this step's code. False if that step or a later one was used already, also by a concurrent
        call."""
        ...

    async def add_passkey(self, user_id: UserId, name: str, passkey: Passkey, now: datetime) -> Factor:
        """Raises `PasskeyTaken` if there is one with its `credential_id`."""
        ...

    async def find_passkeys(self, user_id: UserId) -> Sequence[StoredPasskey]: ...

    async def use_passkey(self, factor_id: FactorId, sign_count: int, now: datetime) -> None: ...

    async def rename(self, user_id: UserId, factor_id: FactorId, name: str) -> Factor | None:
        """None if the account has no such factor."""
        ...

    async def remove(self, user_id: UserId, factor_id: FactorId) -> bool:
        """False if the account has no such factor."""
        ...

    async def replace_recovery_codes(self, user_id: UserId, fingerprints: Collection[bytes], now: datetime) -> None: ...

    async def use_recovery_code(self, user_id: UserId, fingerprint: bytes, now: datetime) -> bool:
        """True once for each code, also under concurrent calls."""
        ...

    async def count_recovery_codes(self, user_id: UserId) -> int:
        """Those that are not used."""
        ...


class LoginTickets(Protocol):
    """Logins that wait for a second factor, by the hash of a secret. A ticket is valid until it expires or is used."""

    async def add(self, fingerprint: bytes, ticket: LoginTicket, now: datetime, *, expires_at: datetime) -> None: ...

    async def find(self, fingerprint: bytes, now: datetime) -> LoginTicket | None: ...

    async def take_attempt(self, fingerprint: bytes, now: datetime, *, at_most: int) -> bool:
        """Counts an attempt. False for a ticket that is not valid or had so many attempts, also under concurrent calls:
        they wait for each other."""
        ...

    async def use(self, fingerprint: bytes, now: datetime) -> None: ...


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


class TotpCodes(Protocol):
    """Codes of authenticator apps: SHA-1, six digits, a step of 30 seconds, which every app supports."""

    def new_secret(self) -> str:
        """160 random bits in base 32."""
        ...

    def code(self, secret: str, step: int) -> str: ...

    def uri(self, secret: str, account: str) -> str:
        """The `otpauth:` address, usually shown as a QR code."""
        ...


PasskeyResponse = Mapping[str, Any]
"""What a browser's `PublicKeyCredential.toJSON()` returns."""


class PasskeyVerifier(Protocol):
    """Verifies what authenticators sign. Each method raises `PasskeyNotValid`."""

    rp_id: str
    """The domain that passkeys are bound to."""

    def challenge(self, response: PasskeyResponse) -> str:
        """The challenge that it claims to answer, in base64url. The other methods verify it."""
        ...

    def credential_id(self, response: PasskeyResponse) -> bytes: ...

    def verify_new(self, response: PasskeyResponse, challenge: str) -> Passkey:
        """A new passkey, signed for this challenge at the address of the service."""
        ...

    def verify(self, response: PasskeyResponse, challenge: str, passkey: Passkey) -> int:
        """The sign count of an answer by this passkey. It is higher than the last one, unless both are 0."""
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


class FactorQueries(Protocol):
    async def has_factor(self, user_id: UserId) -> bool:
        """Whether the account has a confirmed second factor."""
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
